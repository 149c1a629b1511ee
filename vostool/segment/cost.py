"""About how much work jobs are, so that the longest can begin first."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from vostool.errors import VostoolError
from vostool.segment.job import Job, expected_frames

BUDGET = 2.0  # seconds that a way to measure all jobs may take
LOOK = 16  # jobs after which it is reckoned how long all will take

Measure = Callable[[Sequence[Job]], Sequence[float]]


def alike(jobs: Sequence[Job]) -> list[float]:
    """Return the same cost for all jobs."""
    return [1.0] * len(jobs)


def costs(jobs: Sequence[Job]) -> list[float]:
    """Return how much work each job is, in a unit common to all; this takes a few seconds at most.

    Frames times pixels, of which the containers are asked; where that would take too long, the
    sizes of the files; where that would too, all are alike.
    """
    for measure in (frames_times_pixels, file_size):
        found = within_budget(measure, jobs)
        if found is not None:
            return found
    return alike(jobs)


def within_budget(measure: Callable[[Job], float], jobs: Sequence[Job]) -> list[float] | None:
    """Return a measure of each job; None if that would take longer than `BUDGET`."""
    started, found = time.monotonic(), list[float]()
    for count, job in enumerate(jobs):
        if count % LOOK == 0 and count:
            seconds = time.monotonic() - started
            if seconds / count * len(jobs) > BUDGET:
                return None
        found.append(measure(job))
    return found


def frames_times_pixels(job: Job) -> float:
    """Return how many pixels the frames of a job have in all; 0 if that is unknown."""
    with suppress(VostoolError, OSError):
        info = job.input.probe()
        return float((expected_frames(job, info) or 0) * info.width * info.height)
    return 0.0


def file_size(job: Job) -> float:
    """Return how many bytes a job's video has, of a folder as far as its first picture tells."""
    path = job.input.path
    with suppress(OSError):
        size = path.stat().st_size
        if not path.is_dir():
            return float(size)
        files = list[Path](path.iterdir())
        return float(len(files) * (files[0].stat().st_size if files else 0))
    return 0.0
