"""Disturbed memories (journal 4.3.4, Tables 5 and 6): how far does a model trust its own masks?

A frame stays in memory by other masks than the predicted ones: by the boxes of its objects, by the
masks of another run, or by masks that an attack moved up the gradient of the loss of the frames to
come. `vostool.propagation.frame_loop` says which frames, and corrects them thereafter.

Shapes: masks (B, N + 1, H, W), background first; objects (B, N, H, W) are the masks without it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from vostool import defaults
from vostool.errors import UsageError
from vostool.model.interface import Reference, Segmenter
from vostool.propagation.correction import (
    Goal,
    Heading,
    Pace,
    admissible,
    descend,
    explain,
    settle,
    with_background,
)
from vostool.propagation.frames import Annotation, KnownFrame


class Disturbance(Protocol):
    """Other masks by which predicted frames stay in memory (journal 4.3.4)."""

    @property
    def every(self) -> int:
        """Frames from one that is disturbed to the next, if it stays in memory."""

    @property
    def foresees(self) -> bool:
        """Whether it depends on the frames to come."""

    def __call__(
        self,
        segmenter: Segmenter[Any, Any],
        window: Sequence[KnownFrame],
        ids: tuple[int, ...],
        masks: Tensor,
    ) -> Tensor:
        """Return the masks in place of the predicted ones.

        `window` is the frame, and if it `foresees`, those to come up to the next disturbed one.
        """


@dataclass(frozen=True)
class Boxes:
    """Box template: every object's bounding box, filled; where two overlap, both share it.

    The boxes are of the known objects, or where these are unknown, of the predicted masks.
    """

    every: int = defaults.DISTURB_EVERY
    foresees: ClassVar[bool] = False

    def __call__(
        self,
        segmenter: Segmenter[Any, Any],
        window: Sequence[KnownFrame],
        ids: tuple[int, ...],
        masks: Tensor,
    ) -> Tensor:
        """See `Disturbance`."""
        known = window[0].objects
        objects = most_probable(masks) if known is None else masks_of(known, ids)[:, 1:]
        return with_background(admissible(boxes(objects)))


@dataclass(frozen=True)
class Replacement:
    """Low quality: the known objects, which are those that another run found."""

    every: int = defaults.DISTURB_EVERY
    foresees: ClassVar[bool] = False

    def __call__(
        self,
        segmenter: Segmenter[Any, Any],
        window: Sequence[KnownFrame],
        ids: tuple[int, ...],
        masks: Tensor,
    ) -> Tensor:
        """See `Disturbance`."""
        known = window[0].objects
        return masks if known is None else masks_of(known, ids)


@dataclass(frozen=True)
class Attack:
    """An adversarial attack: masks by which the frames to come are predicted worse.

    The loss of those (Eq. 4), each predicted from the attacked frame alone, is raised in `steps`
    equal steps by the sign of the gradient, and no pixel of a mask changes by more than
    `strength`. One step is FGSM (Goodfellow et al. 2015); several with `momentum` are MI-FGSM
    (Dong et al. 2018, Algorithm 1). Raises UsageError for values out of range.
    """

    every: int = defaults.DISTURB_EVERY
    strength: float = defaults.STRENGTH  # epsilon, in 1/255
    steps: int = 1  # T
    momentum: float = 0.0  # mu
    attacker: Segmenter[Any, Any] | None = None  # whose gradient it is; None: the model's own
    foresees: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.every < 1 or self.steps < 1:
            raise UsageError(f"attack: expected 1 or more, found {self.every=}, {self.steps=}")
        if not (0 <= self.strength <= 255 and 0 <= self.momentum < float("inf")):
            raise UsageError(f"attack: out of range: {self.strength=}, {self.momentum=}")

    def __call__(
        self,
        segmenter: Segmenter[Any, Any],
        window: Sequence[KnownFrame],
        ids: tuple[int, ...],
        masks: Tensor,
    ) -> Tensor:
        """See `Disturbance`; frames to come whose objects are unknown don't count."""
        here, *coming = window
        known = [(each.image, each.objects) for each in coming if each.objects is not None]
        if not known or self.strength == 0:
            return masks
        model = segmenter if self.attacker is None else self.attacker
        channels = tuple(range(masks.shape[1]))
        goals = [
            Goal(channels, Reference(model.encode(image), masks_of(objects, ids)))
            for image, objects in known
        ]
        return self.mislead(model, model.encode(here.image), masks, goals)

    def mislead(
        self,
        model: Segmenter[Any, Any],
        features: Any,
        masks: Tensor,
        goals: Sequence[Goal[Any]],
    ) -> Tensor:
        """Return masks near these by which the references of the goals are explained worse."""

        explained = explain(model, features, goals)

        def losses(objects: Tensor) -> Iterator[Tensor]:
            return (-loss for loss in explained(objects))

        objects, radius = masks[:, 1:], self.strength / 255
        steps = descend(
            losses,
            objects,
            by_sign(radius / self.steps),
            within(objects, radius),
            with_momentum(self.momentum),
        )
        return with_background(settle(islice(steps, self.steps), None))


def by_sign(length: float) -> Pace:
    """Return steps that move every pixel by one length, whatever the size of its gradient."""
    return lambda direction: length * direction.sign()


def with_momentum(decay: float) -> Heading:
    """Return directions that sum up the gradients, each of L1 norm 1, older ones decayed."""

    def heading(before: Tensor, gradient: Tensor) -> Tensor:
        norm = gradient.abs().sum(dim=(1, 2, 3), keepdim=True)
        return decay * before + gradient / norm.clamp(min=torch.finfo(norm.dtype).tiny)

    return heading


def within(start: Tensor, radius: float) -> Callable[[Tensor], Tensor]:
    """Return a projection to admissible objects that differ from these by at most a radius.

    What is too much together is taken from the objects in proportion to what they have above the
    least that the radius allows.
    """
    least, most = (start - radius).clamp(min=0), (start + radius).clamp(max=1)
    room = (1 - least.sum(dim=1, keepdim=True)).clamp(min=0)

    def project(objects: Tensor) -> Tensor:
        above = objects.clamp(least, most) - least
        total = above.sum(dim=1, keepdim=True)
        return least + above * (room / total.clamp(min=1e-12)).clamp(max=1)

    return project


def boxes(objects: Tensor) -> Tensor:
    """Return the bounding boxes of objects, 0 or 1; an object that is nowhere has none."""
    rows, columns = (objects.amax(dim=dim, keepdim=True) for dim in (3, 2))
    return between_ends(rows, 2) * between_ends(columns, 3)


def between_ends(there: Tensor, dim: int) -> Tensor:
    """Return 1 from the first 1 to the last along a dimension, 0 elsewhere."""
    after_first = there.cummax(dim).values
    before_last = there.flip(dim).cummax(dim).values.flip(dim)
    return after_first * before_last


def most_probable(masks: Tensor) -> Tensor:
    """Return the objects, 0 or 1: 1 where no other channel is more probable."""
    winner = masks.argmax(dim=1, keepdim=True)
    return torch.zeros_like(masks).scatter(1, winner, 1.0)[:, 1:]


def masks_of(known: Annotation, ids: Sequence[int]) -> Tensor:
    """Return known objects as masks, (B, len(ids) + 1, H, W); one that is not there is 0."""
    nowhere = known.objects.new_zeros(known.objects.shape[0], *known.objects.shape[2:])
    own = dict(zip(known.ids, known.objects.unbind(dim=1), strict=True))
    return with_background(torch.stack([own.get(id_, nowhere) for id_ in ids], dim=1))
