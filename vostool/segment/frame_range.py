"""The range of a job's frames, given by numbers or by times."""

from dataclasses import replace
from typing import Any

from vostool.errors import UsageError
from vostool.media.time_codes import Position, TimeCode, frame_numbers
from vostool.segment.job import Job


def with_range(job: Job, start: Position | None, end: Position | None) -> Job:
    """Return a job with another first frame, and another one to stop before; None: as before.

    Raises UsageError for numbers that leave no frame.
    """
    job = replace(job, **range_changes(start, end))
    check_range(job)
    return job


def range_changes(start: Position | None, end: Position | None) -> dict[str, Any]:
    """Return the fields of a job that another range changes."""
    changes: dict[str, Any] = {}
    for name, position in (("start", start), ("end", end)):
        if isinstance(position, TimeCode):
            changes[f"{name}_time"] = position
        elif position is not None:
            changes |= {name: position, f"{name}_time": None}
    return changes


def with_frame_numbers(job: Job) -> Job:
    """Return a job whose times have become the numbers of the frames that are shown then.

    Raises InputError for a video that cannot be read, UsageError where no frame is left.
    """
    times = {"start": job.start_time, "end": job.end_time}
    codes = {name: time for name, time in times.items() if time is not None}
    if not codes:
        return job
    video = job.input.again(", ".join(f"--{name} {time}" for name, time in codes.items()))
    found = frame_numbers(set(codes.values()), video, job.input.rate)
    numbers: dict[str, Any] = {name: found[time] for name, time in codes.items()}
    job = replace(job, **numbers, start_time=None, end_time=None)
    check_range(job)
    return job


def check_range(job: Job) -> None:
    """Raise UsageError if a job's range is empty, as far as that is known by numbers."""
    if job.start_time is not None or job.end_time is not None:
        return
    if job.end is not None and job.end <= job.start:
        raise UsageError(f"start {job.start}, end {job.end}: the range is empty")
