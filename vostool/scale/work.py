"""What the scheduler and its pools of workers exchange. Must not import torch.

A worker calls `load` once, which returns what it then calls for each job. That may raise a
VostoolError: the job is to blame, and the worker takes the next one. A DeviceError, or an error
that nobody foresaw, may have damaged the worker, so that counts as its death.
"""

import os
import socket
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from vostool.errors import DeviceError, VostoolError
from vostool.progress import ProgressCallback
from vostool.threads import limit_threads, thread_count

PATIENCE = 0.5  # seconds that a pool waits for an event at a time
GRACE = 15.0  # seconds for a worker to keep what it has, before it is killed
SLOW = 60.0  # seconds to load, after which it is said who is waited for

J = TypeVar("J")
R = TypeVar("R")
J_contra = TypeVar("J_contra", contravariant=True)

Work = Callable[[J, ProgressCallback], R]
Load = Callable[[], Work[J, R]]  # must be picklable

VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
REPORT_EVERY = 0.5  # seconds between two messages of how far a job is


@dataclass(frozen=True)
class Task(Generic[J]):
    """A job with its name, and about how much work it is, in a unit common to all."""

    name: str
    job: J
    cost: float = 1.0
    number: int = 0  # its place among all, if that matters


@dataclass(frozen=True)
class Share:
    """What a worker has of its machine; its number counts from 1."""

    number: int
    threads: int
    gpu: str | None = None  # as in CUDA_VISIBLE_DEVICES; None: no GPU of its own

    @property
    def name(self) -> str:
        """What the worker is called: where it is, and its number there."""
        gpu = "" if self.gpu is None else f", GPU {self.gpu}"
        return f"{socket.gethostname()}, worker {self.number}{gpu}"

    def take(self) -> None:
        """Restrict this process to the share; call it before torch is imported."""
        if self.gpu is not None:
            os.environ[VISIBLE_GPUS] = self.gpu
        limit_threads(self.threads)


def divide(workers: int, gpus: int = 0) -> list[Share]:
    """Return the shares of so many workers: GPUs in turn, and the threads divided."""
    stated = os.environ.get(VISIBLE_GPUS)
    names = [str(number) for number in range(gpus)] if stated is None else stated.split(",")[:gpus]
    threads = max(1, thread_count() // workers)
    return [
        Share(number + 1, threads, names[number % len(names)].strip() if gpus else None)
        for number in range(workers)
    ]


@dataclass(frozen=True)
class Loaded:
    """A worker has loaded what it needs, on some host if that is to be said."""

    where: str = ""


@dataclass(frozen=True)
class Unusable:
    """A worker cannot load what it needs."""

    error: VostoolError


@dataclass(frozen=True)
class Logged:
    """A warning in a worker's log."""

    text: str


@dataclass(frozen=True)
class Advanced:
    """How far a worker is with its job: so much of a total, if that is known."""

    done: int
    total: int | None


@dataclass(frozen=True)
class Ended:
    """A job has ended: with a value, or with the error that it is to blame for."""

    value: Any = None
    error: VostoolError | None = None


@dataclass(frozen=True)
class Died:
    """A worker is gone, or cannot be trusted any more; its job was not ended."""

    error: VostoolError


Event = Advanced | Logged | Ended | Died  # of a worker that has a job
See = Callable[[str, Event], None]  # called with a worker's name and what happened there


class Pool(Protocol[J_contra]):
    """Workers that do one job at a time each, and are replaced when they die."""

    @property
    def idle(self) -> Collection[str]:
        """The names of the workers that wait for a job."""

    def give(self, worker: str, job: J_contra) -> None:
        """Give an idle worker a job."""

    def wait(self, see: See) -> None:
        """Wait a while for events, and call `see` with each; just wait if there can be none.

        Raises a VostoolError once no worker is left.
        """


class Alone(Generic[J, R]):
    """A pool of one worker: this process."""

    def __init__(self, work: Work[J, R]) -> None:
        """Have jobs done by `work`."""
        self._work, self._name = work, f"{socket.gethostname()}, process {os.getpid()}"
        self._jobs: list[J] = []

    @property
    def idle(self) -> Collection[str]:
        """This process, unless it has a job."""
        return () if self._jobs else (self._name,)

    def give(self, worker: str, job: J) -> None:
        """Keep a job to do."""
        self._jobs.append(job)

    def wait(self, see: See) -> None:
        """Do the job; whatever its error, it is not done again in the same process."""
        if not self._jobs:
            time.sleep(PATIENCE)
        for job in self._jobs:
            ended = attempt(
                self._work, job, lambda done, total, _: see(self._name, Advanced(done, total))
            )
            see(self._name, Ended(error=ended.error) if isinstance(ended, Died) else ended)
        self._jobs.clear()


def attempt(work: Work[J, R], job: J, progress: ProgressCallback) -> Ended | Died:
    """Do a job and return how that ended; raises only KeyboardInterrupt and its like."""
    try:
        return Ended(work(job, progress))
    except DeviceError as error:
        return Died(error)
    except VostoolError as error:
        return Died(error) if type(error) is VostoolError else Ended(error=error)
    except Exception as error:
        return Died(unforeseen(error))


def unforeseen(error: Exception) -> VostoolError:
    """Return what stands for an error that nobody foresaw: workers send no others."""
    return VostoolError(f"internal error, {type(error).__name__}: {error}")


def unusable(error: Exception) -> Unusable:
    """Return what says that a worker cannot load."""
    return Unusable(error if isinstance(error, VostoolError) else unforeseen(error))


def now_and_then(tell: Callable[[Advanced], object]) -> ProgressCallback:
    """Return a callback that passes on the first call, and then one in `REPORT_EVERY` seconds."""
    last = float("-inf")

    def report(done: int, total: int | None, words: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= REPORT_EVERY:
            last = now
            tell(Advanced(done, total))

    return report
