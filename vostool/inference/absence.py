"""Stretches of frames on which objects are said not to be there."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

from vostool.errors import UsageError
from vostool.media.labels import MAX_OBJECTS
from vostool.media.time_codes import MOST_DIGITS

# the first and the last frame of a stretch, both of it; None: to the end
Stretch: TypeAlias = tuple[int, int | None]


@dataclass(frozen=True)
class Absence:
    """Which objects are absent, and when: stretches by object, in order, none touching another."""

    stretches: Mapping[int, tuple[Stretch, ...]]

    @classmethod
    def of(cls, given: Mapping[int, Sequence[Stretch]]) -> Self:
        """Join the stretches of each object; raises UsageError for what is no stretch."""
        for id_, stretches in given.items():
            for first, last in stretches:
                if not 1 <= id_ <= MAX_OBJECTS:
                    raise UsageError(
                        f"--absent {shown(id_, (first, last))}: expected an id from 1 to "
                        f"{MAX_OBJECTS}"
                    )
                if first < 0 or (last is not None and last < first):
                    raise UsageError(
                        f"--absent {shown(id_, (first, last))}: expected the first frame, and "
                        "after it the last"
                    )
        return cls({id_: joined(given[id_]) for id_ in sorted(given) if given[id_]})

    def at(self, frame: int) -> frozenset[int]:
        """Return the objects that are absent on a frame."""
        return frozenset(id_ for id_ in self.stretches if self.stretch_at(id_, frame))

    def stretch_at(self, id_: int, frame: int) -> Stretch | None:
        """Return the stretch of an object that a frame lies in."""
        for first, last in self.stretches.get(id_, ()):
            if first <= frame and (last is None or frame <= last):
                return first, last
        return None

    def mirrored(self, turn: int) -> Self:
        """Return the stretches of a video that is mirrored in time at a frame, up to that frame."""
        return type(self)(
            {
                id_: tuple(
                    (2 * turn - last, 2 * turn - first) for first, last in reversed(stretches)
                )
                for id_, stretches in self.until(turn + 1).items()
            }
        )

    def until(self, end: int) -> dict[int, list[tuple[int, int]]]:
        """Return the stretches as far as they concern the frames before `end`."""
        cut = {
            id_: [
                (first, end - 1 if last is None else min(last, end - 1))
                for first, last in stretches
                if first < end
            ]
            for id_, stretches in self.stretches.items()
        }
        return {id_: stretches for id_, stretches in cut.items() if stretches}


NOWHERE = Absence({})


def joined(stretches: Iterable[Stretch]) -> tuple[Stretch, ...]:
    """Return stretches in order; those that overlap or follow upon each other are one."""
    found: list[Stretch] = []
    for first, last in sorted(stretches, key=lambda stretch: stretch[0]):
        before = found[-1] if found else None
        if before is None or (before[1] is not None and first > before[1] + 1):
            found.append((first, last))
        elif before[1] is not None:
            found[-1] = (before[0], None if last is None else max(last, before[1]))
    return tuple(found)


def shown(id_: int, stretch: Stretch) -> str:
    """Return a stretch as it is typed: 2:120-180."""
    first, last = stretch
    return f"{id_}:{first}-{'' if last is None else last}"


def parse_absent(specs: Iterable[str]) -> Absence:
    """Return what is given to --absent: ID:FROM-TO, ID:FROM- to the end, ID:FRAME.

    Raises UsageError.
    """
    given: dict[int, list[Stretch]] = {}
    for spec in specs:
        match = re.fullmatch(r"(\d+):(\d+)(-?)(\d*)", spec.strip())
        numbers = match.groups() if match else ()
        if match is None or max(map(len, numbers)) > MOST_DIGITS or (numbers[3] and not numbers[2]):
            raise UsageError(
                f"--absent {spec[:40]}: expected ID:FROM-TO, an object and the first and last "
                "frame without it, such as 2:120-180"
            )
        id_, first, dash, last = numbers
        until = int(last) if last else (None if dash else int(first))
        given.setdefault(int(id_), []).append((int(first), until))
    return Absence.of(given)
