"""The report of a batch, batch.json: every job, where it ran, how long and how fast.

A shard of a batch writes its own, such as batch-3of16.json; `merge` makes one of them all.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from pydantic import ValidationError

from vostool import __version__
from vostool.errors import InputError, OutputError
from vostool.files import make_folder, read_text, remove, write_bytes
from vostool.files.claims import OVERWRITE, refuse_to_replace
from vostool.files.documents import Document, problem
from vostool.files.remote import Remote
from vostool.scale.shards import WHOLE, Shard
from vostool.segment.batch import Outcome

SCHEMA_VERSION = 1
FOREIGN = f"exists already, and is not the report of a batch; {OVERWRITE}"
SHARD_FILE = re.compile(r"batch-([0-9]+)of([0-9]+)\.json")

# "elsewhere": another process was at work on it; in this order one is told of several
JobStatus = Literal["done", "already done", "failed", "elsewhere"]
BatchStatus = Literal["done", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class JobEntry:
    """How a job of a batch ended. There may be a million: it takes little memory."""

    number: int  # its place among the jobs, from 1
    video: str
    output: str
    status: JobStatus
    worker: str
    began: float  # seconds since the batch did
    seconds: float
    tries: int
    frames: int | None = None  # that the video has, and how fast they were followed
    fps: float | None = None
    warnings: int = 0
    error: str | None = None
    exit_code: int = 0
    kind: str | None = None  # of error

    @classmethod
    def of(cls, outcome: Outcome) -> "JobEntry":
        """Return the entry of an outcome."""
        report, error = outcome.report, outcome.error
        status: JobStatus = "already done" if outcome.already else "done"
        if error is not None:
            status = "failed"
        return cls(
            number=outcome.number,
            video=str(outcome.job.video),
            output=outcome.job.upload or str(outcome.job.output),
            status="elsewhere" if outcome.elsewhere else status,
            worker=outcome.worker,
            began=round(outcome.began, 3),
            seconds=round(outcome.seconds, 3),
            tries=outcome.tries,
            frames=report.frames if report else None,
            fps=report.fps.end_to_end if report else None,
            warnings=len(report.warnings) if report else 0,
            error=None if error is None else str(error),
            exit_code=0 if error is None else error.exit_code,
            kind=None if error is None else type(error).__name__,
        )


class WorkerUse(Document):
    """How much a worker had to do."""

    worker: str
    jobs: int
    frames: int
    busy: float  # seconds
    share: float  # busy, of the time that the batch took

    @property
    def videos(self) -> str:
        """How many videos it did, in words."""
        return "1 video" if self.jobs == 1 else f"{self.jobs} videos"


class BatchReport(Document):
    """What became of the jobs of a table."""

    schema_version: int = SCHEMA_VERSION
    vostool: str = __version__
    table: str
    rows: int  # jobs of the table, also those of other shards
    shard: str | None = None
    status: BatchStatus
    started: datetime
    seconds: float
    totals: dict[JobStatus, int]
    frames: int  # followed in that time
    frames_per_second: float | None
    workers: list[WorkerUse]
    jobs: list[JobEntry]

    @classmethod
    def of(
        cls,
        table: Path | str,
        rows: int,
        entries: Iterable[JobEntry],
        started: datetime,
        *,
        seconds: float,
        status: BatchStatus = "done",
        shard: Shard = WHOLE,
    ) -> "BatchReport":
        """Return the report of jobs that have ended."""
        jobs = sorted(entries, key=lambda entry: entry.number)
        frames = sum(entry.frames or 0 for entry in jobs if entry.status == "done")
        return cls(
            table=str(table),
            rows=rows,
            shard=None if shard == WHOLE else str(shard),
            status=status,
            started=started,
            seconds=round(seconds, 3),
            totals=totals(jobs),
            frames=frames,
            frames_per_second=round(frames / seconds, 2) if seconds > 0 else None,
            workers=list(utilisation(jobs, seconds)),
            jobs=jobs,
        )


def totals(entries: Sequence[JobEntry]) -> dict[JobStatus, int]:
    """Return how many jobs ended in each way."""
    return {name: sum(each.status == name for each in entries) for name in get_args(JobStatus)}


def utilisation(entries: Iterable[JobEntry], seconds: float) -> Iterator[WorkerUse]:
    """Yield how much each worker had to do in so many seconds."""
    jobs = defaultdict[str, list[JobEntry]](list)
    for entry in entries:
        jobs[entry.worker].append(entry)
    for worker, mine in sorted(jobs.items()):
        busy = sum(entry.seconds for entry in mine)
        yield WorkerUse(
            worker=worker,
            jobs=len(mine),
            frames=sum(entry.frames or 0 for entry in mine if entry.status == "done"),
            busy=round(busy, 3),
            share=round(busy / seconds, 3) if seconds > 0 else 0.0,
        )


def report_path(folder: Path, shard: Shard = WHOLE) -> Path:
    """Return where the report of a batch lies, or that of a shard of it."""
    name = "batch" if shard == WHOLE else f"batch-{shard.number}of{shard.count}"
    return folder / f"{name}.json"


def write_report(path: Path, report: BatchReport) -> None:
    """Write a report, all or nothing; raises OutputError."""
    make_folder(path.parent)
    write_bytes(path, report.model_dump_json(indent=1).encode() + b"\n")


def read_batch_report(path: Path) -> BatchReport:
    """Return the report of a batch; raises InputError."""
    return parse_batch_report(read_text(path, "the report of a batch"), path)


def parse_batch_report(content: str | bytes, where: Path | str) -> BatchReport:
    """Return the report of a batch that was found somewhere; raises InputError."""
    try:
        return BatchReport.model_validate_json(content)
    except ValidationError as error:
        raise InputError(f"{where}: expected the report of a batch: {problem(error)}") from error


def picture_path(path: Path) -> Path:
    """Return where the picture of a batch lies: beside its report."""
    return path.with_suffix(".png")


def removal(path: Path, overwrite: bool = False, *, drawn: bool = False) -> Callable[[], None]:
    """Return what removes the report of a former run of a batch, and its picture.

    `drawn` says that there will be a picture. Raises OutputError for anything else of these
    names, unless it is to be replaced.
    """
    picture, there = picture_path(path), path.exists()
    if there and not overwrite:
        try:
            read_batch_report(path)
        except InputError as error:
            raise OutputError(f"{path}: {FOREIGN}") from error
    elif drawn and not overwrite:
        refuse_to_replace([picture])
    # the report, which accounts for the picture, last
    mine = (picture, path) if there or drawn else ()

    def clear() -> None:
        for each in mine:
            remove(each)

    return clear


def removal_at(
    address: str, name: str, overwrite: bool = False, *, drawn: bool = False
) -> Callable[[], None]:
    """Return what removes the report of a former run from an address, as `removal` does."""
    target, where = Remote.at(address), f"{address.rstrip('/')}/{name}"
    picture = picture_path(Path(name)).name
    found, content = target.names() & {name, picture}, target.read(name)
    if content is not None and not overwrite:
        try:
            parse_batch_report(content, where)
        except InputError as error:
            raise OutputError(f"{where}: {FOREIGN}") from error
    elif drawn and picture in found and not overwrite:
        raise OutputError(f"{address.rstrip('/')}/{picture}: exists already; {OVERWRITE}")
    mine = found if drawn or content is not None else ()
    # the report, which accounts for the picture, last
    return partial(target.remove, sorted(mine, reverse=True))


def merge(folder: Path) -> BatchReport:
    """Return one report of the reports of all shards in a folder.

    Raises InputError unless each is there, has ended, and is of the same table.
    """
    shards = sorted(shards_in(folder), key=lambda shard: shard.number)
    if not shards:
        raise InputError(f"{folder}: expected reports of shards, batch-1of16.json …, found none")
    paths = {shard: report_path(folder, shard) for shard in shards}
    count = shards[0].count
    for shard, path in paths.items():
        if shard.count != count:
            words = f"expected a report of one of {count} shards; remove those of a former run"
            raise InputError(f"{path}: {words}")
    for number in range(1, count + 1):
        shard = Shard(number, count)
        if shard not in paths:
            path = report_path(folder, shard)
            raise InputError(f"{path}: not found; run --shard {shard} to its end")
    reports = {shard: read_batch_report(path) for shard, path in paths.items()}
    first = reports[shards[0]]
    for shard, report in reports.items():
        if report.status != "done":
            raise InputError(f"{paths[shard]}: {report.status}; run --shard {shard} to its end")
        if report.rows != first.rows:
            words = f"of a table of {report.rows} videos, {paths[shards[0]]} of {first.rows}"
            raise InputError(f"{paths[shard]}: {words}; run all shards with the same table")
    return joined(list(reports.values()))


def joined(reports: Sequence[BatchReport]) -> BatchReport:
    """Return one report of several: of each job the entry that says most of it."""
    started = min(report.started for report in reports)
    rank = {status: place for place, status in enumerate(get_args(JobStatus))}
    best: dict[int, JobEntry] = {}
    ended = started
    for report in reports:
        later = (report.started - started).total_seconds()
        ended = max(ended, report.started + timedelta(seconds=report.seconds))
        for entry in report.jobs:
            known = best.get(entry.number)
            if known is None or rank[entry.status] < rank[known.status]:
                best[entry.number] = replace(entry, began=round(entry.began + later, 3))
    return BatchReport.of(
        reports[0].table,
        reports[0].rows,
        best.values(),
        started,
        seconds=(ended - started).total_seconds(),
    )


def shards_in(folder: Path) -> Iterator[Shard]:
    """Yield the shards that have left their reports in a folder."""
    for path in folder.glob("batch-*of*.json"):
        form = SHARD_FILE.fullmatch(path.name)
        if form is not None:
            yield Shard(int(form[1]), int(form[2]))
