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
from vostool.inference.placement import Placement
from vostool.media.frame import VideoInfo
from vostool.media.labels import VOID, LabelMap, to_labels
from vostool.media.masks import read_mask
from vostool.propagation.frame_loop import Annotation

# the path of a mask file, or an array (H, W) of ids, 0 for the background
Mask: TypeAlias = str | os.PathLike[str] | NDArray[Any]


MAX_WARNINGS = 5  # about masks that are listed one by one


class GivenMasks:
    """The masks given for some frames, by the frame's number in the video.

    Files are read again at their frame: none is kept in RAM. A mask that is all background means
    that no object is visible there. Of a mask in `only`, no other ids are taken; without
    `strict`, masks that look smoothed are taken as they are. `threshold` as for `read_mask`;
    `warnings` lists what may be wrong with the masks that were taken.
    """

    def __init__(
        self,
        masks: Mapping[int, Mask],
        info: VideoInfo,
        *,
        only: Mapping[int, Collection[int]] | None = None,
        strict: bool = True,
        threshold: float | None = None,
    ) -> None:
        """Read and check every mask; raises MaskError, also if all are empty."""
        self._masks = dict(masks)
        self._info, self._only = info, only or {}
        self._strict, self._threshold = strict, threshold
        found: list[str] = []
        self.ids = {frame: ids_in(self.labels(frame, found)) for frame in masks}
        self.warnings = found[:MAX_WARNINGS]
        if more := len(found) - len(self.warnings):
            self.warnings.append(f"{more} more warnings of this kind about masks")
        self._frames = [frame for frame, ids in self.ids.items() if ids]
        if not self._frames and not self._only:
            others = f", as are {len(masks) - 1} others" if len(masks) > 1 else ""
            below = "" if threshold is None else f" (nothing reaches --threshold {threshold:g})"
            raise MaskError(
                f"{self._name(next(iter(masks)))}: expected at least one object, all is "
                f"background{below}{others}"
            )

    @property
    def paths(self) -> dict[int, Path]:
        """The masks that are files."""
        return {
            frame: Path(mask)
            for frame, mask in self._masks.items()
            if not isinstance(mask, np.ndarray)
        }

    def check_reached(self, frames: int) -> None:
        """Raise MaskError if the video ended before the first of the masks."""
        if self.first >= frames:
            raise MaskError(
                f"{self._name(self.first)}: is for frame {self.first}, the video has {frames}"
            )

    @property
    def first(self) -> int:
        """The first frame whose mask holds an object."""
        return min(self._frames)

    def is_empty(self, frame: int) -> bool:
        """Return whether the mask of a frame says that no object is there."""
        return frame in self._masks and not self.ids[frame] and frame not in self._only

    def labels(self, frame: int, warnings: list[str] | None = None) -> LabelMap:
        """Return the mask of a frame; adds to `warnings`."""
        labels = read_given(
            self._masks[frame],
            self._info.height,
            self._info.width,
            name=self._name(frame),
            strict=self._strict,
            allow_empty=frame not in self._only,
            threshold=self._threshold,
            warnings=warnings,
        )
        if frame in self._only:
            labels[~np.isin(labels, list(self._only[frame]))] = 0
        return labels

    def get(self, frame: int) -> LabelMap | None:
        """Return the mask of a frame, None if it has none, or none with an object."""
        return self.labels(frame) if self.ids.get(frame) else None

    def _name(self, frame: int) -> str:
        return str(self.paths.get(frame, f"mask of frame {frame}"))


def read_given(
    mask: Mask,
    height: int,
    width: int,
    *,
    name: str,
    strict: bool = True,
    known: Collection[int] = (),
    allow_empty: bool = False,
    threshold: float | None = None,
    warnings: list[str] | None = None,
) -> LabelMap:
    """Return the objects of a mask for frames of a size, (H, W), from a file or an array.

    An array is read like the grey image of its values, see `to_labels`: ids, or an object in white
    or True. Where it has none but `known` objects, it is not suspected of being smoothed.
    Raises MaskError, with `name` for an array, if it does not fit or shows no object.
    """
    if not isinstance(mask, np.ndarray):
        return read_mask(Path(mask), width, height, allow_empty, strict, threshold, warnings)
    if mask.shape != (height, width):
        raise MaskError(f"{name}: expected an array {(height, width)}, found {mask.shape}")
    if mask.dtype.kind not in "bui":
        raise MaskError(f"{name}: expected whole numbers, found {mask.dtype}")
    if mask.min() < 0 or mask.max() > VOID:
        raise MaskError(f"{name}: values {mask.min()} to {mask.max()}, expected ids 0 to 254")
    values = mask.astype(np.uint8)
    strict = strict and not set(ids_in(values)) <= set(known)
    found: list[str] = []
    try:
        labels = to_labels(Image.fromarray(values), strict, found)
    except MaskError as error:
        raise MaskError(f"{name}: {error}") from error
    if warnings is not None:
        warnings += [f"{name}: {warning}" for warning in found]
    if not allow_empty and not labels.any():
        raise MaskError(f"{name}: expected at least one object, all is background")
    return labels


def ids_in(labels: LabelMap) -> tuple[int, ...]:
    """Return the objects of a label map, in ascending order."""
    return tuple(int(id_) for id_ in np.unique(labels) if id_)


def annotation_of(labels: LabelMap, place: Placement, device: torch.device) -> Annotation:
    """Return a given mask as an annotation in the network's input."""
    ids = ids_in(labels)
    return Annotation(ids, place.objects(labels, ids, device))


def put_over(labels: LabelMap, given: LabelMap | None) -> LabelMap:
    """Return labels with the objects of a given mask, if there is one, exactly as given."""
    if given is None:
        return labels
    others = np.where(np.isin(labels, ids_in(given)), 0, labels)
    return np.where(given > 0, given, others).astype(np.uint8)
