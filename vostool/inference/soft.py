"""A segmented frame, and the soft masks behind its labels.

The probabilities stay at the network's size until somebody asks for one of them at the size of
the frame: a queue of frames waiting to be written takes little RAM, however many objects there are.

Shapes: a frame is H x W pixels, the network's input h x w.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from vostool.inference.prompts import GivenMasks
from vostool.media.frame import Frame
from vostool.media.labels import LabelMap, ids_in
from vostool.preprocess import Size, soft_masks
from vostool.propagation.frames import Prediction

SoftMask = NDArray[np.float32]  # (H, W), from 0 to 1
WHITE = 65535  # stands for a probability of 1


@dataclass(frozen=True)
class SoftMasks:
    """The probabilities of the objects of one frame; what was given is exactly as given."""

    ids: tuple[int, ...]
    small: NDArray[np.uint16]  # (N + 1, h, w), background first, then `ids`; WHITE for 1
    size: Size  # of the frame
    given: LabelMap | None = None  # (H, W)

    @classmethod
    def of_prediction(
        cls, prediction: Prediction[Any], size: Size, frame: int, given: GivenMasks
    ) -> Self:
        """Return those of a prediction for a frame of that size and number."""
        small = (prediction.masks[0].detach().float().clamp(0, 1) * WHITE).round().cpu().numpy()
        return cls.of_small(prediction.ids, small.astype(np.uint16), size, frame, given)

    @classmethod
    def of_small(
        cls,
        ids: tuple[int, ...],
        small: NDArray[np.uint16],
        size: Size,
        frame: int,
        given: GivenMasks,
    ) -> Self:
        """Return those of the probabilities (N + 1, h, w) of a frame of that size and number."""
        return cls(ids, small, size, given.get(frame))

    @property
    def present(self) -> tuple[int, ...]:
        """The ids of all objects by now, those that are given on this frame included."""
        given = () if self.given is None else ids_in(self.given)
        return tuple(dict.fromkeys((*self.ids, *given)))

    def of(self, id_: int) -> SoftMask:
        """Return the soft mask (H, W) of an object; nothing of one that is not there yet."""
        truth = None if self.given is None else self.given == id_
        if truth is not None and truth.any():
            return truth.astype(np.float32)
        if id_ not in self.ids:
            return np.zeros(self.size, np.float32)
        return self._under_given(self._enlarge(self.small[1 + self.ids.index(id_)]))

    def of_all(self) -> SoftMask:
        """Return the soft mask (H, W) of all objects together."""
        replaced = () if self.given is None else ids_in(self.given)
        channels = [1 + n for n, id_ in enumerate(self.ids) if id_ not in replaced]
        whole = np.zeros(self.size, np.float32)
        if channels:
            together = self.small[channels].sum(axis=0, dtype=np.uint32).clip(0, WHITE)
            whole = self._under_given(self._enlarge(together))
        return whole if self.given is None else np.maximum(whole, self.given > 0)

    def _under_given(self, mask: SoftMask) -> SoftMask:
        return mask if self.given is None else np.where(self.given > 0, np.float32(0), mask)

    def _enlarge(self, small: NDArray[np.unsignedinteger[Any]]) -> SoftMask:
        one = torch.from_numpy(small.astype(np.float32) / WHITE)
        return soft_masks(one[None, None], self.size)[0]


@dataclass(frozen=True)
class SegmentedFrame:
    """A frame with its labels and, where they were asked for, its soft masks."""

    frame: Frame
    labels: LabelMap  # (H, W)
    soft: SoftMasks | None = None
    finished: bool = False  # whether the labels are as they are to be written


@dataclass(frozen=True)
class PendingFrame:
    """A frame whose labels are yet to be made, in whichever thread that is asked for.

    For a large frame it takes as long as reading it: the network need not wait for it.
    """

    frame: Frame
    segmented: Callable[[], SegmentedFrame]
