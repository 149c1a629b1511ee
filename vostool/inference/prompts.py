"""The masks that the user gives, by frame: paths or arrays in, label maps and annotations out."""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vostool.errors import MaskError, UsageError
from vostool.inference.absence import NOWHERE, Absence, shown
from vostool.inference.cuts import OnCut
from vostool.inference.placement import Placement
from vostool.media.frame import Frame, VideoInfo
from vostool.media.labels import MAX_OBJECTS, VOID, LabelMap, ids_in, to_labels
from vostool.media.masks import read_mask
from vostool.propagation.frames import Annotation

# the path of a mask file, or an array (H, W) of ids, 0 for the background
OneMask: TypeAlias = str | os.PathLike[str] | NDArray[Any]
# or by id such masks of single objects, the later ones in front
Mask: TypeAlias = OneMask | Mapping[int, OneMask]


Item = TypeVar("Item")

MAX_WARNINGS = 5  # about masks that are listed one by one


class GivenMasks:
    """The masks given for some frames, by the frame's number in the video.

    Files are read again at their frame: none is kept in RAM. A mask that is all background means
    that no object is there, an empty mask of a single object that this one is not. Of a mask in
    `only`, no other ids are taken; without `strict`, masks that look smoothed are taken as they
    are. `threshold` as for `read_mask`; `absence` says where else objects are not, and `cuts`
    what scene cuts do to them. `warnings` lists what may be wrong with the masks that were taken.
    """

    def __init__(
        self,
        masks: Mapping[int, Mask],
        info: VideoInfo,
        *,
        only: Mapping[int, Collection[int]] | None = None,
        strict: bool = True,
        threshold: float | None = None,
        absence: Absence = NOWHERE,
        cuts: OnCut = OnCut.IGNORE,
    ) -> None:
        """Read and check every mask.

        Raises MaskError, also if all are empty, and UsageError if an object is said to be absent
        that no mask shows, or that one shows there.
        """
        self._masks = dict(masks)
        self._info, self._only = info, only or {}
        self._strict, self._threshold = strict, threshold
        self.absence, self.cuts = absence, cuts
        found: list[str] = []
        self.ids: dict[int, tuple[int, ...]] = {}
        self.digests: dict[int, str] = {}  # of what each mask shows
        self._absent: dict[int, frozenset[int]] = {}  # objects whose own mask is empty
        for frame, mask in masks.items():
            labels = self.labels(frame, found)
            self.ids[frame] = ids_in(labels)
            if isinstance(mask, Mapping):
                self._absent[frame] = frozenset(mask) - set(self.ids[frame])
            self.digests[frame] = self._digest(frame, labels)
        self.objects = frozenset(id_ for ids in self.ids.values() for id_ in ids)
        found += self._never_shown()
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
        self._check_absence()

    @property
    def files(self) -> set[Path]:
        """The masks that are files."""
        masks = [each for mask in self._masks.values() for each in parts_of(mask)]
        return {Path(mask) for mask in masks if not isinstance(mask, np.ndarray)}

    def check_reached(self, frames: int) -> None:
        """Raise MaskError if the video ended before the first of the masks."""
        if self.first >= frames:
            raise MaskError(
                f"{self._name(self.first)}: is for frame {self.first}, the video has {frames}"
            )

    @property
    def frames(self) -> tuple[int, ...]:
        """The frames whose masks hold an object."""
        return tuple(self._frames)

    @property
    def first(self) -> int:
        """The first frame whose mask holds an object."""
        return min(self._frames)

    @property
    def last(self) -> int:
        """The last frame whose mask holds an object."""
        return max(self._frames)

    def shows(self, id_: int) -> list[int]:
        """Return the frames whose masks show an object."""
        return [frame for frame, ids in self.ids.items() if id_ in ids]

    def mirrored(self, turn: int) -> Self:
        """Return the masks of a video that is mirrored in time at a frame, and begins with it.

        Those of later frames are left out.
        """
        mirror = partial(mirrored, turn=turn)
        other = copy(self)
        other._masks, other._only = mirror(self._masks), mirror(self._only)
        other.ids, other.digests = mirror(self.ids), mirror(self.digests)
        other._absent = mirror(self._absent)
        other._frames = [frame for frame, ids in other.ids.items() if ids]
        other.absence = self.absence.mirrored(turn)
        return other

    def _never_shown(self) -> list[str]:
        """Return a warning for each object that has masks, all of which are empty."""
        never = {id_ for ids in self._absent.values() for id_ in ids} - self.objects
        return [f"object {id_}: no mask shows it" for id_ in sorted(never)]

    def _check_absence(self) -> None:
        """Raise UsageError if what is said to be absent is unknown, or shown there."""
        for id_, stretches in self.absence.stretches.items():
            if id_ not in self.objects:
                known = ", ".join(map(str, sorted(self.objects)))
                raise UsageError(
                    f"--absent {shown(id_, stretches[0])}: no mask shows object {id_}, they show "
                    f"{known}"
                )
            for frame, ids in self.ids.items():
                if id_ in ids and (stretch := self.absence.stretch_at(id_, frame)):
                    raise UsageError(
                        f"--absent {shown(id_, stretch)}: the mask of frame {frame} "
                        f"({self.name(frame)}) shows object {id_}"
                    )

    def absent_at(self, frame: int) -> frozenset[int]:
        """Return the objects that are said not to be on a frame."""
        elsewhere = self.absence.at(frame)
        if frame in self._absent:
            return self._absent[frame] | elsewhere
        nothing = frame in self._masks and not self.ids[frame] and frame not in self._only
        return self.objects if nothing else elsewhere

    def absent_on(self, frame: Frame) -> frozenset[int]:
        """Return the objects that are said not to be on a frame, or ended at a cut before it."""
        absent = self.absent_at(frame.index)
        if self.cuts is not OnCut.STOP or not frame.scene:
            return absent
        since = (ids for n, ids in self.ids.items() if frame.scene <= n <= frame.index)
        return absent | self.objects.difference(*since)

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
        """Return the mask of a frame, None if it has none, or none with an object.

        Raises MaskError if it is no longer what it was.
        """
        if not self.ids.get(frame):
            return None
        labels = self.labels(frame)
        if self._digest(frame, labels) != self.digests[frame]:
            raise MaskError(f"{self._name(frame)}: has changed since it was first read")
        return labels

    def _digest(self, frame: int, labels: LabelMap) -> str:
        return digest(labels, self._absent.get(frame, frozenset()))

    def name(self, frame: int) -> str:
        """Return what the mask of a frame is called, without its folder."""
        parts = parts_of(self._masks[frame])
        names = [Path(each).name for each in parts if not isinstance(each, np.ndarray)]
        return ", ".join(names) or f"mask of frame {frame}"

    def _name(self, frame: int) -> str:
        mask = self._masks[frame]
        path = not isinstance(mask, (np.ndarray, Mapping))
        return str(mask) if path else f"mask of frame {frame}"


def mirrored(by_frame: Mapping[int, Item], turn: int) -> dict[int, Item]:
    """Return what is given by frame, in order, for a video that is mirrored in time at a frame."""
    until = sorted((frame for frame in by_frame if frame <= turn), reverse=True)
    return {2 * turn - frame: by_frame[frame] for frame in until}


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
    if isinstance(mask, Mapping):
        read = partial(read_given, height=height, width=width, strict=strict, threshold=threshold)
        names = {
            id_: f"{name}, object {id_}" if isinstance(each, np.ndarray) else str(each)
            for id_, each in mask.items()
        }
        objects = (
            (id_, names[id_], read(each, name=names[id_], allow_empty=True, warnings=warnings))
            for id_, each in mask.items()
        )
        whole = put_together(objects, np.zeros((height, width), np.uint8), warnings)
        if not allow_empty and not whole.any():
            raise MaskError(f"{name}: expected at least one object, all is background")
        return whole
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


def parts_of(mask: Mask) -> tuple[OneMask, ...]:
    """Return the masks of single objects that make up one, or the one."""
    return tuple(mask.values()) if isinstance(mask, Mapping) else (mask,)


def put_together(
    objects: Iterable[tuple[int, str, LabelMap]], whole: LabelMap, warnings: list[str] | None
) -> LabelMap:
    """Paint the masks (H, W) of single objects, by id and name, over a label map; return that.

    Later ones are in front. Raises MaskError for a mask that shows several objects, and for an id
    that cannot be.
    """
    for id_, name, labels in objects:
        if not 1 <= id_ <= MAX_OBJECTS:
            raise MaskError(f"{name}: object {id_}: expected an id from 1 to {MAX_OBJECTS}")
        if len(found := ids_in(labels)) > 1:
            raise MaskError(f"{name}: expected object {id_} alone, found {len(found)} objects")
        hidden = np.count_nonzero(whole[labels > 0])
        if hidden and warnings is not None:
            warnings.append(f"{name}: object {id_} covers {hidden} pixels of the others")
        whole[labels > 0] = id_
    return whole


def digest(labels: LabelMap, absent: Collection[int] = ()) -> str:
    """Return a hash of what a mask says: a label map, and the objects known not to be there."""
    return hashlib.sha256(labels.tobytes() + bytes(sorted(absent))).hexdigest()


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
