"""The masks that the user gives: paths by frame in, annotations for the frame loop out."""

from collections.abc import Collection, Iterator, Mapping
from copy import copy
from pathlib import Path
from typing import Self

import numpy as np

from vostool.errors import MaskError
from vostool.inference.predictor import Predictor
from vostool.media.frame import VideoInfo
from vostool.media.labels import LabelMap
from vostool.media.masks import read_mask
from vostool.preprocess import Size, object_tensor, working_size
from vostool.propagation.frame_loop import (
    Annotation,
)

MOST_DOUBTS = 5  # about masks that are told one by one


class GivenMasks(Mapping[int, Annotation]):
    """The masks given for some frames, read when their frame comes.

    `paths` are by frame number; as a mapping, of the masks that hold an object, frames count
    from `start`. A mask that is all background says that no object is to be seen there. Of a
    mask in `only`, no other ids are taken. `size` is that at which the model sees the frames.
    `warnings` says what is doubtful about the masks, but taken.
    """

    def __init__(
        self,
        paths: Mapping[int, Path],
        info: VideoInfo,
        predictor: Predictor,
        *,
        start: int = 0,
        only: Mapping[int, Collection[int]] | None = None,
        doubt: bool = True,
        threshold: float | None = None,
    ) -> None:
        """Read and check every mask by `read_mask`; raises MaskError, also if all are empty."""
        self.paths = paths
        self._start, self._info, self._device = start, info, predictor.device
        self.size = self.size_for(predictor)
        self._only, self._doubt, self._threshold = only or {}, doubt, threshold
        doubts: list[str] = []
        self.ids = {
            frame: [int(id_) for id_ in np.unique(self.labels(frame, doubts)) if id_]
            for frame in paths
        }
        self.warnings = doubts[:MOST_DOUBTS]
        if more := len(doubts) - len(self.warnings):
            self.warnings.append(f"{more} more warnings of this kind about masks")
        self._frames = [frame for frame, ids in self.ids.items() if ids]
        if not self._frames and not self._only:
            others = f", as are {len(paths) - 1} others" if len(paths) > 1 else ""
            path = next(iter(paths.values()))
            below = "" if threshold is None else f" (nothing reaches --threshold {threshold:g})"
            raise MaskError(
                f"{path}: expected at least one object, all is background{below}{others}"
            )

    def size_for(self, predictor: Predictor) -> Size:
        """Return the size at which a model sees the frames."""
        return working_size(
            self._info.height, self._info.width, predictor.size, predictor.network.stride
        )

    def at(self, size: Size) -> Self:
        """Return the same masks for frames that are seen at another size."""
        other = copy(self)
        other.size = size
        return other

    def check_reached(self, frames: int) -> None:
        """Raise MaskError if the video had too few frames to come to any of the masks."""
        first = min(self._frames)
        if first >= frames:
            raise MaskError(f"{self.paths[first]}: is for frame {first}, the video has {frames}")

    @property
    def first(self) -> int:
        """The first frame whose mask holds an object, numbered as in the video."""
        return min(self._frames)

    def is_empty(self, frame: int) -> bool:
        """Return whether the mask of a frame, numbered as in the video, says: no object here."""
        return frame in self.paths and not self.ids[frame] and frame not in self._only

    def labels(self, frame: int, warnings: list[str] | None = None) -> LabelMap:
        """Read the mask of a frame, numbered as in the video; adds to `warnings`."""
        labels = read_mask(
            self.paths[frame],
            self._info.width,
            self._info.height,
            allow_empty=frame not in self._only,
            doubt=self._doubt,
            threshold=self._threshold,
            warnings=warnings,
        )
        if frame in self._only:
            labels[~np.isin(labels, list(self._only[frame]))] = 0
        return labels

    def __getitem__(self, index: int) -> Annotation:
        labels = self.labels(index + self._start)
        ids = self.ids[index + self._start]
        return Annotation(tuple(ids), object_tensor(labels, ids, self.size, self._device))

    def __contains__(self, index: object) -> bool:  # the mixin would read the mask
        return isinstance(index, int) and bool(self.ids.get(index + self._start))

    def __iter__(self) -> Iterator[int]:
        return (frame - self._start for frame in self._frames)

    def __len__(self) -> int:
        return len(self._frames)
