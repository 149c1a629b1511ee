"""The masks that the user gives, by frame: paths or arrays in, label maps out."""

from collections.abc import Collection, Mapping
from copy import copy
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import numpy as np

from vostool.errors import MaskError, UsageError
from vostool.inference.absence import NOWHERE, Absence, shown
from vostool.inference.cuts import OnCut
from vostool.inference.given_mask import Mask, digest, parts_of, read_given
from vostool.media.frame import Frame, VideoInfo
from vostool.media.labels import LabelMap, ids_in

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
