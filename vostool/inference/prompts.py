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


class GivenMasks(Mapping[int, Annotation]):
    """The masks given for some frames, read when their frame comes.

    `paths` are by frame number; as a mapping, frames count from `start`. Of a mask in `only`,
    no other ids are taken. `size` is that at which the model sees the frames.
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
    ) -> None:
        """Read and check every mask; raises MaskError."""
        self.paths = paths
        self._start, self._info, self._device = start, info, predictor.device
        self.size = self.size_for(predictor)
        self._only, self._doubt = only or {}, doubt
        self.ids = {
            frame: [int(id_) for id_ in np.unique(self.labels(frame)) if id_] for frame in paths
        }

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
        first = min(self.paths)
        if first >= frames:
            raise MaskError(f"{self.paths[first]}: is for frame {first}, the video has {frames}")

    def labels(self, frame: int) -> LabelMap:
        """Read the mask of a frame, numbered as in the video."""
        info = self._info
        labels = read_mask(self.paths[frame], info.width, info.height, doubt=self._doubt)
        if frame in self._only:
            labels[~np.isin(labels, list(self._only[frame]))] = 0
        return labels

    def __getitem__(self, index: int) -> Annotation:
        labels = self.labels(index + self._start)
        ids = self.ids[index + self._start]
        return Annotation(tuple(ids), object_tensor(labels, ids, self.size, self._device))

    def __contains__(self, index: object) -> bool:  # the mixin would read the mask
        return isinstance(index, int) and index + self._start in self.paths

    def __iter__(self) -> Iterator[int]:
        return (frame - self._start for frame in self.paths)

    def __len__(self) -> int:
        return len(self.paths)
