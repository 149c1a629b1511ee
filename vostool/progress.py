"""Progress on stderr: a bar on a terminal, a line every few seconds elsewhere, or JSON lines.

Warnings that are logged meanwhile are printed too. Never imports torch.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

SECONDS = 10.0  # between lines, where there is no terminal
JSON_SECONDS = 1.0  # between JSON lines

# called with how much is done, of how much if that is known, and what is being done
ProgressCallback = Callable[[int, int | None, str], None]


class ProgressForm(StrEnum):
    """How progress is shown."""

    AUTO = "auto"  # a bar or lines
    JSON = "json"


def no_progress(done: int, total: int | None, words: str) -> None:
    """Report nothing: the callback of a caller that needs none."""


@contextmanager
def show_progress(
    title: str, quiet: bool, unit: str = "frames", form: ProgressForm = ProgressForm.AUTO
) -> Iterator[ProgressCallback]:
    """Yield a callback that shows progress, and print the log's warnings meanwhile.

    `quiet` silences warnings, and progress unless its form is JSON.
    """
    with print_warnings(quiet):
        yield from callbacks(title, quiet, unit, form)


def callbacks(title: str, quiet: bool, unit: str, form: ProgressForm) -> Iterator[ProgressCallback]:
    """Yield the callback of `show_progress`."""
    console = make_console()
    if form is ProgressForm.JSON:
        yield json_lines(title, unit)
    elif quiet:
        yield no_progress
    elif console.is_terminal:
        yield from bar(title, console, unit)
    else:
        yield lines(title, unit)


def make_console() -> "Console":
    """Return the terminal, or what stands in its place."""
    from rich.console import Console

    return Console(stderr=True)


@contextmanager
def print_warnings(quiet: bool) -> Iterator[None]:
    """Print the log's messages of warnings and worse on stderr; none if `quiet`."""
    log = logging.getLogger("vostool")
    handler = logging.NullHandler() if quiet else StderrHandler(logging.WARNING)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


class StderrHandler(logging.Handler):
    """Prints on stderr as it is at the time: a bar redirects it to print above itself."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a message."""
        print(record.getMessage(), file=sys.stderr, flush=True)


def bar(title: str, console: "Console", unit: str) -> Iterator[ProgressCallback]:
    """Yield a callback that redraws a bar in place."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),  # names are shown as they are
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit + "  {task.fields[speed]}  {task.fields[words]}", markup=False),
        TimeRemainingColumn(),
    )
    pace = Pace()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None, speed="", words="")

        def report(done: int, total: int | None, words: str) -> None:
            speed = f"{pace(done):.1f}/s"
            progress.update(task, completed=done, total=total, speed=speed, words=words)

        yield report


def lines(title: str, unit: str) -> ProgressCallback:
    """Return a callback that prints a line about every `SECONDS`, with the time left if known."""
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


def json_lines(title: str, unit: str) -> ProgressCallback:
    """Return a callback that prints a JSON document a second, and at the first and the last count.

    Its keys: `title`, `unit`, `words` (what is being done), `done`, `total` or null,
    `per_second`, and `seconds_left` or null.
    """
    import json  # which --help need not wait for

    pace, last = Pace(), -JSON_SECONDS

    def report(done: int, total: int | None, words: str) -> None:
        nonlocal last
        now = time.perf_counter()
        speed = pace(done)
        if now - last < JSON_SECONDS and done != total:
            return
        last = now
        document = {
            "title": title,
            "unit": unit,
            "words": words,
            "done": done,
            "total": total,
            "per_second": round(speed, 3),
            "seconds_left": round(max(0, total - done) / speed, 1) if total and speed else None,
        }
        print(json.dumps(document), file=sys.stderr, flush=True)

    return report


def time_left(count: int, speed: float) -> timedelta:
    """Return how long `count` more take at a speed per second, to the second, 0 or more."""
    return timedelta(seconds=round(max(0, count) / speed))


class Pace:
    """The speed of a count since its first value, which need not be 0.

    A count that falls restarts the measurement.
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
