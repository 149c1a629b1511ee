"""Timestamps that always rise, as close as possible to those stored.

Files have times that are missing, repeated, out of order, far off, or begin anew in the middle
(two recordings joined). One rule puts them right: a time is believed if it comes after the one
before, unless the next one contradicts it.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, pairwise
from typing import Any, TypeVar

Item = TypeVar("Item")

FAR = Fraction(10)  # seconds; FFmpeg too takes a longer step for a break (dts_delta_threshold)
FAR_PERIODS, FAR_STEPS = 100, 10  # or further: this many periods, and times the longest step yet
IMPOSSIBLE = Fraction(30 * 3600)  # seconds; no step is that long (dts_error_threshold)


class Clock:
    """Gives each picture its time in seconds; times always rise.

    - A missing time is one period after the last, and before the next.
    - A time that is not between its neighbours, which are in order themselves, is moved to the
      middle between them: one picture's time is wrong.
    - A time that goes back, with the next ones following on from there, begins anew: what
      follows is joined on, one period after the last. So does a time that leaps far ahead, where
      nothing confirms it: at the end, and in formats whose clock may break off.
    """

    def __init__(self, period: Fraction, may_break: bool = False) -> None:
        """Start a clock.

        `period` in seconds is how long a picture is shown where its time does not say;
        `may_break` says that the format allows its clock to leap (MPEG transport streams).
        """
        self.period = period
        self.first: Fraction | None = None
        self.last: Fraction | None = None
        self._longest = Fraction(0)  # step between believed times
        self._may_break = may_break
        self._shift = Fraction(0)  # from stored times to ours
        self._index = -1
        self._moved, self._joined = _Tally(), _Tally()

    @property
    def elapsed(self) -> Fraction:
        """How long the pictures read so far last, in seconds."""
        if self.first is None or self.last is None:
            return Fraction(0)
        return self.last + self.period - self.first

    def read(
        self, stored: Iterable[tuple[Item, Fraction | None]]
    ) -> Iterator[tuple[Item, Fraction]]:
        """Yield each item with its time; one item is read ahead."""
        end: list[tuple[Any, None]] = [(None, None)]
        for (item, time), (_, following) in pairwise(chain(stored, end)):
            self._index += 1
            self.last = self._settle(time, following)
            self.first = self.last if self.first is None else self.first
            yield item, self.last

    def warnings(self) -> Iterator[str]:
        """Yield a line for each kind of time that was put right."""
        if self._joined.count:
            yield (
                f"its clock breaks off at {self._joined}; what follows is joined on without a gap"
            )
        if self._moved.count:
            yield f"the time of {self._moved} does not fit its neighbours'; put between them"

    def _settle(self, time: Fraction | None, following: Fraction | None) -> Fraction:
        after = None if following is None else following + self._shift
        if self.last is None:
            if time is None:
                return Fraction(0) if after is None else after - self.period
            return time
        last, expected = self.last, self.last + self._usual_step
        between = (last + after) / 2 if after is not None and last < after else None
        if time is None:
            return expected if between is None else min(expected, between)
        time += self._shift
        if between is not None and after is not None and (time <= last or after < time):
            self._moved.add(self._index)
            return between
        if time <= last or self._leaps(time - last, at_end=after is None):
            self._joined.add(self._index)
            self._shift += expected - time
            return expected
        self._longest = max(self._longest, time - last)
        return time

    @property
    def _usual_step(self) -> Fraction:
        # a stated rate may be the mean over a leap: no step seen so far was as long as its period
        return min(self.period, self._longest) if self._longest else self.period

    def _leaps(self, step: Fraction, at_end: bool) -> bool:
        far = max(FAR, FAR_PERIODS * self._usual_step, FAR_STEPS * self._longest)
        return (step > far and (self._may_break or at_end)) or step > IMPOSSIBLE


@dataclass
class _Tally:
    """How many frames are affected, and the first of them."""

    count: int = 0
    first: int = 0

    def add(self, index: int) -> None:
        self.first = self.first if self.count else index
        self.count += 1

    def __str__(self) -> str:
        more = f" and {self.count - 1} more" if self.count > 1 else ""
        return f"frame {self.first}{more}"
