"""Objects that entered a video together, and their memory.

Objects that are annotated on the same frame form a group, with a memory of its own. A group also
knows its reference, the frame it was annotated on, toward which a correction moves the masks.

Shapes: image (B, 3, H, W) in [0, 1]; masks (B, N + 1, H, W), background first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lcm
from typing import Generic, Self

from vostool.model.interface import Features, Memory, Reference, Segmenter
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.disturbance import Disturbance
from vostool.propagation.frames import MaskedFrame
from vostool.propagation.references import MEMORY, References


@dataclass(frozen=True)
class FrameLoop(Generic[Features, Memory]):
    """What stays the same from frame to frame: the model, and how it is used."""

    segmenter: Segmenter[Features, Memory]
    references: References = MEMORY
    correction: GradientCorrection | None = None
    memory_frames: int | None = None  # the most that the memory holds; None: no limit
    disturbance: Disturbance | None = None
    recurrent: bool = False  # the model keeps frames itself, see `RecurrentModel`

    def disturbs(self, index: int) -> bool:
        """Return whether a frame is disturbed, if it is predicted and another one follows."""
        if self.disturbance is None or index % self.disturbance.every:
            return False
        return index > 0 and self.references.keep(index, annotated=False)

    @property
    def look_ahead(self) -> int:
        """How many frames to come must be known at each frame."""
        if self.disturbance is None or self.references.every is None:
            return 0
        period = lcm(self.disturbance.every, self.references.every)
        return period if self.disturbance.foresees else 1

    def corrects(self, index: int) -> bool:
        """Return whether a frame is corrected, if it is predicted."""
        if self.correction is None or not self.correction.due(index):
            return False
        # in a disturbed run it matters only to frames that stay
        return self.disturbance is None or self.references.keep(index, annotated=False)


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
        """Return this group with a frame in its memory, to stay or until the next one.

        Of a frame on which it is absent nothing is remembered, as long as others are.
        """
        if self.is_absent(frame) and self.bank is not None:
            return replace(self, recent=self.bank)
        keep, previous = self.keeps(loop.references, frame), loop.references.previous
        # of such a model every frame is kept here, so that it has to be told which matter
        matters = loop.recurrent and (frame.moved or self.is_annotated(frame))
        options = {"keep": True} if matters else {}

        def memory_with(frame: MaskedFrame) -> Memory:
            masks, truth = frame.masks_of(self.ids), self.is_truth(frame)
            return loop.segmenter.memorize(features, masks, self.bank, truth, **options)

        if not keep:
            return replace(self, recent=memory_with(frame)) if previous else self
        bank = memory_with(frame.settled)
        recent = memory_with(frame) if previous and frame.staying is not None else bank
        return replace(self, recent=recent, bank=bank)

    def is_truth(self, frame: MaskedFrame) -> bool:
        """Return whether all of the group's masks on a frame are annotated."""
        return set(self.ids) <= set(frame.annotated)

    def is_absent(self, frame: MaskedFrame) -> bool:
        """Return whether all of the group's objects are said not to be on a frame."""
        return set(self.ids) <= set(frame.absent)

    def is_annotated(self, frame: MaskedFrame) -> bool:
        """Return whether any of the group's masks on a frame is annotated."""
        return not set(self.ids).isdisjoint(frame.annotated)

    def keeps(self, references: References, frame: MaskedFrame) -> bool:
        """Return whether a frame stays in the group's memory; annotations of others don't count."""
        return references.keep(frame.index, self.is_annotated(frame))

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
            if self.keeps(loop.references, frame)
            and not (self.is_truth(frame) or self.is_absent(frame))
        ]
        most = loop.memory_frames or len(own)
        return {own[0].index, *annotated[-most:], *others[-most:]}
