"""Moments of a video as people write them, `0:12.5` or `1:02:03`, to the numbers of frames.

A time counts from the first frame, as a player shows it, and means the frame that is shown at that
moment: the last one whose time is not later. So it does where frames are of different lengths.
"""

import re
from collections import deque
from collections.abc import Collection, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TypeAlias

from vostool.errors import UsageError
from vostool.media.folder import FOLDER_RATE
from vostool.media.video import read_times

TIME = r"(?:\d+:)?\d+:\d{1,2}(?:\.\d+)?"  # hours if there are, minutes, seconds
MOST_DIGITS = 18  # of a frame number; Python reads no more than 4300
MILLISECOND = Fraction(1, 1000)  # players cut times off there: 0.033 is the frame at 1/30


@dataclass(frozen=True)
class TimeCode:
    """A moment of a video, `[H:]M:S[.fraction]`, from its first frame on."""

    text: str

    @property
    def seconds(self) -> Fraction:
        """The time in seconds, exact."""
        total = Fraction(0)
        for part in self.text.split(":"):
            total = 60 * total + Fraction(part)
        return total

    def __str__(self) -> str:
        return self.text


Position: TypeAlias = int | TimeCode


def parse_position(name: str, text: str) -> Position:
    """Return a frame's number, or a time code, from text; `name` is what it is given to.

    Raises UsageError.
    """
    if text.isascii() and text.isdigit():
        if len(text) > MOST_DIGITS:
            raise UsageError(f"{name}: expected a frame number, found one of {len(text)} digits")
        return int(text)
    parts = text.split(":")
    if re.fullmatch(TIME, text, re.ASCII) is None or max(map(len, parts)) > MOST_DIGITS:
        raise UsageError(
            f"{name} {text[:40]}: expected the number of a frame, from 0, or a time such as 0:12.5"
        )
    if any(Fraction(part) >= 60 for part in parts[1:]):  # the first counts as far as it goes
        raise UsageError(f"{name} {text}: expected seconds, and minutes after hours, below 60")
    return TimeCode(text)


def frame_numbers(
    codes: Collection[TimeCode], video: Path, rate: Fraction = FOLDER_RATE
) -> dict[TimeCode, int]:
    """Return the number of the frame that is shown at each moment.

    After the last frame that is the number of frames. The video is decoded up to the latest moment;
    `rate` is how many frames per second a folder has. Raises InputError if it cannot be read.
    """
    pending = deque(sorted(codes, key=lambda code: code.seconds))
    found: dict[TimeCode, int] = {}
    number = -1
    if pending:
        with closing(_ends(read_times(video, rate))) as ends:
            for number, end in enumerate(ends):
                while pending and pending[0].seconds + MILLISECOND <= end:
                    found[pending.popleft()] = number
                if not pending:
                    break
    return found | dict.fromkeys(pending, number + 1)


def frame_number(position: Position, video: Path) -> int:
    """Return the number of a frame, as `frame_numbers`."""
    if isinstance(position, int):
        return position
    return frame_numbers([position], video)[position]


def _ends(times: Iterable[Fraction]) -> Generator[Fraction]:
    """Yield how long after the first time each one ends: the last is as long as the one before."""
    first = last = step = None
    for time in times:
        if first is None or last is None:
            first = time
        else:
            step = time - last
            yield time - first
        last = time
    if first is not None and last is not None:
        yield last - first + (1 / FOLDER_RATE if step is None else step)
