"""The frame loop: propagate the annotated masks through the frames that follow.

Used alike by segment, eval, train and the Python interface. A `Track` is the state of one video
between two frames; `Track.advance` takes the next one, and `propagate` is the fold over a whole
video. `References` says what is remembered, by default the annotated frames, every 5th frame,
and the previous one. A frame is memorised only when the next one arrives to read it.

Objects that are annotated on the same frame form a `Group`, with a memory of its own; groups meet
in the aggregation, so that objects may enter at any frame.

To study how robust a model is, a `Disturbance` replaces the masks by which some predicted frames
stay in memory. Those that are yielded, and the previous frame's, are never disturbed.

Shapes: image (B, 3, H, W) in [0, 1]; masks (B, N + 1, H, W), background first.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Generic, Self, TypeAlias

import torch
from torch import Tensor

from vostool.model.aggregate import aggregate
from vostool.model.interface import (
    Features,
    Memory,
    RecurrentModel,
    Reference,
    Segmenter,
    memory_limit,
)
from vostool.propagation.correction import Goal, GradientCorrection
from vostool.propagation.disturbance import Disturbance
from vostool.propagation.frames import Annotation, KnownFrame, MaskedFrame, Prediction, windows
from vostool.propagation.group import FrameLoop, Group
from vostool.propagation.references import MEMORY, References

# from ids and their masks (1, N + 1, H, W) to these without what cannot be right
Plausible: TypeAlias = Callable[[Sequence[int], Tensor], Tensor]


def as_predicted(ids: Sequence[int], masks: Tensor) -> Tensor:
    """Return masks as they are: all of them is plausible."""
    return masks


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

    @property
    def annotated_frames(self) -> tuple[MaskedFrame, ...]:
        """The frames of which `replay` makes this track without what was predicted, in order.

        The latest one is always there, for the next one to follow upon. A frame is remembered by
        none of the groups that have no annotation on it.
        """

        def forgotten(frame: MaskedFrame) -> MaskedFrame:
            others = (group.ids for group in self.groups if not group.is_annotated(frame))
            known = (id_ for ids in others for id_ in ids if id_ in frame.ids)
            return replace(frame, absent=tuple(dict.fromkeys((*frame.absent, *known))))

        wanted = (each for each in self.frames if each.annotated or each is self.latest)
        return tuple(map(forgotten, wanted))

    def advance(
        self,
        image: Tensor,
        annotation: Annotation | None = None,
        window: Sequence[KnownFrame] = (),
        absent: Collection[int] = (),
        plausible: Plausible = as_predicted,
    ) -> tuple[Self, Prediction[Features]]:
        """Return the track after the next frame, and the masks of that frame.

        The objects of an annotation are as given there, new ones enter, and the others are
        predicted. Without one the frame is disturbed, if that is due and its `window`, itself and
        frames to come, shows that another one follows; and the correction, if it is due, moves
        the masks. Objects that are `absent` get none, and of the others' masks remains what is
        `plausible`.
        """
        track, loop = self.remember(), self.loop
        index = 0 if self.latest is None else self.latest.index + 1
        features = loop.segmenter.encode(image)
        ids, masks = join(loop, features, track.groups, image)
        masks = plausible(ids, masks)
        if annotation is not None:
            ids, masks = overwrite(ids, masks, annotation)
        gone = tuple(id_ for id_ in ids if id_ in absent)
        prediction = Prediction(ids, without(ids, masks, gone), features)
        if annotation is None and track.groups:
            if len(window) > 1 and loop.disturbance is not None and loop.disturbs(index):
                staying = loop.disturbance(loop.segmenter, window, ids, prediction.masks)
                prediction = replace(prediction, staying=without(ids, staying, gone))
            if loop.correction is not None and loop.corrects(index):
                prediction = correct(
                    loop, loop.correction, prediction, track.groups, gone, plausible
                )
        annotated = () if annotation is None else annotation.ids
        frame = MaskedFrame(
            index=index,
            image=image,
            ids=ids,
            masks=prediction.remembered,
            annotated=annotated,
            staying=prediction.staying,
            moved=prediction.moved,
            absent=gone,
        )
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
        history = tuple(frame.settled for frame in self.frames if frame.index in wanted)
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
    disturbance: Disturbance | None = None,
    known: Mapping[int, Annotation] = MappingProxyType({}),
) -> Iterator[Prediction[Features]]:
    """Yield the masks of every image, in order.

    `annotations` maps frame numbers, counted from 0, to what is known there. An id that
    is annotated again is corrected to that truth; the others go on being followed.
    Before the first annotation all is background. `correction` moves the masks of frames
    without annotation before they are remembered, and unless it is for memory only, before
    they are yielded. With a `disturbance`, to which the objects of the frames in `known` are
    known, it is for memory only, and starts from the disturbed masks.
    """
    limit = memory_limit(segmenter)
    recurrent = isinstance(segmenter, RecurrentModel)
    loop = FrameLoop(segmenter, references, correction, limit, disturbance, recurrent)
    track = Track(loop)
    for index, shown in enumerate(windows(images, loop.look_ahead)):
        window = [KnownFrame(image, known.get(index + n)) for n, image in enumerate(shown)]
        track, prediction = track.advance(shown[0], annotations.get(index), window)
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


def without(ids: Sequence[int], masks: Tensor, absent: Collection[int]) -> Tensor:
    """Return masks with those of absent objects at 0; what they take is background."""
    gone = [channel for channel, id_ in enumerate(ids, start=1) if id_ in absent]
    if not gone:
        return masks
    shown = masks.clone()
    shown[:, 0] += masks[:, gone].sum(dim=1)
    shown[:, gone] = 0
    return shown


def correct(
    loop: FrameLoop[Features, Memory],
    correction: GradientCorrection,
    prediction: Prediction[Features],
    groups: Sequence[Group[Features, Memory]],
    absent: Collection[int] = (),
    plausible: Plausible = as_predicted,
) -> Prediction[Features]:
    """Move a frame's masks so that each group's explain its reference better.

    In a disturbed run these are the masks by which it stays in memory. Those of absent objects
    stay empty, and of the others' remains what is plausible.
    """
    goals = [
        Goal((0, *(1 + prediction.ids.index(id_) for id_ in group.ids)), group.reference)
        for group in groups
        if not set(group.ids) <= set(absent)
    ]
    if not goals:
        return prediction
    start = prediction.masks if prediction.staying is None else prediction.staying
    masks = correction(loop.segmenter, prediction.features, start, goals)
    masks = without(prediction.ids, plausible(prediction.ids, masks), absent)
    if loop.disturbance is not None:
        return replace(prediction, staying=masks)
    if correction.memory_only:
        return replace(prediction, uncorrected=prediction.masks, corrected=masks)
    return replace(prediction, masks=masks, uncorrected=prediction.masks)
