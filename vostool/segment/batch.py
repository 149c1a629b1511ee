"""Many videos: a table of jobs, and a pool of workers that have each loaded the model.

A job that fails does not stop the others, and one that is done already, by the same options,
is not repeated.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from vostool.allocator import bound_arenas
from vostool.errors import DeviceError, InputError, OutputError, VostoolError
from vostool.files.claims import HEARTBEAT
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor
from vostool.inference.states import FOLDER
from vostool.progress import ProgressCallback
from vostool.scale.scheduler import Standing, longest_first, run_all
from vostool.scale.shards import WHOLE, Shard
from vostool.scale.work import Alone, Pool, Task, Work
from vostool.segment.cost import Measure, alike
from vostool.segment.frame_range import with_frame_numbers
from vostool.segment.job import Job, is_alike
from vostool.segment.remote import is_remote, segment_remote
from vostool.segment.report import RunReport, read_report
from vostool.segment.run import segment
from vostool.segment.writers import seems_whole

LoadPredictor: TypeAlias = Callable[[ModelOptions], Predictor]


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


@dataclass(frozen=True)
class LoadModel:
    """What a worker loads: called, it returns what segments a job by the model of some options."""

    options: ModelOptions
    patience: float = 0.0  # see `run_job`

    def __call__(self) -> Work[Job, Done]:
        """Return what `run_job` does with the model; raises what `load_predictor` does."""
        bound_arenas()
        models = Models(load_predictor(self.options))
        return partial(run_job, models, patience=self.patience)


@dataclass
class Models:
    """The model of a batch, and of the jobs with options of their own the one used last."""

    predictor: Predictor
    load: LoadPredictor = load_predictor
    _last: tuple[ModelOptions, Predictor] | None = None

    def of(self, job: Job) -> Predictor:
        """Return the model of a job; raises what loading it does."""
        if job.model is None:
            return self.predictor
        if self._last is None or self._last[0] != job.model:
            self._last = None  # both might not fit into memory
            self._last = job.model, self.load(job.model)
        return self._last[1]


def alone(predictor: Predictor, load: LoadPredictor = load_predictor) -> Alone[Job, Done]:
    """Return the pool that is this process, in which the model is loaded already.

    `load` loads those of jobs with options of their own.
    """
    return Alone(partial(run_job, Models(predictor, load)))


def segment_all(
    jobs: Sequence[Job],
    pool: Pool[Job],
    *,
    measure: Measure = alike,
    shard: Shard = WHOLE,
    more: Iterable[int | None] = (),
    report: Callable[[Standing], object] = lambda _: None,
) -> Iterator[Outcome]:
    """Run the jobs of a shard, and yield the outcome of each as it ends, also of those that fail.

    Those of the same model follow upon each other; of these, those that `measure` says are the
    longest begin first. Then come those that `more` has the numbers of: it is asked whenever a
    worker is free, and None says that there is none at the moment. One that another process is at
    work on is an error, but not where there are other shards. Raises what `run_all` does.
    """

    def task(number: int, cost: float = 1.0) -> Task[Job]:
        job = jobs[number - 1]
        return Task(job.input.path.name, job, cost, number)

    own = shard.own(range(1, len(jobs) + 1))
    costs = measure(shard.own(jobs))
    tasks = by_model(longest_first(map(task, own, costs)))
    further = (None if number is None else task(number) for number in more)
    for result in run_all(tasks, pool, more=further, report=report, unit="videos"):
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


def by_model(tasks: Iterable[Task[Job]]) -> list[Task[Job]]:
    """Return tasks with those of the same model after each other, else in their order."""
    several = list(tasks)
    order: dict[int, int] = {}
    for task in several:  # jobs with the same options share them
        order.setdefault(id(task.job.model), len(order))
    return sorted(several, key=lambda task: order[id(task.job.model)])


def run_job(models: Models, job: Job, progress: ProgressCallback, *, patience: float = 0.0) -> Done:
    """Run a job unless it is done; raises VostoolError or KeyboardInterrupt only.

    `patience` says how many seconds to wait for another process that is at work on it, or for the
    claim of one on another host that is no more to expire.
    """
    end = time.monotonic() + patience
    while True:
        try:
            return run_once(models.of(job), job, progress)
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
    if is_remote(job):
        return Done(*segment_remote(job, predictor, progress))
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

    It is finished and has all its outputs, as far as names of files tell, or it is to be repeated:
    interrupted, killed or failed. None if there is no such run.
    """
    report = read_report(job.output)
    if report is None or not is_alike(job, predictor, report):
        return None
    found = (seems_whole(name, job.output, report.frames) for name in job.outputs)
    if report.status == "done" and not all(found):
        return report.model_copy(update={"status": "failed", "error": "outputs are missing"})
    return report
