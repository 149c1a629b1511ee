"""The memory bank: immutable values that hold encoded frames and are read by queries.

A memory has no weights. `add` returns a new memory and leaves the old one unchanged, so that
the bank, "bank and previous frame" and the cycle's one-frame memory are the same type and
share their tensors.

stm   every position of every frame, read by attention (STM, Oh et al. 2019)
kmn   the same, memory positions weighted by a kernel around their best match (KMN, Seong et al.
      2020)
gcm   the mean over all frames of one small matrix (GCM, Li, Shen and Shan 2020), see
      `vostool.model.context_memory`

Another design is one class, and a line in `vostool.model.memory_designs`.

Shapes: B clips, G key groups (1 where all objects share the key, N where each has its
own), C key and D value channels (D counts all objects of a group), h x w positions of a
frame, T frames.
    key (B, G, C, h, w)    value (B, G, D, h, w)    query (B, 1 or G, C, h, w)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, Self, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional

from vostool.model.attention import attend

Similarity = Literal["dot", "l2"]
KEPT = 2**23  # the most attention weights that are kept from one read to the next: 32 MiB


@dataclass(frozen=True)
class MemoryOptions:
    """How a memory stores and reads; each design uses the options that apply to it."""

    similarity: Similarity = "dot"
    capacity: int | None = None  # the most frames that are kept, 2 or more; None: all
    top: int = 0  # memory positions that are attended to, those most similar; 0: all of them
    top_alone: bool = False  # also where a single frame is remembered
    # how many times as much a position of an annotated frame counts as one of another; l2 alone
    annotated_weight: float = 1.0
    sigma: float = 7.0  # width of the kernel of KMN, positions
    # of its soft-argmax, in units of the similarity; None: the position itself, without gradient
    temperature: float | None = None


class FrameMemory(Protocol):
    """The interface of a memory design; it is created empty, from its options alone."""

    # what the weights are trained for: those of a design also serve the others of the same readout
    readout: ClassVar[str]

    def __init__(self, options: MemoryOptions) -> None: ...

    def add(self, key: Tensor, value: Tensor, annotated: bool) -> Self:
        """Return this memory with one more frame; `annotated` if its masks are the truth."""

    def read(self, query: Tensor) -> Tensor:
        """Return the readout for each query position, (B, G, D, h, w)."""


@runtime_checkable
class PreparedMemory(FrameMemory, Protocol):
    """A memory that computes once what many reads of a single frame have in common. Optional."""

    def reader(self, key: Tensor, query: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the function from a frame's value to what is read of it alone.

        That is `add(key, value, annotated=False).read(query)` of an empty memory.
        """


@dataclass(frozen=True)
class StackedMemory:
    """Keep every position of every frame; attend to all of them (STM).

    At most `capacity` frames are kept. Beyond it the oldest frame that is not annotated is
    dropped; if all are annotated, the oldest but the first.
    """

    readout: ClassVar[str] = "attention"

    options: MemoryOptions = MemoryOptions()
    keys: tuple[Tensor, ...] = ()  # (B, G, h w, C'), see `comparable_key`
    values: tuple[Tensor, ...] = ()  # (B, G, h w, D)
    annotated: tuple[bool, ...] = ()

    def add(self, key: Tensor, value: Tensor, annotated: bool) -> Self:
        """Return this memory with one more frame, the newest last."""
        room, capacity = self, self.options.capacity
        weight = self.options.annotated_weight if annotated else 1.0
        if capacity is not None and len(self.keys) >= capacity:
            room = self.forget(self.annotated.index(False) if not all(self.annotated) else 1)
        return replace(
            room,
            keys=(*room.keys, comparable_key(positions(key), self.options.similarity, weight)),
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
        """Return the values, weighted by the softmax of the keys' similarity to the query.

        A frame alone, as in the cycle, is read whole unless `top_alone`: sorting would cost more
        than it saves. Raises ValueError if nothing is remembered.
        """
        if not self.keys:
            raise ValueError("nothing is remembered")
        clips, groups = self.keys[0].shape[:2]
        # half precision, which autocast would choose, is too coarse for similarities
        with torch.autocast(query.device.type, enabled=False):
            asked = self.asked(query, groups)
            keys = [key.flatten(0, 1) for key in self.keys]
            values = [value.flatten(0, 1) for value in self.values]
            several = len(keys) > 1 or self.options.top_alone
            length = sum(key.shape[1] for key in keys)
            if several and 0 < self.options.top < length:
                affinity = torch.cat([self.similarities(key, asked).mT for key in keys], dim=2)
                answer = best_of(affinity, torch.cat(values, dim=1), self.options.top)
            else:
                answer = attend(self.similarities, asked, keys, values)
        return answer.mT.unflatten(0, (clips, groups)).unflatten(3, query.shape[3:])

    def reader(self, key: Tensor, query: Tensor) -> Callable[[Tensor], Tensor]:
        """See `PreparedMemory.reader`; the weights are computed once, where there is room."""
        clips, groups = key.shape[:2]
        count = clips * groups * key[0, 0, 0].numel() * query[0, 0, 0].numel()
        if self.options.top_alone or count > KEPT:
            return lambda value: self.add(key, value, annotated=False).read(query)
        own = comparable_key(positions(key), self.options.similarity).flatten(0, 1)
        with torch.autocast(query.device.type, enabled=False):  # as in `read`
            weights = self.similarities(own, self.asked(query, groups)).softmax(dim=1).to(key.dtype)

        def read(value: Tensor) -> Tensor:
            with torch.autocast(query.device.type, enabled=False):
                answer = weights.to(value.dtype).mT @ positions(value).flatten(0, 1)
            return answer.mT.unflatten(0, (clips, groups)).unflatten(3, query.shape[3:])

        return read

    def asked(self, query: Tensor, groups: int) -> Tensor:
        """Return a query (B, 1 or G, C, h, w) as `similarities` takes it, (P, C', h, w)."""
        comparable = comparable_query(query, self.options.similarity)
        return comparable.expand(-1, groups, -1, -1, -1).flatten(0, 1)

    def similarities(self, keys: Tensor, query: Tensor) -> Tensor:
        """Return the attention logits of memory positions for each query position, (P, m, h w).

        `keys` (P, m, C') of all or some positions of some pairs P of a clip and a group, `query`
        (P, C', h, w), comparable. Each memory position is independent of the others.
        """
        return keys @ query.flatten(2)


class KernelMemory(StackedMemory):
    """STM's memory with kernelised attention: positions count mainly around their best match.

    A Gaussian of `sigma` positions around the best match of every memory position in the
    query frame multiplies its weights (KMN, Eqs. 5 and 6). With a `temperature` the best
    match is a soft-argmax, which is differentiable (journal 4.4), without it the argmax.
    """

    def similarities(self, keys: Tensor, query: Tensor) -> Tensor:
        """Return STM's similarities plus the logarithm of the kernel."""
        affinity = super().similarities(keys, query)  # (P, m, h w)
        height, width = query.shape[2:]
        places = grid(height, width, affinity)  # (h w, 2)
        best = self.best_match(affinity, places)  # (P, m, 2)
        # -|place - best|^2 / 2 sigma^2, without the term that all memory positions share; as one
        # product, added in place: the tensors are large
        spread = self.options.sigma**2
        asked = torch.cat([places, torch.ones_like(places[:, :1])], dim=1) / spread
        centres = torch.cat([best, best.square().sum(dim=2, keepdim=True) / -2], dim=2)
        return affinity.baddbmm_(centres, asked.T.expand(len(centres), -1, -1))

    def best_match(self, affinity: Tensor, places: Tensor) -> Tensor:
        """Return the position in the query frame that each memory position is most similar to."""
        if self.options.temperature is None:
            return places[argmax_of_rows(affinity)]
        return (affinity / self.options.temperature).softmax(dim=2) @ places


def best_of(affinity: Tensor, values: Tensor, top: int) -> Tensor:
    """Return the values (P, M, D) of the `top` logits in each row, weighted by their softmax.

    `affinity` (P, Q, M); returns (P, Q, D).
    """
    best, places = affinity.topk(top, dim=2, sorted=False)
    parts = (values, places, best.softmax(dim=2))
    return sum_of(*(each.unsqueeze(1) for each in parts)).squeeze(1)


def sum_of(values: Tensor, places: Tensor, weights: Tensor) -> Tensor:
    """Return weighted sums (B, G, Q, D) of the values (B, G, M, D) at places (B, G, Q, K).

    Only those values are read: the product of all weights and values is most of the cost of a large
    memory.
    """
    pairs, length = values.flatten(0, 1).shape[:2]
    table = values.flatten(0, 2)  # (B G M, D)
    start = length * torch.arange(pairs, device=places.device).view(-1, 1, 1)
    rows = (places.flatten(0, 1) + start).flatten(0, 1)  # (B G Q, K)
    shares = weights.to(table.dtype).flatten(0, 2)
    answer = functional.embedding_bag(rows, table, per_sample_weights=shares, mode="sum")
    return answer.view(*places.shape[:3], -1)


def argmax_of_rows(table: Tensor) -> Tensor:
    """Return `table.argmax(dim=-1)`; on a CPU by NumPy, which takes a tenth of PyTorch's time."""
    if table.device.type == "cpu":
        return torch.from_numpy(table.detach().numpy().argmax(axis=-1))
    return table.argmax(dim=-1)


def positions(grid: Tensor) -> Tensor:
    """Turn (B, G, C, h, w) into (B, G, h w, C)."""
    return grid.flatten(3).transpose(2, 3)


def grid(height: int, width: int, like: Tensor) -> Tensor:
    """Return row and column of each position, (h w, 2)."""
    rows = torch.arange(height, device=like.device, dtype=like.dtype)
    columns = torch.arange(width, device=like.device, dtype=like.dtype)
    return torch.cartesian_prod(rows, columns)


def comparable_key(key: Tensor, similarity: Similarity, weight: float = 1.0) -> Tensor:
    """Return keys whose inner product with `comparable_query` is the similarity; float32.

    The softmax weights of these keys are multiplied by `weight`, if the similarity is "l2".
    """
    key = key.float()
    if similarity == "dot":
        return key
    # -|k - q|^2 = 2 k.q - |k|^2 - |q|^2, which the query divides by sqrt(C)
    norm = key.square().sum(dim=3, keepdim=True) - math.log(weight) * math.sqrt(key.shape[3])
    return torch.cat([2 * key, -norm, torch.ones_like(norm)], dim=3)


def comparable_query(query: Tensor, similarity: Similarity) -> Tensor:
    """Return queries (B, ., C', h, w) for `comparable_key`, scaled by 1 / sqrt(C)."""
    query, channels = query.float(), query.shape[2]
    if similarity == "l2":
        norm = query.square().sum(dim=2, keepdim=True)
        query = torch.cat([query, torch.ones_like(norm), -norm], dim=2)
    return query / math.sqrt(channels)
