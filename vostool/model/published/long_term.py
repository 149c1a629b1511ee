"""XMem's memory bank: frames in a working memory, and prototypes of older ones (XMem, 3.3).

Once the working memory is full, all but its first frame and the newest ones are consolidated: the
positions that were used most become prototypes, which stand for all by a weighted mean of the
values. Where the long-term memory would become too large, the elements used least are forgotten.

Shapes: B clips, C key channels, V value channels of all objects together, h x w positions of a
frame, M elements.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Self

import torch
from torch import Tensor

from vostool.model.memory import sum_of
from vostool.model.stored import stored_tensor


@dataclass(frozen=True)
class LongTermOptions:
    """How the memory stores and reads."""

    top: int = 30  # elements that are attended to, those most similar; 0: all
    frames: int | None = 10  # at which the working memory is consolidated; None: never
    prototypes: int = 128  # that are made at a consolidation
    elements: int = 10_000  # the most in the long-term memory

    @property
    def kept(self) -> int:
        """How many frames stay in the working memory at a consolidation."""
        return max(1, (self.frames or 0) // 2)


class Query(NamedTuple):
    """A frame as the memory is asked, and as it is added; float32."""

    key: Tensor  # (B, C, h, w)
    shrinkage: Tensor  # (B, 1, h, w)
    selection: Tensor  # (B, C, h, w)


class Elements(NamedTuple):
    """Positions of frames, (B, M, .) each, in order; float32 but for the values."""

    key: Tensor
    shrinkage: Tensor  # 1 channel
    selection: Tensor
    value: Tensor  # of all objects
    use: Tensor  # 1 channel: the sum of the weights with which they were read
    life: Tensor  # 1 channel: how often the memory was read since they came

    @classmethod
    def of_frame(cls, query: Query, value: Tensor) -> Self:
        """Return the positions of a frame with values (B, V, h, w)."""
        key, shrinkage, selection = (by_position(each) for each in query)
        new = torch.zeros_like(shrinkage)
        return cls(key, shrinkage, selection, by_position(value), new, new)

    @property
    def total(self) -> int:
        """How many there are, M."""
        return self.key.shape[1]

    @property
    def usage(self) -> Tensor:
        """How much each was used in its life, (B, M)."""
        return (self.use / self.life.clamp(min=1e-7)).squeeze(2)

    def span(self, start: int, end: int) -> Self:
        """Return the elements from `start` up to but not including `end`, in order."""
        return type(self)(*(values[:, start:end] for values in self))

    def gather(self, indices: Tensor) -> Self:
        """Return the elements at indices (B, K), other ones for each clip."""
        index = indices[..., None]
        return type(self)(
            *(values.gather(1, index.expand(-1, -1, values.shape[2])) for values in self)
        )


def joined(parts: Sequence[Elements]) -> Elements:
    """Return the elements of all parts, one after the other."""
    return Elements(*(torch.cat(values, dim=1) for values in zip(*parts, strict=True)))


def by_position(grid: Tensor) -> Tensor:
    """Turn (B, C, h, w) into (B, h w, C)."""
    return grid.flatten(2).transpose(1, 2).contiguous()


@dataclass(frozen=True)
class LongTermMemory:
    """A working memory of frames, and a long-term memory of prototypes."""

    options: LongTermOptions = field(default_factory=LongTermOptions)
    elements: Elements | None = None  # the prototypes first, then frame after frame
    prototypes: int = 0  # how many of them are in long-term memory
    positions: int = 0  # of a frame, h w

    def add(self, query: Query, value: Tensor) -> Self:
        """Return this memory with one more frame, of values (B, V, h, w)."""
        new = Elements.of_frame(query, value)
        elements = new if self.elements is None else joined([self.elements, new])
        return replace(self, elements=elements, positions=new.total).within_limit()

    def within_limit(self) -> Self:
        """Return this memory, consolidated if its working memory is full."""
        most = self.options.frames
        full = most is not None and self.working >= most * self.positions
        return self.consolidated() if full else self

    @property
    def working(self) -> int:
        """How many elements are in working memory."""
        return 0 if self.elements is None else self.elements.total - self.prototypes

    def read(self, query: Query) -> tuple[Tensor, Self]:
        """Return the readout (B, V, h, w), and this memory with the use of its elements counted."""
        if self.elements is None:
            raise ValueError("nothing is remembered")
        elements, top = self.elements, self.options.top or self.elements.total
        # half precision, which autocast would choose, is too coarse for similarities
        with torch.autocast(query.key.device.type, enabled=False):
            affinity = similarity(elements, by_position(query.key), by_position(query.selection))
            best, places = affinity.topk(min(top, elements.total), dim=2, sorted=False)
            weights = best.softmax(dim=2)
            answer = sum_of(*(each.unsqueeze(1) for each in (elements.value, places, weights)))
            # one sum, in the same order each time, unlike scatter_add on a GPU: so the memories of
            # all chunks of objects, and those of a resumed run, have the same use
            read = affinity.detach().zero_().scatter_(2, places, weights.detach())
            used = read.sum(dim=1).unsqueeze(2)
        counted = elements._replace(use=elements.use + used, life=elements.life + 1)
        answer = answer.squeeze(1).transpose(1, 2).unflatten(2, query.key.shape[2:])
        return answer, replace(self, elements=counted)

    def consolidated(self) -> Self:
        """Return this memory with the middle of its working memory in its long-term memory."""
        if self.elements is None:
            return self
        elements, options = self.elements, self.options
        start = self.prototypes + self.positions
        end = elements.total - (options.kept - 1) * self.positions
        old = elements.span(0, self.prototypes)
        room = max(0, options.elements - options.prototypes)
        if old.total > room:
            old = old.gather(most_used(old, room).sort(dim=1).values)
        new = summarised(elements.span(start, end), options.prototypes)
        first = elements.span(self.prototypes, start)
        parts = [old, new, first, elements.span(end, elements.total)]
        return replace(self, elements=joined(parts), prototypes=old.total + new.total)

    def to_tensors(self) -> dict[str, Tensor]:
        """See `StoredMemory.to_tensors`."""
        counts = torch.tensor([self.prototypes, self.positions])
        return {"counts": counts, **({} if self.elements is None else self.elements._asdict())}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See `StoredMemory.with_tensors`.

        Of frames of another size only the prototypes are taken, which have no place in a frame. A
        working memory beyond the limit is consolidated.
        """
        if self.elements is None:
            return self
        stored, prototypes, positions = read_elements(tensors, self.elements)
        if positions == self.positions:
            return replace(self, elements=stored, prototypes=prototypes).within_limit()
        if not prototypes:
            return self
        working = self.elements.span(self.prototypes, self.elements.total)
        elements = joined([stored.span(0, prototypes), working])
        return replace(self, elements=elements, prototypes=prototypes)


def read_elements(tensors: Mapping[str, Tensor], like: Elements) -> tuple[Elements, int, int]:
    """Return stored elements, how many are prototypes, and how many positions a frame has.

    Raises ValueError for those of another network, or that are no prototypes and whole frames.
    """
    counts = stored_tensor(tensors, "counts", torch.tensor([0, 0]))
    prototypes, positions = counts.tolist()
    elements = Elements(
        *(
            stored_tensor(tensors, name, values, free=(1,)).contiguous()
            for name, values in like._asdict().items()
        )
    )
    totals = {values.shape[1] for values in elements}
    working = elements.total - prototypes
    if len(totals) > 1 or prototypes < 0 or positions < 1 or working < 1 or working % positions:
        raise ValueError(
            f"counts: {prototypes} prototypes and frames of {positions} positions, found "
            f"{', '.join(map(str, sorted(totals)))} elements"
        )
    return elements, prototypes, positions


def similarity(elements: Elements, key: Tensor, selection: Tensor) -> Tensor:
    """Return how similar each query (B, Q, C) is to each element, (B, Q, M) (XMem, Eq. 2).

    -s |k - q|^2 / sqrt(C), the channels weighted by the selection of the query, all multiplied by
    the shrinkage s of the element.
    """
    weighted = key * selection
    asked = torch.cat([selection, weighted, (key * weighted).sum(dim=2, keepdim=True)], dim=2)
    own = elements.key
    remembered = torch.cat([-own.square(), 2 * own, -torch.ones_like(own[..., :1])], dim=2)
    remembered = remembered * elements.shrinkage / math.sqrt(own.shape[2])
    return asked @ remembered.transpose(1, 2)


def most_used(elements: Elements, count: int) -> Tensor:
    """Return the places (B, K) of the elements used most, at most `count`; the first most."""
    return elements.usage.topk(min(count, elements.total), dim=1).indices


def summarised(elements: Elements, count: int) -> Elements:
    """Return prototypes: the elements used most, with the mean values and shrinkage of all."""
    chosen = elements.gather(most_used(elements, count))
    weights = similarity(elements, chosen.key, chosen.selection).softmax(dim=2)  # (B, K, M)
    return chosen._replace(
        shrinkage=weights @ elements.shrinkage,
        value=weights.to(elements.value.dtype) @ elements.value,
        use=torch.zeros_like(chosen.use),
        life=torch.zeros_like(chosen.life),
    )
