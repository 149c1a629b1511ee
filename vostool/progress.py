"""Progress on stderr: a bar on a terminal, a line now and then elsewhere.

With it comes what the program says on the way, which it writes to its log.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

SECONDS = 10.0  # between lines, where there is no terminal

Report = Callable[[int, int | None, str], None]


@contextmanager
def show_progress(title: str, quiet: bool, unit: str = "frames") -> Iterator[Report]:
    """Give a function to call with how much is done, of how much if known, and some words."""
    with told(quiet):
        yield from reports(title, quiet, unit)


def reports(title: str, quiet: bool, unit: str) -> Iterator[Report]:
    """Yield the function that `show_progress` gives."""
    console = Console(stderr=True)
    if quiet:
        yield lambda done, total, words: None
    elif console.is_terminal:
        yield from bar(title, console, unit)
    else:
        yield lines(title, unit)


@contextmanager
def told(quiet: bool) -> Iterator[None]:
    """Print the log's lines, of warnings and worse; none if `quiet`."""
    log = logging.getLogger("vostool")
    handler = logging.NullHandler() if quiet else Teller(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class Teller(logging.Handler):
    """Prints on stderr, whatever that is by then: a bar puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        print(record.getMessage(), file=sys.stderr, flush=True)


def bar(title: str, console: Console, unit: str) -> Iterator[Report]:
    """Draw a bar that is redrawn in place."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + "  {task.fields[speed]}  {task.fields[words]}"),
        TimeRemainingColumn(),
    )
    pace = Pace()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None, speed="", words="")

        def report(done: int, total: int | None, words: str) -> None:
            speed = f"{pace(done):.1f}/s"
            progress.update(task, completed=done, total=total, speed=speed, words=words)

        yield report


def lines(title: str, unit: str) -> Report:
    """Print a line about every `SECONDS`, with the time left if it is known how much there is."""
    pace, last = Pace(), time.perf_counter()

    def report(done: int, total: int | None, words: str) -> None:
        nonlocal last
        now = time.perf_counter()
        speed = pace(done)
        if now - last >= SECONDS:
            last = now
            of = f" of {total}" if total else ""
            left = f", {time_left(total - done, speed)} left" if total and speed else ""
            print(
                f"{title}: {done}{of} {unit}, {speed:.1f}/s{left}  {words}".rstrip(),
                file=sys.stderr,
                flush=True,
            )

    return report


def time_left(count: int, speed: float) -> timedelta:
    """Return how long so many take at a speed per second, to the second; 0 for less than none."""
    return timedelta(seconds=round(max(0, count) / speed))


class Pace:
    """How fast a count goes up from the first one told, which may be anything.

    A count that falls is the first of another one.
    """

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None
        self._latest = 0

    def __call__(self, done: int) -> float:
        """Return counts per second so far; 0 the first time."""
        now = time.perf_counter()
        if self._first is None or done < self._latest:
            self._first = done, now
        self._latest = done
        count, since = self._first
        return (done - count) / (now - since) if now > since else 0.0
