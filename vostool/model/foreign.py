"""Models that come from elsewhere: installed packages that announce themselves.

A package names its model in its pyproject.toml,

    [project.entry-points."vostool.models"]
    mymodel = "mypackage:load"

where `load` takes the path of weights, or None for its own, and returns a `Segmenter`, most
easily an `Adapter`. `vostool segment --model mymodel` runs it; correction, ERF and evaluation
come free. `vostool.model.check.check_segmenter` tells whether it keeps the contract. A model may
offer more: `LimitedMemory`, to go on where memory runs out, and `StoredMemory`, to be written.
"""

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from vostool.errors import UsageError
from vostool.model.interface import Segmenter

GROUP = "vostool.models"


def load_foreign(name: str, weights: Path | None) -> Segmenter[Any, Any]:
    """Load the model that an installed package offers by this name.

    Raises UsageError if none does, or if it cannot be imported, and what its loader raises.
    """
    offered = entry_points(group=GROUP)
    if name not in offered.names:
        names = ", ".join(sorted({"stm", *offered.names}))  # vostool's own, and the others
        raise UsageError(f"--model {name}: expected one of {names}")
    entry = offered[name]
    try:
        load = entry.load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--model {name}: {entry.value} cannot be imported: {error}") from error
    network: Segmenter[Any, Any] = load(weights)
    return network
