"""A network and the state of one video, together: mask after mask, frame after frame.

Where memory runs out it goes on with less, as `vostool.inference.oom` says.
"""

import logging
from typing import Any

import torch
from torch import Tensor

from vostool.device import is_out_of_memory, release_memory
from vostool.inference.oom import LimitChange, Limits, fit, image_at, in_ram, offload
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import annotation_of
from vostool.media.frame import Rgb
from vostool.media.labels import LabelMap
from vostool.preprocess import Size
from vostool.propagation.frame_loop import MaskedFrame, Prediction, Track, replay

log = logging.getLogger(__name__)


class Tracker:
    """A loaded network at work on one video."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor  # as it runs by now: in lower limits if memory ran out
        self.lowered: list[LimitChange] = []
        self._track: Track[Any, Any] | None = Track(predictor.loop)
        self._frames: tuple[MaskedFrame, ...] = ()  # of the track, where that is to be made again
        self._given: dict[int, LabelMap] = {}  # the masks given for frames of the track

    @torch.no_grad()
    def advance(
        self, rgb: Rgb, given: LabelMap | None = None, image: Tensor | None = None, number: int = 0
    ) -> Prediction[Any]:
        """Return the masks of the next frame, at the size at which the network works.

        `image` is the frame as the network takes it, if it was made ahead, and `number` the one
        by which messages call it. Raises what PyTorch does if memory runs out for good.
        """
        while True:
            try:
                return self._advance(rgb, given, image)
            except (RuntimeError, MemoryError) as error:
                limits = self._lower_limits() if is_out_of_memory(error) else None
                if limits is None:
                    raise
            # behind the block, where the error holds nothing any more of what did not fit
            self._go_on_within(limits, number)

    def _advance(self, rgb: Rgb, given: LabelMap | None, image: Tensor | None) -> Prediction[Any]:
        device, size = self.predictor.device, self.predictor.working_size(*rgb.shape[:2])
        image = image_at(rgb, image, size, device)
        annotation = None if given is None else annotation_of(given, size, device)
        track, prediction = self._track_at(size).advance(image, annotation)
        self._track = offload(track, torch.float16)  # half the RAM
        self._keep_given(given)
        return prediction

    def _keep_given(self, given: LabelMap | None) -> None:
        """Keep the mask given for the latest frame, and those of frames still in the history."""
        frames = () if self._track is None else self._track.frames
        if given is not None and frames:
            self._given[frames[-1].index] = given
        kept = {frame.index for frame in frames}
        self._given = {index: mask for index, mask in self._given.items() if index in kept}

    def _track_at(self, size: Size) -> Track[Any, Any]:
        """Return the track with a memory that belongs to the predictor's limits."""
        if self._track is None:
            device, given = self.predictor.device, self._given.get
            frames = (fit(each, size, device, given(each.index)) for each in self._frames)
            self._track = replay(self.predictor.loop, frames)
        return self._track

    def _lower_limits(self) -> Limits | None:
        """Return the next lower limits; None: there is nothing left to lower."""
        frames = self._frames if self._track is None else self._track.frames
        objects = len(frames[-1].ids) if frames else 0
        return self.predictor.limits.lower(objects, len(frames))

    def _go_on_within(self, limits: Limits, number: int) -> None:
        """Give back the memory that was made in the limits so far, and take the lower ones."""
        if self._track is not None:
            latest = () if self._track.latest is None else (in_ram(self._track.latest),)
            self._frames, self._track = (*self._track.history, *latest), None
        device, words = self.predictor.device, limits.describe_change(self.predictor.limits)
        release_memory(device)
        kind = " GPU" if device.type == "cuda" else ""
        log.warning("frame %d: out of%s memory: going on %s", number, kind, words)
        self.lowered.append(LimitChange(number, limits, words))
        self.predictor = self.predictor.within(limits)
