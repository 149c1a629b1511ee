"""The frame loop: propagate the annotated masks through the frames that follow.

Used alike by segment, eval, train and the Python interface. A `Track` is the state of one video
between two frames; `Track.advance` takes the next one, and `propagate` is the fold over a whole
video. `References` says what is remembered, by default the annotated frames, every 5th frame,
and the previous one. A frame is memorised only when the next one arrives to read it.

Objects that are annotated on the same frame form a group, with a memory of its own;
groups meet in the aggregation, so that objects may enter at any frame. A group also knows
its reference, the frame it was annotated on, toward which a correction moves the masks.

Shapes: image (B, 3, H, W) in [0, 1]; masks (B, N + 1, H, W), background first.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Self

import torch
from torch import Tensor

from vostool.model.aggregate import aggregate
from vostool.model.interface import Features, Memory, Reference, Segmenter, memory_limit
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
EVERY_FRAME = References(every=1)  # for a recurrent model
REFERENCE_SETS = {  # the rows of Table 3, and STCN's
    "first": References(previous=False, every=None),
    "previous": References(annotated=False, every=None),
    "first+previous": References(every=None),
    "memory": MEMORY,
    "every": References(previous=False),
}


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
class MaskedFrame:
    """A frame with the masks to memorise it by: enough to memorise it again."""

    index: int  # counted from 0
    image: Tensor  # (B, 3, H, W)
    ids: tuple[int, ...]
    masks: Tensor  # (B, len(ids) + 1, H, W)
    annotated: tuple[int, ...] = ()  # the ids whose masks are the truth

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


@dataclass(frozen=True)
class FrameLoop(Generic[Features, Memory]):
    """What stays the same from frame to frame: the model, and how it is used."""

    segmenter: Segmenter[Features, Memory]
    references: References = MEMORY
    correction: GradientCorrection | None = None
    memory_frames: int | None = None  # the most that the memory holds; None: no limit


@dataclass(frozen=True)
class Group(Generic[Features, Memory]):
    """Objects that entered together, with their memory bank."""

    ids: tuple[int, ...]
    reference: Reference[Features]  # the latest frame that was annotated for all of them
    bank: Memory | None = None  # the frames that stay
    recent: Memory | None = None  # and the previous one

    def remember(
        self, loop: FrameLoop[Features, Memory], frame: MaskedFrame, features: Features
    ) -> Self:
        """Return this group with a frame in its memory, to stay or until the next one."""
        keep = self.keeps(loop.references, frame)
        if not keep and not loop.references.previous:
            return self
        masks = frame.masks_of(self.ids)
        recent = loop.segmenter.memorize(features, masks, self.bank, self.is_truth(frame))
        return replace(self, recent=recent, bank=recent if keep else self.bank)

    def is_truth(self, frame: MaskedFrame) -> bool:
        """Return whether all of the group's masks on a frame are annotated."""
        return set(self.ids) <= set(frame.annotated)

    def keeps(self, references: References, frame: MaskedFrame) -> bool:
        """Return whether a frame stays in the group's memory; annotations of others don't count."""
        return references.keep(frame.index, not set(self.ids).isdisjoint(frame.annotated))

    def annotate(self, frame: MaskedFrame, features: Features) -> Self:
        """Return this group with a frame for its reference, if that shows all its objects."""
        if not self.is_truth(frame):
            return self
        return replace(self, reference=Reference(features, frame.truth.masks(self.ids)))

    def sources(self, loop: FrameLoop[Features, Memory], frames: Sequence[MaskedFrame]) -> set[int]:
        """Return which of these frames give the group's memory when they are memorized again.

        They are the first one, which a full memory keeps, and of both the annotated and the
        other frames that stay as many of the latest as the memory holds.
        """
        own = [frame for frame in frames if self.ids[0] in frame.ids]
        annotated = [frame.index for frame in own if self.is_truth(frame)]
        others = [
            frame.index
            for frame in own
            if self.keeps(loop.references, frame) and not self.is_truth(frame)
        ]
        most = loop.memory_frames or len(own)
        return {own[0].index, *annotated[-most:], *others[-most:]}


@dataclass(frozen=True)
class Track(Generic[Features, Memory]):
    """The state of one video after some of its frames; a value, which shares its tensors.

    Before the first frame `latest` and `prediction` are None.
    """

    loop: FrameLoop[Features, Memory]
    groups: tuple[Group[Features, Memory], ...] = ()
    prediction: Prediction[Features] | None = None  # of the latest frame
    latest: MaskedFrame | None = None  # not yet in memory
    history: tuple[MaskedFrame, ...] = ()  # the frames before, of which the memory can be remade

    @property
    def frames(self) -> tuple[MaskedFrame, ...]:
        """The frames that `replay` needs to make this track again, in order."""
        return self.history if self.latest is None else (*self.history, self.latest)

    def advance(
        self, image: Tensor, annotation: Annotation | None = None
    ) -> tuple[Self, Prediction[Features]]:
        """Return the track after the next frame, and the masks of that frame.

        The objects of an annotation are as given there, new ones enter, and the others are
        predicted. Without one the correction, if it is due, moves the masks.
        """
        track, loop = self.remember(), self.loop
        index = 0 if self.latest is None else self.latest.index + 1
        features = loop.segmenter.encode(image)
        ids, masks = join(loop, features, track.groups, image)
        if annotation is not None:
            ids, masks = overwrite(ids, masks, annotation)
        prediction = Prediction(ids, masks, features)
        if annotation is None and loop.correction is not None and loop.correction.due(index):
            prediction = correct(loop.segmenter, loop.correction, prediction, track.groups)
        annotated = () if annotation is None else annotation.ids
        frame = MaskedFrame(index, image, prediction.ids, prediction.remembered, annotated)
        return track.after(frame, prediction), prediction

    def remember(self) -> Self:
        """Return this track with its latest frame in memory."""
        if self.latest is None or self.prediction is None:
            return self
        groups = tuple(
            group.remember(self.loop, self.latest, self.prediction.features)
            for group in self.groups
        )
        wanted = {i for group in groups for i in group.sources(self.loop, self.frames)}
        history = tuple(frame for frame in self.frames if frame.index in wanted)
        return replace(self, groups=groups, history=history)

    def after(self, frame: MaskedFrame, prediction: Prediction[Features]) -> Self:
        """Return this track with its next frame, references renewed and new objects entered."""
        groups = tuple(group.annotate(frame, prediction.features) for group in self.groups)
        entered = frame.ids[sum(len(group.ids) for group in groups) :]
        if entered:
            reference = Reference(prediction.features, frame.truth.masks(entered))
            groups = (*groups, Group(entered, reference))
        return replace(self, groups=groups, prediction=prediction, latest=frame)


def propagate(
    images: Iterable[Tensor],
    annotations: Mapping[int, Annotation],
    segmenter: Segmenter[Features, Memory],
    references: References = MEMORY,
    correction: GradientCorrection | None = None,
) -> Iterator[Prediction[Features]]:
    """Yield the masks of every image, in order.

    `annotations` maps frame numbers, counted from 0, to what is known there. An id that
    is annotated again is corrected to that truth; the others go on being followed.
    Before the first annotation all is background. `correction` moves the masks of frames
    without annotation before they are remembered, and unless it is for memory only, before
    they are yielded.
    """
    track = Track(FrameLoop(segmenter, references, correction, memory_limit(segmenter)))
    for index, image in enumerate(images):
        track, prediction = track.advance(image, annotations.get(index))
        yield prediction


def replay(
    loop: FrameLoop[Features, Memory], frames: Iterable[MaskedFrame]
) -> Track[Features, Memory]:
    """Return the track that has these `Track.frames`, its memory made again by `loop`.

    With the loop that made the first track, both go on alike, bit for bit.
    """
    track = Track(loop)
    for frame in frames:
        features = loop.segmenter.encode(frame.image)
        prediction = Prediction(frame.ids, frame.masks, features)
        track = track.remember().after(frame, prediction)
    return track


def join(
    loop: FrameLoop[Features, Memory],
    features: Features,
    groups: Sequence[Group[Features, Memory]],
    image: Tensor,
) -> tuple[tuple[int, ...], Tensor]:
    """Segment a frame from every group's memory and bring the objects together."""
    if not groups:
        return (), torch.ones_like(image[:, :1], dtype=torch.float32)
    logits = [
        loop.segmenter.segment(features, group.recent)
        for group in groups
        if group.recent is not None
    ]
    ids = tuple(id_ for group in groups for id_ in group.ids)
    return ids, aggregate(torch.cat(logits, dim=1))


def overwrite(
    ids: tuple[int, ...], masks: Tensor, truth: Annotation
) -> tuple[tuple[int, ...], Tensor]:
    """Put an annotation over masks: its objects as given, the others where it is 0.

    Returns the ids, new ones last, and their masks.
    """
    free = 1 - truth.objects.amax(dim=1, keepdim=True)  # (B, 1, H, W)
    known = dict(zip(truth.ids, truth.objects.unbind(dim=1), strict=True))
    predicted = dict(zip(ids, (masks[:, 1:] * free).unbind(dim=1), strict=True))
    objects = {**predicted, **known}  # ids already followed keep their place
    stacked = torch.stack(list(objects.values()), dim=1)
    background = (1 - stacked.sum(dim=1, keepdim=True)).clamp(0, 1)
    return tuple(objects), torch.cat([background, stacked], dim=1)


def correct(
    segmenter: Segmenter[Features, Memory],
    correction: GradientCorrection,
    prediction: Prediction[Features],
    groups: Sequence[Group[Features, Memory]],
) -> Prediction[Features]:
    """Move a frame's masks so that each group's explain its reference better."""
    if not groups:
        return prediction
    goals = [
        Goal((0, *(1 + prediction.ids.index(id_) for id_ in group.ids)), group.reference)
        for group in groups
    ]
    masks = correction(segmenter, prediction.features, prediction.masks, goals)
    if correction.memory_only:
        return replace(prediction, uncorrected=prediction.masks, corrected=masks)
    return replace(prediction, masks=masks, uncorrected=prediction.masks)
