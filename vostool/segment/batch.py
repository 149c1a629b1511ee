"""Many videos in one process: a table of jobs, one model for all of them.

A job that fails does not stop the others, and one that is done already, by the same options,
is not done again.
"""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vostool.errors import InputError, UsageError, VostoolError
from vostool.files import read_text
from vostool.inference.predictor import Predictor
from vostool.media.masks import MOST_DIGITS
from vostool.progress import ProgressCallback, no_progress
from vostool.segment.job import Job, options_of, segment

COLUMNS = ("video", "mask", "output", "start", "end")
NEEDED = COLUMNS[:2]
BETWEEN_MASKS = ";"

Outcome = dict[str, Any] | VostoolError  # the report of a job, or what went wrong


def read_batch(path: Path, template: Job) -> list[Job]:
    """Return the jobs of a CSV file with the columns video and mask, and output, start, end.

    Paths count from the file's own folder; several masks stand with ";" between them. Where
    the table says nothing a job is as `template`, whose output is the folder for all of them.
    Raises InputError for a file that is no such table, UsageError for jobs at odds.
    """
    try:
        text = io.StringIO(read_text(path, "a CSV table"), newline="")
        rows = list(csv.DictReader(text, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: expected a CSV table: {error}") from error
    if not rows:
        raise InputError(f"{path}: expected a header such as video,mask and a line for each video")
    for column in rows[0]:
        if column not in COLUMNS:
            raise InputError(f"{path}: expected columns {', '.join(COLUMNS)}, found {column!r}")
    jobs = [
        read_row(f"{path}:{line}", path.parent, row, template) for line, row in enumerate(rows, 2)
    ]
    places: dict[Path, Path] = {}
    for job in jobs:
        other = places.setdefault(job.output.resolve(), job.video)
        if other is not job.video:
            raise UsageError(f"{path}: {other} and {job.video} would both write {job.output}")
    return jobs


def read_row(where: str, folder: Path, row: dict[str, str | None], template: Job) -> Job:
    """Return the job of a line; raises InputError."""
    values = {name: value.strip() for name, value in row.items() if value and value.strip()}
    for name in NEEDED:
        if name not in values:
            raise InputError(f"{where}: expected a {name}, found none")
    video = folder / values["video"]
    masks = tuple(in_folder(spec, folder) for spec in values["mask"].split(BETWEEN_MASKS))
    output = folder / values["output"] if "output" in values else template.output / video.stem
    start, end = (read_number(where, name, values.get(name)) for name in ("start", "end"))
    job = replace(
        template,
        video=video,
        masks=masks,
        output=output,
        start=template.start if start is None else start,
        end=template.end if end is None else end,
    )
    if job.end is not None and job.end <= job.start:
        raise InputError(f"{where}: start {job.start}, end {job.end}: the range is empty")
    return job


def read_number(where: str, name: str, text: str | None) -> int | None:
    """Return the number of a frame, if there is one; raises InputError."""
    if text is None:
        return None
    if not text.isdecimal() or len(text) > MOST_DIGITS:
        raise InputError(f"{where}: expected a frame number as {name}, found {text}")
    return int(text)


def in_folder(spec: str, folder: Path) -> str:
    """Return what is given to --mask with its path, "120:MASK.png" or "MASK.png", in a folder."""
    number, colon, name = spec.strip().partition(":")
    if colon and number.isdecimal():
        return f"{number}:{folder / name}"
    return str(folder / spec.strip())


def segment_all(
    jobs: Sequence[Job],
    predictor: Predictor,
    progress: ProgressCallback = no_progress,
) -> Iterator[tuple[Job, Outcome]]:
    """Run jobs one after the other, and yield each with what came of it.

    `progress` is called as that of `segment`, with the video's name and place.
    """
    for number, job in enumerate(jobs, start=1):
        words = f"{job.video.name}, {number} of {len(jobs)} videos"

        def tell(done: int, total: int | None, _: str, words: str = words) -> None:
            progress(done, total, words)

        try:
            yield job, finished(job, predictor) or segment(job, predictor, tell)
        except VostoolError as error:
            yield job, error


def finished(job: Job, predictor: Predictor) -> dict[str, Any] | None:
    """Return the report of a job that is done already, by the same options, if it is."""
    if job.overwrite:
        return None
    try:
        report = json.loads((job.output / "run.json").read_text(encoding="utf-8"))
        same = report["options"] == json.loads(json.dumps(options_of(job, predictor), default=str))
        done = report["status"] == "done" and report["network"] == predictor.identity
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return report if same and done else None
