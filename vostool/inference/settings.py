"""All settings that affect the masks, and in what those of two results differ."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from vostool.inference.oom import Limits
from vostool.inference.predictor import Predictor


def settings_of(predictor: Predictor, limits: Limits | None = None) -> dict[str, Any]:
    """Return all settings that affect the masks, within other limits perhaps; JSON-serialisable."""
    # by the given predictor, which reads its weights for that but once
    network = predictor.identity.effective
    options = predictor.options if limits is None else predictor.within(limits).options
    settings = {**network, **options, "torch": torch.__version__}
    return json.loads(json.dumps(settings))


def completed(settings: Mapping[str, Any], predictor: Predictor) -> Mapping[str, Any]:
    """Return the settings of an earlier result, the network's with those added since.

    A setting that an earlier version did not have is what its default makes it.
    """
    own, before = getattr(predictor.network, "settings", None), settings.get("settings")
    if not isinstance(own, BaseModel) or not isinstance(before, Mapping):
        return settings
    try:
        network = type(own).model_validate(before)
    except ValidationError:  # of another network
        return settings
    return {**settings, "settings": network.model_dump(mode="json")}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield a description of each setting that differs; one that is missing is None."""
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            yield f"{name} {before.get(name)}, now {now.get(name)}"
