"""What a shard of a batch may do after its own jobs: those that others have left over.

Shards do not know of each other: reports, claims and runs in the folders of jobs say what is left.
These may lie on a slow file system. Each is looked at only when it is asked for, and now and then
`None` is yielded, nothing at the moment, so that whoever asks can see to its workers.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from vostool.errors import InputError, OutputError
from vostool.files.claims import HEARTBEAT, STALE, Holder, holder_of
from vostool.scale.shards import WHOLE, Shard
from vostool.segment.batch_report import JobEntry, read_batch_report, report_path
from vostool.segment.job import Job
from vostool.segment.report import is_marked_done

LOOK = 2.0  # seconds to look for what is left at a time
POLL = 1.0  # seconds between two looks at claims


def further(
    jobs: Sequence[Job],
    shard: Shard,
    folder: Path,
    entries: Mapping[int, JobEntry],
    *,
    overwrite: bool = False,
    report: Callable[[str], object] = lambda _: None,
) -> Iterator[int | None]:
    """Yield the numbers of jobs that a shard may do after its own; None: none at the moment.

    First what other shards have left over; not with `overwrite`, as those would do it again. Then
    those that were left to a process that turns out to be no more. `entries` are those of the jobs
    that have ended so far, and `report` is called with what is waited for.
    """
    if shard == WHOLE:
        return
    busy = set[int]()
    if not overwrite:
        yield from left_over(jobs, shard, folder, busy)
    yield from abandoned(jobs, shard, entries, busy, report)


def left_over(
    jobs: Sequence[Job], shard: Shard, folder: Path, busy: set[int]
) -> Iterator[int | None]:
    """Yield the numbers of jobs that other shards have left over as yet; None now and then.

    Those that a process seems to be at work on are added to `busy`.
    """
    until = time.monotonic() + LOOK
    for number in dealt_to_others(len(jobs), shard, folder):
        output = jobs[number - 1].output
        if is_left(output):
            yield number
        elif not is_marked_done(output):
            busy.add(number)
        if time.monotonic() > until:
            yield None
            until = time.monotonic() + LOOK


def dealt_to_others(rows: int, shard: Shard, folder: Path) -> Iterator[int]:
    """Yield the numbers of jobs that other shards may leave over.

    Of a shard that has ended, those that it left to another one; of one that has not, the last
    first, as it may still be at work.
    """
    for other in shard.others():
        theirs = reversed(other.own(range(1, rows + 1)))
        try:
            found = read_batch_report(report_path(folder, other))
        except InputError:
            pass
        else:
            # one that was interrupted has not come to its end, and an old one may be of other jobs
            if found.status == "done" and found.rows == rows:
                theirs = reversed([job.number for job in found.jobs if job.status == "elsewhere"])
        yield from theirs


def is_left(folder: Path) -> bool:
    """Return whether no run in a job's folder is done, and no process at work there."""
    try:
        return holder_of(folder) is None and not is_marked_done(folder)
    except OutputError:
        return False


def abandoned(
    jobs: Sequence[Job],
    shard: Shard,
    entries: Mapping[int, JobEntry],
    busy: set[int],
    report: Callable[[str], object],
) -> Iterator[int | None]:
    """Yield the numbers of jobs whose claims turn out to be void; None while others may be.

    Of those in `busy`, and of those that end as "elsewhere". A process that was killed on another
    host leaves a claim that is void only after a while, but nobody renews it: it is waited for
    that, or for a sign of life. Ends once that is known of all, and the own jobs have ended.
    """
    own = shard.own(range(1, len(jobs) + 1))
    watch = Watch()
    due, reported = 0.0, False
    while True:
        ended = all(number in entries for number in own)
        if ended or time.monotonic() >= due:
            due = time.monotonic() + POLL
            busy |= {number for number, each in entries.items() if each.status == "elsewhere"}
            for number in sorted(busy):
                output = jobs[number - 1].output
                void = watch.finds_void(output, last=ended)
                if void and (number in own or not is_marked_done(output)):
                    yield number  # its own also to report that it is done after all
            if ended:
                if not watch.open:
                    return
                if not reported:
                    report(watch.description)
                    reported = True
        yield None


class Watch:
    """Distinguishes claims that are renewed from those whose processes are no more."""

    def __init__(self) -> None:
        """Begin without any."""
        # claims that may be void, as they were first found, and when that was
        self._found: dict[Path, tuple[tuple[Holder, float] | None, float]] = {}
        self._settled = set[Path]()

    def finds_void(self, folder: Path, last: bool) -> bool:
        """Return whether a folder's claim turns out to be void; True once of each folder.

        Where it is not, a sign of life settles it if the `last` looks have begun.
        """
        if folder in self._settled:
            return False
        try:
            claim = holder_of(folder)
        except OutputError:  # no claim at all, which its own shard reports
            self._settled.add(folder)
            return False
        now = time.monotonic()
        known, since = self._found.setdefault(folder, (claim, now))
        at_work = claim is not None and (claim != known or claim[0].is_here)
        void = claim is None or (not at_work and now - since > STALE + HEARTBEAT)
        if void or at_work:
            del self._found[folder]
        if void or (at_work and last):
            self._settled.add(folder)
        return void

    @property
    def open(self) -> bool:
        """Whether there are claims of which it is not known yet."""
        return bool(self._found)

    @property
    def description(self) -> str:
        """What is waited for."""
        folder, *others = self._found
        more = f" and {len(others)} more" if others else ""
        return (
            f"{folder}{more}: waiting up to {STALE:.0f} s for a sign of life of the process on "
            "another host that was at work in it"
        )
