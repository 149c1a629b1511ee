"""Many videos in one process: a table of jobs, one model for all of them.

A job that fails does not stop the others, and one that is done already, by the same options,
is not repeated.
"""

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vostool.errors import InputError, UsageError, VostoolError
from vostool.files import read_text
from vostool.inference.absence import parse_absent
from vostool.inference.predictor import Predictor
from vostool.inference.states import FOLDER
from vostool.media.inputs import parse_input
from vostool.media.mask_options import MaskOption
from vostool.media.time_codes import Position, parse_position
from vostool.progress import ProgressCallback, no_progress
from vostool.segment.frame_range import with_frame_numbers, with_range
from vostool.segment.job import OLDER, Job, options_of
from vostool.segment.report import RunReport, read_report
from vostool.segment.run import segment
from vostool.segment.writers import check_outputs, file_of, read_names

COLUMNS = ("video", "mask", "output", "start", "end", "absent", "write")
NEEDED = COLUMNS[:2]
BETWEEN = ";"  # several masks, or absent stretches, in one cell


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job: its report or its error."""

    job: Job
    report: RunReport | None = None
    error: VostoolError | None = None
    already: bool = False  # it was done before


def read_batch(path: Path, template: Job) -> list[Job]:
    """Return the jobs of a CSV file with the columns video and mask, and others of `COLUMNS`.

    The paths of videos and masks count from the file's own folder; several masks, absent
    stretches or outputs to write stand with ";" between them. Outputs lie in the template's, which
    is that of all of them, and by default are named as their videos. Empty cells take the values
    of `template`.
    Raises InputError for a file that is no such table, UsageError for jobs with the same output.
    """
    jobs: list[Job] = []
    places: dict[Path, Path] = {}
    for where, row in read_rows(path):
        job = read_row(where, path.parent, row, template)
        other = places.setdefault(job.output.resolve(), job.input.path)
        if other is not job.input.path:
            raise UsageError(
                f"{where}: {other} and {job.input} would both write {job.output}; give them "
                "folders of their own in a column output"
            )
        jobs.append(job)
    if not jobs:
        raise InputError(f"{path}: expected a header such as video,mask and a line for each video")
    return jobs


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a table, without empty cells, each with its file and line.

    Raises InputError.
    """
    rows = csv.reader(io.StringIO(read_text(path, "a CSV table"), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        check_header(path, header)
        for cells in rows:
            if row := read_cells(f"{path}:{rows.line_num}", header, cells):
                yield f"{path}:{rows.line_num}", row
    except csv.Error as error:
        raise InputError(f"{path}:{rows.line_num}: expected a CSV table: {error}") from error


def read_cells(where: str, header: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """Return the cells of a row that are not empty, by column; raises InputError."""
    if len(cells) > len(header):
        raise InputError(
            f"{where}: expected {len(header)} cells as in the header, found {len(cells)}; a comma "
            "too many, or one in a name without quotes?"
        )
    if any("\0" in cell for cell in cells):
        raise InputError(f"{where}: expected text, found a zero byte")
    return {name: cell.strip() for name, cell in zip(header, cells, strict=False) if cell.strip()}


def check_header(path: Path, header: Sequence[str]) -> None:
    """Raise InputError unless a header has the columns that are needed, and no other."""
    for number, column in enumerate(header):
        if column not in COLUMNS:
            expected = f"expected columns {', '.join(COLUMNS)} with commas between them"
            raise InputError(f"{path}:1: {expected}, found {column!r}")
        if column in header[:number]:
            raise InputError(f"{path}:1: expected each column once, found {column} twice")


def read_row(where: str, folder: Path, values: dict[str, str], template: Job) -> Job:
    """Return the job of a line; raises InputError."""
    for name in NEEDED:
        if name not in values:
            raise InputError(f"{where}: expected a {name}, found none")
    if not isinstance(parse_input(values["video"], allow_network=True), Path):
        raise InputError(
            f"{where}: expected a file or a folder of frames, found {values['video']}; segment a "
            "stream without --batch"
        )
    video = folder / values["video"]
    specs = [spec for spec in values["mask"].split(BETWEEN) if spec.strip()]
    if not specs:
        raise InputError(f"{where}: expected a mask, found {values['mask']}")
    start, end = (read_position(where, name, values.get(name)) for name in ("start", "end"))
    try:
        parse_absent(absent := tuple(filter(None, values.get("absent", "").split(BETWEEN))))
    except UsageError as error:
        raise InputError(f"{where}: {error}") from error
    changes: dict[str, Any] = {
        "video": video,
        "absent": absent,
        "masks": tuple(in_folder(spec, folder) for spec in specs),
        "output": place_within(where, template.output, values.get("output") or name_of(video)),
    }
    if "write" in values:
        changes["outputs"] = read_outputs(where, values["write"])
    try:
        return with_range(replace(template, **changes), start, end)
    except UsageError as error:
        raise InputError(f"{where}: {error}") from error


def name_of(video: Path) -> str:
    """Return the name of a video's output: a folder's whole name, a file's stem."""
    try:
        return video.resolve().name if video.is_dir() else video.stem
    except OSError:  # it cannot be accessed; reading it raises the error
        return video.stem


def place_within(where: str, folder: Path, name: str) -> Path:
    """Return a place in a folder, however it is named; raises InputError for one outside."""
    place = folder / name
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    with suppress(OSError):  # of a name too long, for instance: nothing can be written there
        inside = inside and place.resolve().is_relative_to(folder.resolve())
    if not inside:
        raise InputError(f"{where}: expected an output within {folder} (-o), found {name}")
    return place


def read_outputs(where: str, text: str) -> tuple[str, ...]:
    """Return the names of outputs; raises InputError."""
    try:
        names = read_names(text)
        check_outputs(names)
    except UsageError as error:
        raise InputError(f"{where}: {error}") from error
    return names


def read_position(where: str, name: str, text: str | None) -> Position | None:
    """Return the number of a frame or its time, if there is one; raises InputError."""
    if text is None:
        return None
    try:
        return parse_position(name, text)
    except UsageError as error:
        raise InputError(f"{where}: {error}") from error


def in_folder(spec: str, folder: Path) -> str:
    """Return what is given to --mask, such as "120:1@MASK.png", with its path in a folder."""
    option = MaskOption.parse(spec.strip())
    return str(replace(option, path=folder / option.path))


def segment_all(
    jobs: Sequence[Job],
    predictor: Predictor,
    progress: ProgressCallback = no_progress,
) -> Iterator[Outcome]:
    """Run jobs one after the other, and yield the outcome of each, also of those that fail.

    `progress` is called as that of `segment`, with the video's name and place. KeyboardInterrupt
    gets a note of how many are done.
    """
    done = 0
    for number, job in enumerate(jobs, start=1):
        words = f"{job.input.path.name}, {number} of {len(jobs)} videos"

        def report(done: int, total: int | None, _: str, words: str = words) -> None:
            progress(done, total, words)

        try:
            outcome = outcome_of(job, predictor, report)
        except KeyboardInterrupt as stop:
            stop.add_note(f"{done} of {len(jobs)} videos are done")
            raise
        done += outcome.error is None
        yield outcome


def outcome_of(job: Job, predictor: Predictor, progress: ProgressCallback) -> Outcome:
    """Run a job unless it is done, and return its outcome; raises only KeyboardInterrupt."""
    try:
        job = with_frame_numbers(job)
        before = None if job.overwrite else run_before(job, predictor)
        done = before is not None and before.status == "done"
        # with states, --resume finds out whether the masks are still the same
        if done and not (job.resume and (job.output / FOLDER).is_dir()):
            return Outcome(job, before, already=True)
        job = replace(job, resume=job.resume or before is not None)
        report = segment(job, predictor, progress)
        return Outcome(job, report, already=done and report == before)
    except VostoolError as error:
        return Outcome(job, error=error)
    except OSError as error:
        words = f"{error.filename or job.video}: {error.strerror or error}"
        return Outcome(job, error=InputError(words))
    except Exception as error:  # unforeseen: the next video may still succeed
        words = f"{job.video}: internal error, {type(error).__name__}: {error}"
        return Outcome(job, error=VostoolError(f"{words}; run it without --batch for a traceback"))


def run_before(job: Job, predictor: Predictor) -> RunReport | None:
    """Return the report of a run of the same job, by the same options, in the job's folder.

    It is finished and has all its outputs, or it is to be repeated: interrupted, killed or
    failed. None if there is no such run.
    """
    report = read_report(job.output)
    if report is None:
        return None
    # whatever these are, the masks are alike
    same: dict[str, Any] = {"overwrite": False, "states": True, "check": 0}
    found = {**OLDER, **report.options, **same}
    expected = {**options_of(job, predictor), **same}
    if report.network != predictor.identity or found != expected:
        return None
    paths = (job.output / file_of(name) for name in job.outputs)
    if report.status == "done" and not all(path.exists() for path in paths):
        return report.model_copy(update={"status": "failed", "error": "outputs are missing"})
    return report
