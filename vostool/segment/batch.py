"""Many videos in one process: one job after the other, and as few models as they need.

A job that fails does not stop the others, and one that is done already, by the same options,
is not repeated.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

from vostool.errors import InputError, VostoolError
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor, load_predictor
from vostool.inference.states import FOLDER
from vostool.progress import ProgressCallback, no_progress
from vostool.segment.frame_range import with_frame_numbers
from vostool.segment.job import Job, is_alike
from vostool.segment.remote import is_remote, segment_remote
from vostool.segment.report import RunReport, read_report
from vostool.segment.run import segment
from vostool.segment.writers import file_of

Load: TypeAlias = Callable[[ModelOptions], Predictor]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job: its report or its error."""

    job: Job
    report: RunReport | None = None
    error: VostoolError | None = None
    already: bool = False  # it was done before


def segment_all(
    jobs: Sequence[Job],
    predictor: Predictor,
    progress: ProgressCallback = no_progress,
    load: Load = load_predictor,
) -> Iterator[Outcome]:
    """Run jobs one after the other, and yield the outcome of each, also of those that fail.

    A job with model options of its own has its model loaded by `load`; of these the one used last
    is kept. `progress` is called as that of `segment`, with the video's name and place.
    KeyboardInterrupt gets a note of how many are done.
    """
    done = 0
    load_once = lru_cache(maxsize=1)(load)
    for number, job in enumerate(by_model(jobs), start=1):
        words = f"{job.input.path.name}, {number} of {len(jobs)} videos"

        def report(done: int, total: int | None, _: str, words: str = words) -> None:
            progress(done, total, words)

        try:
            outcome = outcome_of(job, predictor, report, load_once)
        except KeyboardInterrupt as stop:
            stop.add_note(f"{done} of {len(jobs)} videos are done")
            raise
        done += outcome.error is None
        yield outcome


def by_model(jobs: Sequence[Job]) -> list[Job]:
    """Return jobs with those of the same model after each other, else in their order."""
    order: dict[int, int] = {}
    for job in jobs:
        order.setdefault(id(job.model), len(order))
    return sorted(jobs, key=lambda job: order[id(job.model)])


def outcome_of(
    job: Job, predictor: Predictor, progress: ProgressCallback, load: Load = load_predictor
) -> Outcome:
    """Run a job unless it is done, and return its outcome; raises only KeyboardInterrupt."""
    try:
        if job.model is not None:
            predictor = load(job.model)
        if is_remote(job):
            report, done = segment_remote(job, predictor, progress)
            return Outcome(job, report, already=done)
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
    if report is None or not is_alike(job, predictor, report):
        return None
    paths = (job.output / file_of(name) for name in job.outputs)
    if report.status == "done" and not all(path.exists() for path in paths):
        return report.model_copy(update={"status": "failed", "error": "outputs are missing"})
    return report
