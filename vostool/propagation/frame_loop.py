"""The one frame loop: carry the annotated masks through the frames that follow.

Used alike by segment, eval and train. `References` says what is remembered, by default
the annotated frames, every 5th frame, and the previous one. A frame is encoded for memory
only once another frame is there to read it.

Objects that are annotated on the same frame form a group, with a memory of its own;
groups meet in the aggregation, so that objects may enter at any frame. A group also knows
its reference, the frame it was annotated on, toward which a correction moves the masks.

Shapes: image (B, 3, H, W) in [0, 1]; masks (B, N + 1, H, W), background first.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Generic, Self

import torch
from torch import Tensor

from vostool.model.aggregate import aggregate
from vostool.model.interface import Features, Memory, Reference, Segmenter
from vostool.propagation.correction import Goal, GradientCorrection


@dataclass(frozen=True)
class References:
    """The frames from which the next ones are predicted (journal 4.3.2, Table 3)."""

    annotated: bool = True
    previous: bool = True
    every: int | None = 5  # frames from one that stays to the next; None: only annotated ones

    def keep(self, index: int, annotated: bool) -> bool:
        """Return whether a frame stays in memory."""
        regular = self.every is not None and index % self.every == 0
        return regular or (annotated and self.annotated)


MEMORY = References()
REFERENCE_SETS = {  # the rows of Table 3
    "first": References(previous=False, every=None),
    "previous": References(annotated=False, every=None),
    "first+previous": References(every=None),
    "memory": MEMORY,
}


@dataclass(frozen=True)
class Annotation:
    """The truth about some objects on one frame; says nothing of any other object."""

    ids: tuple[int, ...]
    objects: Tensor  # (B, len(ids), H, W), 0 or 1

    def masks(self, ids: Collection[int]) -> Tensor:
        """Return the masks of some of the objects, (B, len(ids) + 1, H, W); all else is
        background."""
        objects = self.objects[:, [self.ids.index(id_) for id_ in ids]]
        return torch.cat([1 - objects.sum(dim=1, keepdim=True), objects], dim=1)


@dataclass(frozen=True)
class Prediction(Generic[Features]):
    """One frame of the result."""

    ids: tuple[int, ...]  # of the objects, in the order of the mask channels
    masks: Tensor  # (B, len(ids) + 1, H, W)
    features: Features
    uncorrected: Tensor | None = None  # the masks before the correction, where there was one
    corrected: Tensor | None = None  # those after it, where they are not the result

    @property
    def remembered(self) -> Tensor:
        """The masks that go into memory."""
        return self.masks if self.corrected is None else self.corrected


@dataclass(frozen=True)
class Known:
    """A frame that was followed before, with the masks to remember it by."""

    index: int
    image: Tensor  # (B, 3, H, W)
    ids: tuple[int, ...]
    masks: Tensor  # (B, len(ids) + 1, H, W)


@dataclass(frozen=True)
class Group(Generic[Features, Memory]):
    """Objects that entered together, and what is remembered of them."""

    ids: tuple[int, ...]
    reference: Reference[Features]  # the latest frame that was annotated for all of them
    bank: Memory | None = None  # the frames that stay
    recent: Memory | None = None  # and the previous one

    def remember(
        self,
        segmenter: Segmenter[Features, Memory],
        prediction: Prediction[Features],
        references: References,
        index: int,
        annotated: bool,
    ) -> Self:
        """Return this group with frame `index` remembered, for good or until the next."""
        keep = references.keep(index, annotated)
        if not keep and not references.previous:
            return self
        channels = self.channels(prediction)
        every = len(channels) == prediction.remembered.shape[1]
        masks = prediction.remembered if every else prediction.remembered[:, channels]
        recent = segmenter.memorize(prediction.features, masks, self.bank, annotated)
        return replace(self, recent=recent, bank=recent if keep else self.bank)

    def channels(self, prediction: Prediction[Features]) -> tuple[int, ...]:
        """Return which of a frame's masks are the background and this group's."""
        return (0, *(1 + prediction.ids.index(id_) for id_ in self.ids))

    def is_annotated_by(self, annotation: Annotation | None) -> bool:
        """Return whether an annotation, if there is one, gives all objects of this group."""
        return annotation is not None and set(self.ids) <= set(annotation.ids)

    def annotate(self, annotation: Annotation, features: Features) -> Self:
        """Return this group with a frame for its reference, if that shows all its objects."""
        if not self.is_annotated_by(annotation):
            return self
        return replace(self, reference=Reference(features, annotation.masks(self.ids)))


def propagate(
    images: Iterable[Tensor],
    annotations: Mapping[int, Annotation],
    segmenter: Segmenter[Features, Memory],
    references: References = MEMORY,
    correction: GradientCorrection | None = None,
    past: Iterable[Known] = (),
) -> Iterator[Prediction[Features]]:
    """Yield the masks of every image, in order.

    `annotations` maps frame numbers, counted from 0, to what is known there. An id that
    is annotated again is corrected to that truth; the others go on being followed.
    Before the first annotation all is background. `correction` moves the masks of frames
    without annotation before they are remembered, and unless it is for memory only, before
    they are yielded.

    To go on behind frames that were followed before, `past` names those to remember, in order:
    all on which objects entered, and the last one. They are not yielded again.
    """
    groups: list[Group[Features, Memory]] = []
    prediction: Prediction[Features] | None = None
    before = 0  # the number of the frame that was seen
    for index, image, known in numbered(past, images):
        if prediction is not None:
            given = annotations.get(before)
            groups = [
                group.remember(
                    segmenter, prediction, references, before, group.is_annotated_by(given)
                )
                for group in groups
            ]
        features, before = segmenter.encode(image), index
        if known is None:
            prediction = Prediction(*join(segmenter, features, groups, image), features)
        else:
            prediction = Prediction(known.ids, known.masks, features)
        if index in annotations:
            prediction = overwrite(prediction, annotations[index])
            groups = enter(groups, prediction, annotations[index])
        elif known is None and groups and correction is not None and correction.due(index):
            prediction = correct(segmenter, prediction, groups, correction)
        if known is None:
            yield prediction


def numbered(
    past: Iterable[Known], images: Iterable[Tensor]
) -> Iterator[tuple[int, Tensor, Known | None]]:
    """Yield the frames of the past and those that follow, with their numbers."""
    start = 0
    for known in past:
        yield known.index, known.image, known
        start = known.index + 1
    for index, image in enumerate(images, start):
        yield index, image, None


def join(
    segmenter: Segmenter[Features, Memory],
    features: Features,
    groups: list[Group[Features, Memory]],
    image: Tensor,
) -> tuple[tuple[int, ...], Tensor]:
    """Segment a frame from every group's memory and bring the objects together."""
    if not groups:
        return (), torch.ones_like(image[:, :1], dtype=torch.float32)
    logits = [
        segmenter.segment(features, group.recent) for group in groups if group.recent is not None
    ]
    ids = tuple(id_ for group in groups for id_ in group.ids)
    return ids, aggregate(torch.cat(logits, dim=1))


def overwrite(prediction: Prediction[Features], truth: Annotation) -> Prediction[Features]:
    """Put an annotation over a prediction: its objects as given, the others where it is 0."""
    free = 1 - truth.objects.amax(dim=1, keepdim=True)  # (B, 1, H, W)
    known = dict(zip(truth.ids, truth.objects.unbind(dim=1), strict=True))
    predicted = dict(
        zip(prediction.ids, (prediction.masks[:, 1:] * free).unbind(dim=1), strict=True)
    )
    objects = {**predicted, **known}  # ids already followed keep their place
    stacked = torch.stack(list(objects.values()), dim=1)
    background = (1 - stacked.sum(dim=1, keepdim=True)).clamp(0, 1)
    masks = torch.cat([background, stacked], dim=1)
    return replace(prediction, ids=tuple(objects), masks=masks)


def enter(
    groups: list[Group[Features, Memory]], prediction: Prediction[Features], annotation: Annotation
) -> list[Group[Features, Memory]]:
    """Return the groups with their references renewed, and the new objects as one more."""
    renewed = [group.annotate(annotation, prediction.features) for group in groups]
    entered = prediction.ids[sum(len(group.ids) for group in groups) :]
    if not entered:
        return renewed
    return [*renewed, Group(entered, Reference(prediction.features, annotation.masks(entered)))]


def correct(
    segmenter: Segmenter[Features, Memory],
    prediction: Prediction[Features],
    groups: list[Group[Features, Memory]],
    correction: GradientCorrection,
) -> Prediction[Features]:
    """Move a frame's masks so that each group's explain its reference better."""
    goals = [Goal(group.channels(prediction), group.reference) for group in groups]
    masks = correction(segmenter, prediction.features, prediction.masks, goals)
    if correction.memory_only:
        return replace(prediction, uncorrected=prediction.masks, corrected=masks)
    return replace(prediction, masks=masks, uncorrected=prediction.masks)
