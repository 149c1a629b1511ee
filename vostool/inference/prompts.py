"""The masks that the user gives, by frame: paths or arrays in, label maps and annotations out."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch

from vostool.errors import MaskError
from vostool.media.frame import VideoInfo
from vostool.media.labels import LabelMap
from vostool.media.masks import read_mask
from vostool.preprocess import Size, object_tensor
from vostool.propagation.frame_loop import Annotation


class GivenMasks:
    """The masks given for some frames, by the frame's number in the video.

    They are read again when their frame comes: none is held. Of a mask in `only`, no other ids
    are taken; without `doubt`, masks that look smoothed are taken as they are.
    """

    def __init__(
        self,
        paths: Mapping[int, Path],
        info: VideoInfo,
        *,
        only: Mapping[int, Collection[int]] | None = None,
        doubt: bool = True,
    ) -> None:
        """Read and check every mask; raises MaskError."""
        self.paths = paths
        self._info, self._only, self._doubt = info, only or {}, doubt
        self.ids = {frame: ids_in(self.labels(frame)) for frame in paths}

    def check_reached(self, frames: int) -> None:
        """Raise MaskError if the video had too few frames to come to any of the masks."""
        first = min(self.paths)
        if first >= frames:
            raise MaskError(f"{self.paths[first]}: is for frame {first}, the video has {frames}")

    def labels(self, frame: int) -> LabelMap:
        """Return the mask of a frame."""
        info = self._info
        labels = read_mask(self.paths[frame], info.width, info.height, doubt=self._doubt)
        if frame in self._only:
            labels[~np.isin(labels, list(self._only[frame]))] = 0
        return labels

    def get(self, frame: int) -> LabelMap | None:
        """Return the mask of a frame, None if it has none."""
        return self.labels(frame) if frame in self.paths else None


def ids_in(labels: LabelMap) -> tuple[int, ...]:
    """Return the objects of a label map, in ascending order."""
    return tuple(int(id_) for id_ in np.unique(labels) if id_)


def annotation_of(labels: LabelMap, size: Size, device: torch.device) -> Annotation:
    """Return a given mask as the frame loop takes it, at the size at which a model works."""
    ids = ids_in(labels)
    return Annotation(ids, object_tensor(labels, ids, size, device))


def put_over(labels: LabelMap, given: LabelMap | None) -> LabelMap:
    """Return labels with the objects of a given mask, if there is one, just as they went in."""
    if given is None:
        return labels
    others = np.where(np.isin(labels, ids_in(given)), 0, labels)
    return np.where(given > 0, given, others).astype(np.uint8)
