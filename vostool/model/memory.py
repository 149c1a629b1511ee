"""Memories: immutable values that hold encoded frames and answer queries.

A memory owns no weights. Keys and queries come prepared so that their inner
product is the similarity; `add` returns a new memory and leaves the old one alone,
so that the bank, "bank and previous frame" and the cycle's one-frame memory are the
same type and share their tensors.

Shapes: B clips, G key groups (1 where all objects share the key, N where each has
its own), C key and D value channels (D counts all objects of a group), P = h w
positions of a frame.
    key    (B, G, P, C)    value  (B, G, P, D)    query  (B, G, P, C)
"""

from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor


class Memory(Protocol):
    """What a memory design owes the network."""

    def add(self, key: Tensor, value: Tensor) -> Self:
        """Return this memory with one more frame."""

    def read(self, query: Tensor) -> Tensor:
        """Return what is remembered for each query position, (B, G, P, D)."""


@dataclass(frozen=True)
class StackedMemory:
    """Keep every position of every frame; attend to all of them (STM).

    At most `capacity` frames are kept (None: all): past it the oldest goes, but never
    the first frame, whose masks are the truth.
    """

    capacity: int | None = None
    keys: tuple[Tensor, ...] = ()
    values: tuple[Tensor, ...] = ()

    def add(self, key: Tensor, value: Tensor) -> Self:
        """Return this memory with one more frame, the newest last."""
        full = self.capacity is not None and len(self.keys) >= max(self.capacity, 2)
        keys, values = (
            (drop_second(self.keys), drop_second(self.values))
            if full
            else (
                self.keys,
                self.values,
            )
        )
        return replace(self, keys=(*keys, key), values=(*values, value))

    def read(self, query: Tensor) -> Tensor:
        """Return the values, weighted by the softmax of key and query's inner product."""
        keys = torch.cat(self.keys, dim=2)  # (B, G, T P, C)
        values = torch.cat(self.values, dim=2)  # (B, G, T P, D)
        # half precision is too coarse for similarities, whatever autocast thinks
        with torch.autocast(query.device.type, enabled=False):
            weights = (query.float() @ keys.float().transpose(2, 3)).softmax(dim=3)
        return weights.to(values.dtype) @ values


def drop_second(frames: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Forget the oldest frame but the first."""
    return frames[:1] + frames[2:]


MEMORIES: dict[str, type[StackedMemory]] = {"stm": StackedMemory}
