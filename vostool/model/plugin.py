"""Plug-in models: networks of other installed packages.

A package declares its model in its pyproject.toml,

    [project.entry-points."vostool.models"]
    mymodel = "mypackage:load"

where `load` takes the path of weights, or None for its own, and returns a `Segmenter`, most
easily an `Adapter`. `vostool segment --model mymodel` runs it, with correction, ERF and
evaluation. `vostool.model.check.check_segmenter` checks that it fulfils the contract. A model may
offer more: `LimitedMemory`, to go on where memory runs out, `StoredMemory`, to be written, and
`DivisibleMemory`, to be carried over then.
"""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch

from vostool.errors import ContractError, VostoolError
from vostool.model.interface import Segmenter

GROUP = "vostool.models"


def load_plugin(name: str, weights: Path | None) -> Segmenter[Any, Any]:
    """Return the plug-in model that an installed package declares under a name.

    Raises ContractError if there is none, or if it cannot be imported or loaded.
    """
    offered = entry_points(group=GROUP)
    if name not in offered.names:
        names = ", ".join(sorted({"stm", *offered.names}))  # vostool's own, and the others
        raise ContractError(f"--model {name}: no such model; expected one of {names}")
    entry = offered[name]
    try:
        load = entry.load()
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ContractError(
            f"--model {name}: {entry.value} cannot be imported: {reason}"
        ) from error
    try:
        network: Segmenter[Any, Any] = load(weights)
    except (VostoolError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        given = weights or "its own weights"
        reason = f"{type(error).__name__}: {error}"
        raise ContractError(
            f"--model {name}: {entry.value} fails to load {given}: {reason}"
        ) from error
    return network
