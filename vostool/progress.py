"""Progress on stderr: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

SECONDS = 10.0  # between lines, where there is no terminal

Report = Callable[[int, int | None], None]


@contextmanager
def show_progress(title: str, quiet: bool) -> Iterator[Report]:
    """Give a function that is to be called with how much is done, and of how much if known."""
    console = Console(stderr=True)
    if quiet:
        yield lambda done, total: None
    elif console.is_terminal:
        yield from bar(title, console)
    else:
        yield lines(title)


def bar(title: str, console: Console) -> Iterator[Report]:
    """Draw a bar that is redrawn in place."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames  {task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    started = time.perf_counter()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None, speed="")

        def report(done: int, total: int | None) -> None:
            speed = f"{done / (time.perf_counter() - started):.1f}/s"
            progress.update(task, completed=done, total=total, speed=speed)

        yield report


def lines(title: str) -> Report:
    """Print a line about every `SECONDS`."""
    started = last = time.perf_counter()

    def report(done: int, total: int | None) -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last >= SECONDS:
            last = now
            of = f" of {total}" if total else ""
            print(
                f"{title}: {done}{of} frames, {done / (now - started):.1f}/s",
                file=sys.stderr,
                flush=True,
            )

    return report
