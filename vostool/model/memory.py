"""Memories: immutable values that hold encoded frames and answer queries.

A memory owns no weights. `add` returns a new memory and leaves the old one alone, so that
the bank, "bank and previous frame" and the cycle's one-frame memory are the same type and
share their tensors.

Shapes: B clips, G key groups (1 where all objects share the key, N where each has its
own), C key and D value channels (D counts all objects of a group), h x w positions of a
frame.
    key (B, G, C, h, w)    value (B, G, D, h, w)    query (B, 1 or G, C, h, w)
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import torch
from torch import Tensor

Similarity = Literal["dot", "l2"]


class FrameMemory(Protocol):
    """What a memory design owes the network."""

    def add(self, key: Tensor, value: Tensor, annotated: bool) -> Self:
        """Return this memory with one more frame; `annotated` if its masks are the truth."""

    def read(self, query: Tensor) -> Tensor:
        """Return what is remembered for each query position, (B, G, D, h, w)."""


@dataclass(frozen=True)
class StackedMemory:
    """Keep every position of every frame; attend to all of them (STM).

    At most `capacity` frames are kept (None: all). Past it the oldest goes that is not
    annotated; if all are, the oldest but the first.
    """

    similarity: Similarity = "dot"
    capacity: int | None = None
    keys: tuple[Tensor, ...] = ()  # (B, G, h w, C'), see `comparable_key`
    values: tuple[Tensor, ...] = ()  # (B, G, h w, D)
    annotated: tuple[bool, ...] = ()

    def add(self, key: Tensor, value: Tensor, annotated: bool) -> Self:
        """Return this memory with one more frame, the newest last."""
        room = self
        if self.capacity is not None and len(self.keys) >= self.capacity:
            room = self.forget(self.annotated.index(False) if not all(self.annotated) else 1)
        return replace(
            room,
            keys=(*room.keys, comparable_key(positions(key), self.similarity)),
            values=(*room.values, positions(value)),
            annotated=(*room.annotated, annotated),
        )

    def forget(self, index: int) -> Self:
        """Return this memory without one of its frames."""
        others = [place for place in range(len(self.keys)) if place != index]
        return replace(
            self,
            keys=tuple(self.keys[place] for place in others),
            values=tuple(self.values[place] for place in others),
            annotated=tuple(self.annotated[place] for place in others),
        )

    def read(self, query: Tensor) -> Tensor:
        """Return the values, weighted by the softmax of the keys' similarity to the query."""
        keys, values = torch.cat(self.keys, dim=2), torch.cat(self.values, dim=2)
        asked = comparable_query(positions(query), self.similarity)  # (B, ., h w, C')
        # half precision is too coarse for similarities, whatever autocast thinks
        with torch.autocast(query.device.type, enabled=False):
            weights = (asked @ keys.transpose(2, 3)).softmax(dim=3)  # (B, G, h w, T h w)
        answer = weights.to(values.dtype) @ values  # (B, G, h w, D)
        return answer.transpose(2, 3).unflatten(3, query.shape[3:])


def positions(grid: Tensor) -> Tensor:
    """Turn (B, G, C, h, w) into (B, G, h w, C)."""
    return grid.flatten(3).transpose(2, 3)


def comparable_key(key: Tensor, similarity: Similarity) -> Tensor:
    """Make the inner product of key and query their similarity; float32."""
    key = key.float()
    if similarity == "dot":
        return key
    # -|k - q|^2 = 2 k.q - |k|^2 - |q|^2, and softmax over the keys drops the last
    return torch.cat([2 * key, -key.square().sum(dim=3, keepdim=True)], dim=3)


def comparable_query(query: Tensor, similarity: Similarity) -> Tensor:
    """Do the same for the query, and scale by sqrt(C)."""
    scaled = query.float() / math.sqrt(query.shape[3])
    if similarity == "dot":
        return scaled
    one = torch.full_like(scaled[..., :1], 1 / math.sqrt(query.shape[3]))
    return torch.cat([scaled, one], dim=3)


MEMORIES: dict[str, type[StackedMemory]] = {"stm": StackedMemory}
