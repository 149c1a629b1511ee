"""The designs of the memory bank by name: the one table of them. Must not import torch.

A fourth design is a class that fulfils `vostool.model.memory.FrameMemory`, in any module, and
its line here: options, recipes, weights files and --help then accept it.
"""

from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vostool.model.memory import FrameMemory

MEMORIES: dict[str, str] = {  # name and class, imported when it is used
    "stm": "vostool.model.memory:StackedMemory",
    "kmn": "vostool.model.memory:KernelMemory",
    "gcm": "vostool.model.context_memory:ContextMemory",
}


def memory_design(name: str) -> "type[FrameMemory]":
    """Return the class of a design."""
    design: type[FrameMemory] = resolve_name(MEMORIES[name])
    return design


def known_design(name: str) -> str:
    """Return the name of a design as it is; raises ValueError, which lists them, for another."""
    if name not in MEMORIES:
        *others, last = map(repr, MEMORIES)
        raise ValueError(f"expected {', '.join(others)} or {last}")
    return name
