"""How far many jobs are, on stderr: on one screen, as a line now and then, or as JSON lines."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from vostool.progress import (
    JSON_SECONDS,
    SECONDS,
    ProgressForm,
    make_console,
    print_warnings,
)

if TYPE_CHECKING:
    from rich.console import Console

    from vostool.scale.scheduler import Running, Standing

SHOWN = 8  # running jobs, at most
REFRESH = 0.25  # seconds between two pictures on a terminal

Show = Callable[["Standing"], object]


@contextmanager
def show_standing(
    title: str, quiet: bool, unit: str = "videos", form: ProgressForm = ProgressForm.AUTO
) -> Iterator[Show]:
    """Yield a callback that shows how far all jobs are, and print the log's warnings meanwhile.

    `quiet` silences warnings, and progress unless its form is JSON.
    """
    console = make_console()
    with print_warnings(quiet):
        if form is ProgressForm.JSON:
            yield seldom(JSON_SECONDS, json_line(title, unit))
        elif quiet:
            yield lambda _: None
        elif console.is_terminal:
            with screen(title, unit, console) as show:
                yield seldom(REFRESH, show)
        else:
            yield seldom(SECONDS, line(title, unit), first=False)


def seldom(seconds: float, show: Show, first: bool = True) -> Show:
    """Return a callback that calls another one once in so many seconds, and when all have ended."""
    last = time.perf_counter() - (seconds if first else 0)

    def now_and_then(standing: "Standing") -> None:
        nonlocal last
        now = time.perf_counter()
        if now - last >= seconds or (first and standing.ended == standing.total):
            last = now
            show(standing)

    return now_and_then


def json_line(title: str, unit: str) -> Show:
    """Return what prints a JSON document.

    Its keys are those of `vostool.progress.json_lines`, where done does not count what failed,
    and besides `failed`, and `running`: of each job name, worker, done, total, per_second.
    """
    started = time.perf_counter()

    def show(standing: "Standing") -> None:
        seconds = time.perf_counter() - started
        left = standing.seconds_left
        document: dict[str, Any] = {
            "title": title,
            "unit": unit,
            "words": "",
            "done": standing.done,
            "total": standing.total,
            "per_second": round(standing.ended / seconds, 3) if seconds > 0 else 0.0,
            "seconds_left": None if left is None else round(left, 1),
            "failed": standing.failed,
            "running": [asdict(each) for each in standing.running],
        }
        print(json.dumps(document), file=sys.stderr, flush=True)

    return show


def line(title: str, unit: str) -> Show:
    """Return what prints a line."""

    def show(standing: "Standing") -> None:
        running = ", ".join(map(speed, standing.running[:SHOWN]))
        more = len(standing.running) - SHOWN
        words = f"  {running}" + (f" and {more} more" if more > 0 else "")
        print(f"{title}: {summary(standing, unit)}{words}".rstrip(), file=sys.stderr, flush=True)

    return show


def summary(standing: "Standing", unit: str) -> str:
    """Return how many are done and failed, and the time left."""
    failed = f", {standing.failed} failed" if standing.failed else ""
    seconds = standing.seconds_left
    left = "" if seconds is None else f", {timedelta(seconds=round(seconds))} left"
    return f"{standing.done} of {standing.total} {unit}{failed}{left}"


def speed(running: "Running") -> str:
    """Return the name of a job with its frames per second."""
    return f"{running.name} {running.per_second:.1f}/s"


@contextmanager
def screen(title: str, unit: str, console: "Console") -> Iterator[Show]:
    """Yield what redraws a bar for all jobs, and one for each that is running."""
    from rich.progress import BarColumn, Progress, TaskID, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),  # names are shown as they are
        BarColumn(),
        TextColumn("{task.fields[words]}", markup=False),
    )
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        whole = progress.add_task(title, total=None, words="")
        rows: dict[str, TaskID] = {}

        def show(standing: "Standing") -> None:
            words = summary(standing, unit)
            progress.update(whole, completed=standing.ended, total=standing.total, words=words)
            shown = {each.worker: each for each in standing.running[:SHOWN]}
            for worker in rows.keys() - shown.keys():
                progress.remove_task(rows.pop(worker))
            for worker, each in shown.items():
                if worker not in rows:
                    rows[worker] = progress.add_task("", total=None, words="")
                progress.update(
                    rows[worker],
                    description=f"  {each.name}",
                    completed=each.done,
                    total=each.total,
                    words=f"{each.done} of {each.total or '?'} frames, {each.per_second:.1f}/s",
                )
            progress.refresh()

        yield show
