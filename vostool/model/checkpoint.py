"""Weights and settings to and from one safetensors file.

The settings of the network travel in the file's metadata, under the key "vostool", so
that a weights file alone rebuilds its network. 16-bit weights are widened when read.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vostool.errors import WeightsError
from vostool.files import atomic_write
from vostool.files.documents import problem
from vostool.model.stm import Stm, StmSettings

FORMAT = 1
KEY = "vostool"
# PyTorch hardly computes with the others, of 8 bits and fewer
FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
# settings that may differ from those of the weights that training starts from
CHANGEABLE_IN_TRAINING = {
    "output_stride",
    "location_cue",
    "values",
    "memory",
    "top_k",
    "kernel_sigma",
    "kernel_temperature",
    "short_side",
    "correction_rate",
}


def save_checkpoint(path: Path, network: Stm, card: dict[str, Any]) -> None:
    """Write the network in 16 bits with its settings and a card; atomic.

    `card` is JSON-serialisable: recipe, data and scores of the training.
    """
    header = {"format": FORMAT, "settings": network.settings.model_dump(), "card": card}
    write_half(path, network.state_dict(), {KEY: json.dumps(header)})


def write_half(
    path: Path, state: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write weights in 16 bits as safetensors; atomic. Raises OutputError."""
    halves = {name: value.half().contiguous() for name, value in state.items()}
    with atomic_write(path, SafetensorError) as part:
        save_file(halves, part, metadata=metadata)
        part.chmod(0o644)  # it comes out readable by its owner alone


def read_header(path: Path) -> dict[str, Any]:
    """Return the format, settings and card of a weights file.

    Raises WeightsError if the file is missing, no safetensors file, or not vostool's.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a safetensors file ({error})") from error
    if KEY not in metadata:
        raise WeightsError(f"{path}: no vostool weights: the metadata entry {KEY!r} is missing")
    try:
        header: dict[str, Any] = json.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
        raise WeightsError(f"{path}: its metadata entry {KEY!r} is not JSON") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{path}: its metadata entry {KEY!r} is not a table")
    if header.get("format") != FORMAT:
        raise WeightsError(
            f"{path}: weights of format {header.get('format')}, this vostool reads format {FORMAT}"
        )
    return header


def read_settings(path: Path, changes: Mapping[str, Any] | None = None) -> StmSettings:
    """Return the settings of the network of a weights file, with `changes`; raises WeightsError."""
    settings = read_header(path).get("settings")
    if not isinstance(settings, dict):
        raise WeightsError(f"{path}: expected a table of network settings, found none")
    try:
        return StmSettings.model_validate({**settings, **(changes or {})})
    except ValidationError as error:
        raise WeightsError(f"{path}: unsupported network settings: {problem(error)}") from error


def load_checkpoint(
    path: Path, memory_frames: int | None = None, changes: Mapping[str, Any] | None = None
) -> Stm:
    """Rebuild a network from its weights file: float32, on the CPU, in evaluation mode.

    `changes` override settings of the file, such as the memory design.
    Raises WeightsError as `read_header` does, if weights and settings disagree, or if a weight is
    not a finite number.
    """
    settings = read_settings(path, changes)
    try:
        state = load_file(path)
        network = build(settings, state, memory_frames)
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{path}: weights do not fit their settings: {reason}") from error
    for name, value in state.items():
        if not value.isfinite().all():  # such a network finds nothing, without a word
            raise WeightsError(
                f"{path}: {name} holds values that are not finite numbers, as of a training that "
                "diverged; give other weights"
            )
    return network.to(memory_format=torch.channels_last).eval()


def build(
    settings: StmSettings, state: Mapping[str, Tensor], memory_frames: int | None = None
) -> Stm:
    """Return the network of some weights, in float32; raises RuntimeError if they do not fit.

    It has no memory but theirs: untrusted settings may ask for more than the weights bear out.
    """
    with torch.device("meta"):
        network = Stm(settings, memory_frames=memory_frames)
    for name, value in state.items():
        if not is_plain(value):
            raise RuntimeError(
                f"{name}: expected plain floating-point numbers, found {value.dtype}"
            )
    network.load_state_dict(dict(state), assign=True)
    return network.float()


def is_plain(value: Tensor) -> bool:
    """Return whether a tensor is of `FLOATS` that are all there, on the CPU."""
    plain = value.layout is torch.strided and value.device.type == "cpu"
    return (
        plain
        and value.dtype in FLOATS
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )


def begin_from(path: Path, settings: StmSettings) -> Stm:
    """Return a network to train, initialised from weights; `CHANGEABLE_IN_TRAINING` may differ.

    Layers that the file lacks are initialised as in a new network.
    Raises WeightsError as `load_checkpoint` does, or if another setting differs.
    """
    source = load_checkpoint(path)
    for name, value in settings.model_dump(exclude=CHANGEABLE_IN_TRAINING).items():
        found = getattr(source.settings, name)
        if found != value:
            raise WeightsError(f"{path}: {name} {found}; the recipe's network has {value}")
    network = Stm(settings)
    common, own = source.state_dict(), network.state_dict()
    fitting = {k: v for k, v in common.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict(fitting, strict=False)
    return network
