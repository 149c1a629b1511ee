"""Many videos: a table of jobs, and a pool of workers that have each loaded the model.

A job that fails does not stop the others, and one that is done already, by the same options,
is not repeated.
"""

import csv
import io
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from vostool.allocator import bound_arenas
from vostool.errors import DeviceError, InputError, OutputError, UsageError, VostoolError
from vostool.files import read_text
from vostool.files.claims import HEARTBEAT
from vostool.inference.absence import parse_absent
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor, load_predictor
from vostool.inference.states import FOLDER
from vostool.media.inputs import parse_input
from vostool.media.mask_options import MaskOption
from vostool.media.time_codes import Position, parse_position
from vostool.progress import ProgressCallback
from vostool.scale.scheduler import Standing, longest_first, run_all
from vostool.scale.shards import WHOLE, Shard
from vostool.scale.work import Alone, Pool, Task, Work
from vostool.segment.cost import Measure, alike
from vostool.segment.frame_range import with_frame_numbers, with_range
from vostool.segment.job import OLDER, Job, options_of
from vostool.segment.report import RunReport, read_report
from vostool.segment.run import segment
from vostool.segment.writers import check_outputs, file_of, read_names

COLUMNS = ("video", "mask", "output", "start", "end", "absent", "write")
NEEDED = COLUMNS[:2]
BETWEEN = ";"  # several masks, or absent stretches, in one cell


@dataclass(frozen=True)
class Done:
    """What a job that did not fail comes to."""

    report: RunReport
    already: bool = False  # it was done before


@dataclass(frozen=True)
class Outcome:
    """How a job ended, with its report or its error, and where and when that was."""

    job: Job
    number: int  # its place among the jobs, from 1
    report: RunReport | None
    error: VostoolError | None
    already: bool  # it was done before
    elsewhere: bool  # another process is at work on it
    worker: str
    began: float  # seconds since the batch did
    seconds: float
    tries: int
    own: bool = True  # False: taken over from another shard


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


@dataclass(frozen=True)
class LoadModel:
    """What a worker loads: called, it returns what segments a job by the model of some options."""

    options: ModelOptions
    patience: float = 0.0  # see `run_job`

    def __call__(self) -> Work[Job, Done]:
        """Return what `run_job` does with the model; raises what `load_predictor` does."""
        bound_arenas()
        return partial(run_job, load_predictor(self.options), patience=self.patience)


def alone(predictor: Predictor) -> Alone[Job, Done]:
    """Return the pool that is this process, in which the model is loaded already."""
    return Alone(partial(run_job, predictor))


def segment_all(
    jobs: Sequence[Job],
    pool: Pool[Job],
    *,
    measure: Measure = alike,
    shard: Shard = WHOLE,
    more: Iterable[int] = (),
    report: Callable[[Standing], object] = lambda _: None,
) -> Iterator[Outcome]:
    """Run the jobs of a shard, and yield the outcome of each as it ends, also of those that fail.

    Those that `measure` says are the longest begin first. Then come those that `more` has the
    numbers of: it is asked whenever a worker is free. One that another process is at work on is
    an error, but not where there are other shards. Raises what `run_all` does.
    """

    def task(number: int, cost: float = 1.0) -> Task[Job]:
        job = jobs[number - 1]
        return Task(job.input.path.name, job, cost, number)

    own = shard.own(range(1, len(jobs) + 1))
    costs = measure(shard.own(jobs))
    tasks = longest_first(map(task, own, costs))
    for result in run_all(tasks, pool, more=map(task, more), report=report, unit="videos"):
        done, error = result.value, result.error
        elsewhere = shard.count > 1 and isinstance(error, OutputError) and error.in_use
        if isinstance(error, DeviceError):  # it does not name the video itself
            error = DeviceError(f"{result.task.job.video}: {error}")
        yield Outcome(
            job=result.task.job,
            number=result.task.number,
            report=done.report if done else None,
            error=None if elsewhere else error,
            already=bool(done and done.already),
            elsewhere=elsewhere,
            worker=result.worker,
            began=result.began,
            seconds=result.seconds,
            tries=result.tries,
            own=result.task.number in own,
        )


def run_job(
    predictor: Predictor, job: Job, progress: ProgressCallback, *, patience: float = 0.0
) -> Done:
    """Run a job unless it is done; raises VostoolError or KeyboardInterrupt only.

    `patience` says how many seconds to wait for another process that is at work on it, or for the
    claim of one on another host that is no more to expire.
    """
    end = time.monotonic() + patience
    while True:
        try:
            return run_once(predictor, job, progress)
        except OutputError as error:
            if not error.in_use or time.monotonic() >= end:
                raise
            time.sleep(HEARTBEAT)
        except VostoolError:
            raise
        except OSError as error:
            words = f"{error.filename or job.video}: {error.strerror or error}"
            raise InputError(words) from error
        except Exception as error:  # unforeseen: the next video may still succeed
            words = f"{job.video}: internal error, {type(error).__name__}: {error}"
            raise VostoolError(f"{words}; run it without --batch for a traceback") from error


def run_once(predictor: Predictor, job: Job, progress: ProgressCallback) -> Done:
    """Run a job unless it is done, or another process does it meanwhile."""
    worked = False

    def report(done: int, total: int | None, words: str) -> None:
        nonlocal worked
        worked = True
        progress(done, total, words)

    job = with_frame_numbers(job)
    before = None if job.overwrite else run_before(job, predictor)
    # with states, --resume finds out whether the masks are still the same
    again = job.resume and (job.output / FOLDER).is_dir()
    if before is not None and before.status == "done" and not again:
        return Done(before, already=True)
    job = replace(job, resume=job.resume or before is not None)
    try:
        return Done(segment(job, predictor, report), already=not worked)
    except OutputError:
        now = None if job.overwrite else run_before(job, predictor)
        if now is None or now == before or now.status != "done":
            raise
        return Done(now, already=True)


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
