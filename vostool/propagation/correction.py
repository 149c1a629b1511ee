"""Gradient correction and the cycle-ERF (journal Eqs. 8 to 12): gradient descent on the cycle loss.

The variables are the masks of a frame; the loss is that of the backward prediction of the
reference frame from them (Eq. 7).

Shapes: masks (B, N + 1, H, W), background first; objects (B, N, H, W) are the masks without it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, NamedTuple

import torch
from torch import Tensor

from vostool import defaults
from vostool.errors import UsageError
from vostool.model.interface import Features, Memory, Reference, Segmenter
from vostool.propagation.cycle import way_back
from vostool.propagation.losses import mask_loss, roughness

PAPER_PIXELS = 240 * 427  # of the frames for which the authors tuned alpha


@dataclass(frozen=True)
class Goal(Generic[Features]):
    """A reference, and which channels of a frame's masks should explain it."""

    channels: tuple[int, ...]  # the background and the objects of the reference
    reference: Reference[Features]

    def own(self, masks: Tensor) -> Tensor:
        """Return the channels of a frame's masks that are for this goal."""
        every = self.channels == tuple(range(masks.shape[1]))
        return masks if every else masks[:, self.channels]


@dataclass(frozen=True)
class GradientCorrection:
    """Gradient descent on the cycle loss with respect to a frame's masks (journal 3.3).

    Every `every` frames, `steps` steps. `rate` is the papers' for frames of 240 x 427 pixels, and
    is scaled to other sizes; the resulting step size depends on the network. `length` makes all
    steps equally large instead. Raises UsageError for values out of range.
    """

    every: int = defaults.GC_EVERY  # K, frames from one that is corrected to the next
    steps: int = defaults.GC_ITERS  # N, at most
    rate: float = defaults.GC_RATE  # alpha of Eq. 8
    length: float | None = None  # root mean square of a step of an object's mask
    smooth: float = defaults.GC_SMOOTH  # lambda of Eq. 10
    # stop once a step lowers the loss by less than this share; one that raises it is undone
    # (the last of all steps is not checked: that would cost another one)
    tolerance: float | None = None
    memory_only: bool = False  # the corrected masks are memorised, the uncorrected ones written

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"correction every {self.every} frames: expected 1 or more")
        values = (self.steps, self.rate, self.length or 0, self.smooth, self.tolerance or 0)
        if not all(0 <= value < float("inf") for value in values):
            raise UsageError(f"{self}: expected numbers from 0 up")

    def due(self, index: int) -> bool:
        """Return whether a frame is corrected, if it has objects."""
        return self.moves and index % self.every == 0

    @property
    def moves(self) -> bool:
        """Whether this correction does anything."""
        return self.steps > 0 and (self.rate if self.length is None else self.length) > 0

    def __call__(
        self,
        segmenter: Segmenter[Features, Memory],
        features: Features,
        masks: Tensor,
        goals: Sequence[Goal[Features]],
    ) -> Tensor:
        """Return the corrected masks, Y^N of Eq. 8: Y^(n+1) = Y^n - alpha dL/dY^n, from Y^0.

        `goals` hold the references of all objects, whichever frame this is.
        """
        if not self.moves:
            return masks
        cycle_losses = explain(segmenter, features, goals)

        def losses(objects: Tensor) -> Iterator[Tensor]:
            yield from cycle_losses(objects)
            if self.smooth:
                yield self.smooth * roughness(objects)  # Eq. 10

        steps = islice(descend(losses, masks[:, 1:], self.pace, admissible), self.steps)
        return with_background(settle(steps, self.tolerance))

    @property
    def pace(self) -> "Pace":
        """The step to take along a gradient."""
        return at_rate(self.rate) if self.length is None else of_length(self.length)


Losses = Callable[[Tensor], Iterable[Tensor]]  # from objects to the terms of a loss, (B,) each


def explain(
    segmenter: Segmenter[Features, Memory],
    features: Features,
    goals: Sequence[Goal[Features]],
    complete: Callable[[Tensor], Tensor] | None = None,
) -> Callable[[Tensor], Iterator[Tensor]]:
    """Return the cycle loss (Eq. 7) of a frame's objects, toward one reference after another.

    `complete` adds the background to the objects, by default `with_background`.
    """
    ways = [(goal, way_back(segmenter, features, goal.reference)) for goal in goals]

    def losses(objects: Tensor) -> Iterator[Tensor]:
        for goal, predicted in ways:
            masks = (complete or with_background)(objects)
            yield mask_loss(predicted(goal.own(masks)), goal.reference.masks)

    return losses


Pace = Callable[[Tensor], Tensor]  # from a direction to a step; the loss is summed over pixels


def at_rate(rate: float) -> Pace:
    """Return steps in proportion to the gradient (Eq. 8)."""
    return lambda gradient: rate / PAPER_PIXELS * gradient


def of_length(length: float) -> Pace:
    """Return steps along the gradient of one root mean square per object, whatever its norm."""

    def step(gradient: Tensor) -> Tensor:
        steepness = gradient.square().mean(dim=(2, 3), keepdim=True).sqrt()
        return length * gradient / steepness.clamp(min=1e-12)

    return step


# from the direction of the step before, 0 at first, and the gradient to the direction of a step
Heading = Callable[[Tensor, Tensor], Tensor]


def steepest(before: Tensor, gradient: Tensor) -> Tensor:
    """Return the direction of plain gradient descent."""
    return gradient


class Step(NamedTuple):
    """A step of gradient descent."""

    loss: Tensor  # (B,), before the step
    before: Tensor  # the objects, (B, N, H, W)
    after: Tensor


def descend(
    losses_of: Losses,
    objects: Tensor,
    pace: Pace,
    project: Callable[[Tensor], Tensor] = lambda objects: objects,
    heading: Heading = steepest,
) -> Iterator[Step]:
    """Yield the steps of Eq. 8, endlessly; `project` brings the objects back into their domain.

    `pace` makes a step of the direction that `heading` takes, by default the gradient. The loss is
    the sum of `losses_of` the objects, (B,) each. The graph of one is freed before the next is
    built. Callers need no gradients, and the weights accumulate none.
    """
    pixels = objects.shape[2] * objects.shape[3]
    direction = torch.zeros_like(objects)
    while True:
        leaf = objects.detach().requires_grad_()
        total, gradient = torch.zeros(len(leaf), device=leaf.device), torch.zeros_like(leaf)
        with torch.enable_grad():
            for loss in losses_of(leaf):
                # the loss is a mean over pixels; the gradient of the sum is the same at every
                # size, and large enough for 16 bits
                (part,) = torch.autograd.grad(pixels * loss.sum(), leaf)
                total, gradient = total + loss.detach(), gradient + part
        direction = heading(direction, gradient)
        before, objects = objects, project(leaf.detach() - pace(direction))
        yield Step(total, before, objects)


def settle(steps: Iterable[Step], tolerance: float | None) -> Tensor:
    """Return the objects after the last step, or after the first that gained too little.

    The loss that a step reached is known when the next one is computed: if it fell by less than
    the share `tolerance`, that next step is dropped, and if it rose, the step itself too.
    """
    last, least = None, float("inf")
    for step in steps:
        if tolerance is not None:
            reached = step.loss.sum().item()
            if reached > (1 - tolerance) * least:
                return last.before if last is not None and reached > least else step.before
            least = reached
        last = step
    if last is None:
        raise ValueError("expected one step or more")
    return last.after


def admissible(objects: Tensor) -> Tensor:
    """Return objects projected to probabilities that leave the background 0 or more."""
    objects = objects.clamp(0, 1)
    return objects / objects.sum(dim=1, keepdim=True).clamp(min=1)


def with_background(objects: Tensor) -> Tensor:
    """Return masks: the background, which is what the objects leave, and the objects."""
    background = (1 - objects.sum(dim=1, keepdim=True)).clamp(0, 1)
    return torch.cat([background, objects], dim=1)


def summing_to_one(objects: Tensor) -> Tensor:
    """Return masks of objects of any value: the background, which may be too, and the objects.

    With a background of 1 at most, an object below 0 would be taken for a further object by a
    model that is shown what belongs to neither.
    """
    return torch.cat([1 - objects.sum(dim=1, keepdim=True), objects], dim=1)


def receptive_field(
    segmenter: Segmenter[Features, Memory],
    features: Features,
    reference: Reference[Features],
    rate: float = defaults.GC_RATE,
) -> Iterator[Tensor]:
    """Yield the cycle-ERF of a frame (Eq. 12) after each step, (B, N, H, W), 0 or more; endless.

    Starts from a mask without objects and descends the cycle loss: the response is high at the
    pixels that the network uses to explain the reference. The values are unbounded.
    """
    goal = Goal(tuple(range(reference.masks.shape[1])), reference)
    empty = torch.zeros_like(reference.masks[:, 1:])

    losses = explain(segmenter, features, [goal], summing_to_one)
    for step in descend(losses, empty, at_rate(rate)):
        yield step.after.relu()
