"""A frame of a video: what is known of it, what is predicted, and what it is remembered by.

Shapes: image (B, 3, H, W) in [0, 1]; masks (B, N + 1, H, W), background first.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from vostool.model.interface import Features

Item = TypeVar("Item")


@dataclass(frozen=True)
class Annotation:
    """The ground truth of some objects on one frame; other objects are unknown."""

    ids: tuple[int, ...]
    objects: Tensor  # (B, len(ids), H, W), 0 or 1

    def masks(self, ids: Sequence[int]) -> Tensor:
        """Return the masks of some of the objects, (B, len(ids) + 1, H, W); all else is
        background."""
        objects = self.objects[:, [self.ids.index(id_) for id_ in ids]]
        return torch.cat([1 - objects.sum(dim=1, keepdim=True), objects], dim=1)


@dataclass(frozen=True)
class KnownFrame:
    """A frame with the objects that a disturbance takes as known; None: it knows none."""

    image: Tensor  # (B, 3, H, W)
    objects: Annotation | None = None


@dataclass(frozen=True)
class Prediction(Generic[Features]):
    """One frame of the result."""

    ids: tuple[int, ...]  # of the objects, in the order of the mask channels
    masks: Tensor  # (B, len(ids) + 1, H, W)
    features: Features
    uncorrected: Tensor | None = None  # the masks before the correction, where there was one
    corrected: Tensor | None = None  # those after it, where they are not the result
    staying: Tensor | None = None  # those by which it stays in memory, where it was disturbed

    @property
    def remembered(self) -> Tensor:
        """The masks that go into memory; of a disturbed frame, only until the next one."""
        return self.masks if self.corrected is None else self.corrected

    @property
    def moved(self) -> bool:
        """Whether the masks that go into memory, or stay there, are not the predicted ones."""
        return self.uncorrected is not None or self.staying is not None


@dataclass(frozen=True)
class MaskedFrame:
    """A frame with the masks to memorise it by: enough to memorise it again."""

    index: int  # counted from 0
    image: Tensor  # (B, 3, H, W)
    ids: tuple[int, ...]
    masks: Tensor  # (B, len(ids) + 1, H, W)
    annotated: tuple[int, ...] = ()  # the ids whose masks are the truth
    staying: Tensor | None = None  # masks like the others, by which it stays; None: those
    # the ids that are not remembered by it: they are said not to be there, their masks are 0, or
    # they are forgotten
    absent: tuple[int, ...] = ()
    moved: bool = False  # the masks to remember are not the predicted ones
    ends_scene: bool = False  # the next frame shows another one
    # how the image was placed when it was made, and in turn each time it was placed anew; the
    # frame loop only carries them along
    placements: tuple[Any, ...] = ()

    @property
    def settled(self) -> Self:
        """This frame once it is no longer the previous one."""
        return self if self.staying is None else replace(self, masks=self.staying, staying=None)

    def channels(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Return which of the masks are the background and these objects'."""
        return (0, *(1 + self.ids.index(id_) for id_ in ids))

    def masks_of(self, ids: Sequence[int]) -> Tensor:
        """Return the masks of these objects, (B, len(ids) + 1, H, W); the background is where
        none of all objects is."""
        return self.masks if len(ids) == len(self.ids) else self.masks[:, self.channels(ids)]

    @property
    def truth(self) -> Annotation:
        """The annotation of this frame."""
        return Annotation(self.annotated, self.masks[:, self.channels(self.annotated)[1:]])


def windows(items: Iterable[Item], ahead: int) -> Iterator[tuple[Item, ...]]:
    """Yield each item with the `ahead` ones after it, fewer at the end; holds no others."""
    held: deque[Item] = deque()
    for item in items:
        held.append(item)
        if len(held) > ahead:
            yield tuple(held)
            held.popleft()
    while held:
        yield tuple(held)
        held.popleft()
