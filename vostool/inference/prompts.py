"""The masks that the user gives, by frame: paths or arrays in, label maps and annotations out."""

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vostool.errors import MaskError
from vostool.media.frame import VideoInfo
from vostool.media.labels import VOID, LabelMap, to_labels
from vostool.media.masks import read_mask
from vostool.preprocess import Size, object_tensor
from vostool.propagation.frame_loop import Annotation

# the path of a mask file, or an array (H, W) of ids, 0 for the background
Mask: TypeAlias = str | os.PathLike[str] | NDArray[Any]


class GivenMasks:
    """The masks given for some frames, by the frame's number in the video.

    Files are read again when their frame comes: none is held. Of a mask in `only`, no other ids
    are taken; without `doubt`, masks that look smoothed are taken as they are.
    """

    def __init__(
        self,
        masks: Mapping[int, Mask],
        info: VideoInfo,
        *,
        only: Mapping[int, Collection[int]] | None = None,
        doubt: bool = True,
    ) -> None:
        """Read and check every mask; raises MaskError."""
        self._masks = dict(masks)
        self._info, self._only, self._doubt = info, only or {}, doubt
        self.ids = {frame: ids_in(self.labels(frame)) for frame in masks}

    @property
    def paths(self) -> dict[int, Path]:
        """The masks that are files."""
        return {
            frame: Path(mask)
            for frame, mask in self._masks.items()
            if not isinstance(mask, np.ndarray)
        }

    def check_reached(self, frames: int) -> None:
        """Raise MaskError if the video had too few frames to come to any of the masks."""
        first = min(self.ids)
        if first >= frames:
            raise MaskError(f"{self._name(first)}: is for frame {first}, the video has {frames}")

    def labels(self, frame: int) -> LabelMap:
        """Return the mask of a frame."""
        size, name = (self._info.height, self._info.width), self._name(frame)
        labels = read_given(self._masks[frame], *size, name=name, doubt=self._doubt)
        if frame in self._only:
            labels[~np.isin(labels, list(self._only[frame]))] = 0
        return labels

    def get(self, frame: int) -> LabelMap | None:
        """Return the mask of a frame, None if it has none."""
        return self.labels(frame) if frame in self._masks else None

    def _name(self, frame: int) -> str:
        return str(self.paths.get(frame, f"mask of frame {frame}"))


def read_given(
    mask: Mask,
    height: int,
    width: int,
    *,
    name: str,
    doubt: bool = True,
    known: Collection[int] = (),
) -> LabelMap:
    """Return the objects of a mask for frames of a size, (H, W), from a file or an array.

    An array is read like the grey image of its values, see `to_labels`: ids, or an object in white
    or True. Where it has none but `known` objects, it is not suspected of being smoothed.
    Raises MaskError, with `name` for an array, if it does not fit or shows no object.
    """
    if not isinstance(mask, np.ndarray):
        return read_mask(Path(mask), width, height, doubt=doubt)
    if mask.shape != (height, width):
        raise MaskError(f"{name}: expected an array {(height, width)}, found {mask.shape}")
    if mask.dtype.kind not in "bui":
        raise MaskError(f"{name}: expected whole numbers, found {mask.dtype}")
    if mask.min() < 0 or mask.max() > VOID:
        raise MaskError(f"{name}: values {mask.min()} to {mask.max()}, expected ids 0 to 254")
    values = mask.astype(np.uint8)
    doubt = doubt and not set(ids_in(values)) <= set(known)
    try:
        labels = to_labels(Image.fromarray(values), doubt)
    except MaskError as error:
        raise MaskError(f"{name}: {error}") from error
    if not labels.any():
        raise MaskError(f"{name}: expected at least one object, all is background")
    return labels


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
