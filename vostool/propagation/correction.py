"""Gradient correction and the cycle-ERF (journal Eqs. 8 to 12): the cycle loss, descended.

The masks of a frame are moved down the gradient of the cycle loss, the loss of the backward
prediction that they give of the reference frame (Eq. 7).

Shapes: masks (B, N + 1, H, W), background first; objects (B, N, H, W) are the masks without it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, NamedTuple

import torch
from torch import Tensor

from vostool.errors import UsageError
from vostool.model.interface import Features, Memory, Reference, Segmenter
from vostool.propagation.cycle import cycle_loss
from vostool.propagation.losses import roughness

PAPER_PIXELS = 240 * 427  # of the frames for which the authors chose their rate


@dataclass(frozen=True)
class Goal(Generic[Features]):
    """A reference to explain, and which channels of a frame's masks are to explain it."""

    channels: tuple[int, ...]  # the background and the objects of the reference
    reference: Reference[Features]


@dataclass(frozen=True)
class GradientCorrection:
    """Move a frame's masks down the gradient of the cycle loss (journal 3.3).

    Every `every` frames, `steps` steps. `rate` is meant for frames of 240 x 427 pixels and
    comes to the same at any size; how large a step it makes is up to the network. `length`
    makes all steps equally large instead. Raises UsageError for values out of range.
    """

    every: int = 5  # K, frames from one that is corrected to the next
    steps: int = 10  # N, at most
    rate: float = 180.0  # alpha of Eq. 8
    length: float | None = None  # root mean square of a step of an object's mask
    smooth: float = 0.0  # lambda of Eq. 10; papers: 0.75
    # stop once a step lowers the loss by less than this share; one that raises it is undone
    # (the last of all the steps is taken as it comes: to check it would cost another one)
    tolerance: float | None = None
    memory_only: bool = False  # the masks are remembered corrected, and written as they were

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"correction every {self.every} frames: expected 1 or more")
        values = (self.steps, self.rate, self.length or 0, self.smooth, self.tolerance or 0)
        if not all(0 <= value < float("inf") for value in values):
            raise UsageError(f"{self}: expected numbers from 0 up")

    def due(self, index: int) -> bool:
        """Return whether a frame is to be corrected, if it has objects."""
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
        """Return the masks moved, Y^N of Eq. 8; any frame of a clip that the goals know."""
        if not self.moves:
            return masks

        def losses(objects: Tensor) -> Iterator[Tensor]:
            yield from explain(segmenter, features, objects, goals)
            if self.smooth:
                yield self.smooth * roughness(objects)

        pace = at_rate(self.rate) if self.length is None else of_length(self.length)
        before = objects = masks[:, 1:]
        least = float("inf")
        for step in islice(descend(losses, objects, pace, admissible), self.steps):
            if self.tolerance is not None:
                reached = step.loss.sum().item()
                if reached > (1 - self.tolerance) * least:
                    return with_background(before if reached > least else objects)
                least = reached
            before, objects = objects, step.objects
        return with_background(objects)


def explain(
    segmenter: Segmenter[Features, Memory],
    features: Features,
    objects: Tensor,
    goals: Sequence[Goal[Features]],
) -> Iterator[Tensor]:
    """Yield Eq. 7 for one reference after another, (B,); their sum is the loss of the masks."""
    for goal in goals:
        masks = with_background(objects)[:, goal.channels]
        yield cycle_loss(segmenter, features, masks, goal.reference)


Pace = Callable[[Tensor], Tensor]  # from the gradient of the loss, summed over pixels, to a step


def at_rate(rate: float) -> Pace:
    """Eq. 8: a step in proportion to the gradient."""
    return lambda gradient: rate / PAPER_PIXELS * gradient


def of_length(length: float) -> Pace:
    """Return steps down the gradient of one root mean square per object, however steep it is."""

    def step(gradient: Tensor) -> Tensor:
        steepness = gradient.square().mean(dim=(2, 3), keepdim=True).sqrt()
        return length * gradient / steepness.clamp(min=1e-12)

    return step


class Step(NamedTuple):
    """A step down a loss."""

    loss: Tensor  # (B,), before the step
    objects: Tensor  # (B, N, H, W), after it


def descend(
    losses_of: Callable[[Tensor], Iterable[Tensor]],
    objects: Tensor,
    pace: Pace,
    project: Callable[[Tensor], Tensor] = lambda objects: objects,
) -> Iterator[Step]:
    """Yield step after step of Eq. 8, without end; `project` puts right where each one led.

    The loss is the sum of `losses_of` the objects, each (B,). What one of them needs for its
    gradient is given back before the next is made. Callers need no gradients, and weights get none.
    """
    pixels = objects.shape[2] * objects.shape[3]
    while True:
        leaf = objects.detach().requires_grad_()
        total, gradient = torch.zeros(len(leaf), device=leaf.device), torch.zeros_like(leaf)
        with torch.enable_grad():
            for loss in losses_of(leaf):
                # the loss is a mean over pixels; of a sum, the gradient of a pixel is the same
                # at every size, and large enough for 16 bits
                (part,) = torch.autograd.grad(pixels * loss.sum(), leaf)
                total, gradient = total + loss.detach(), gradient + part
        objects = project(leaf.detach() - pace(gradient))
        yield Step(total, objects)


def admissible(objects: Tensor) -> Tensor:
    """Return objects brought back to probabilities whose sum leaves the background 0 or more."""
    objects = objects.clamp(0, 1)
    return objects / objects.sum(dim=1, keepdim=True).clamp(min=1)


def with_background(objects: Tensor) -> Tensor:
    """Put before the objects the background, which is what they leave."""
    background = (1 - objects.sum(dim=1, keepdim=True)).clamp(0, 1)
    return torch.cat([background, objects], dim=1)


def receptive_field(
    segmenter: Segmenter[Features, Memory],
    features: Features,
    reference: Reference[Features],
    rate: float = 180.0,
) -> Iterator[Tensor]:
    """Yield the cycle-ERF of a frame (Eq. 12) after each step, (B, N, H, W), 0 or more.

    From a mask without objects, step by step toward one that explains the reference: where
    it rises are the pixels that the network goes by. Without end; nothing bounds the values.
    """
    goal = Goal(tuple(range(reference.masks.shape[1])), reference)
    empty = torch.zeros_like(reference.masks[:, 1:])

    def losses(objects: Tensor) -> Iterator[Tensor]:
        return explain(segmenter, features, objects, [goal])

    for step in descend(losses, empty, at_rate(rate)):
        yield step.objects.relu()
