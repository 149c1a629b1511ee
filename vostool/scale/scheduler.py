"""The one scheduler: it deals tasks to a pool of workers, whatever these are.

A task whose worker dies is given out once more; one that fails so twice is reported as failed.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

from vostool.errors import VostoolError
from vostool.progress import Pace
from vostool.scale.work import Advanced, Died, Ended, Event, J, Logged, Pool, Task

TRIES = 2  # of a task whose worker dies
STILL = 600.0  # seconds without progress, after which it is said which task is waited for

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result(Generic[J]):
    """How a task ended: with a value or an error, where, when and after how many tries."""

    task: Task[J]
    value: Any
    error: VostoolError | None
    worker: str
    began: float  # of the last try, seconds since the first task
    seconds: float
    tries: int = 1


@dataclass(frozen=True)
class Running:
    """A task that is running: how far, and how fast."""

    name: str
    worker: str
    done: int
    total: int | None
    per_second: float


@dataclass(frozen=True)
class Standing:
    """How far all the tasks are."""

    total: int
    done: int  # without an error
    failed: int
    running: tuple[Running, ...]
    seconds_left: float | None  # None: unknown as yet

    @property
    def ended(self) -> int:
        """How many are done or failed."""
        return self.done + self.failed


@dataclass
class Given(Generic[J]):
    """A task that a worker has."""

    task: Task[J]
    worker: str
    tries: int
    began: float
    done: int = 0
    total: int | None = None
    pace: Pace = field(default_factory=Pace)
    per_second: float = 0.0
    moved: float = field(default_factory=time.monotonic)  # when it last advanced
    warned: bool = False  # that it does not

    def advance(self, event: Advanced) -> None:
        """Note how far it is."""
        if event.done != self.done:
            self.moved, self.warned = time.monotonic(), False
        self.done, self.total = event.done, event.total
        self.per_second = self.pace(event.done)

    @property
    def cost_done(self) -> float:
        """How much of its cost lies behind it."""
        return self.task.cost * min(1.0, self.done / self.total) if self.total else 0.0


class Board(Generic[J]):
    """What is known of all tasks while they run."""

    def __init__(self, tasks: Sequence[Task[J]]) -> None:
        """Begin with all of them left."""
        self.started = time.monotonic()
        self.running: dict[str, Given[J]] = {}
        self.repeated: deque[Task[J]] = deque()  # whose worker died
        self.ended: list[Result[J]] = []  # and not taken away yet
        self.total, self.done, self.failed = len(tasks), 0, 0
        self._left = sum(task.cost for task in tasks)  # cost of those not ended
        self._worked = 0.0  # cost of those ended that took any work
        self._waited: float | None = None  # seconds until the first began: workers had to load

    def add(self, task: Task[J]) -> None:
        """Count one task more."""
        self.total += 1
        self._left += task.cost

    def begin(self, task: Task[J], worker: str, tries: int) -> None:
        """Note that a worker has a task."""
        began = time.monotonic() - self.started
        self._waited = began if self._waited is None else self._waited
        self.running[worker] = Given(task, worker, tries, began)

    def see(self, worker: str, event: Event) -> None:
        """Note what has happened at a worker that has a task."""
        given = self.running[worker]
        match event:
            case Advanced():
                given.advance(event)
            case Logged(text):
                log.warning("%s: %s", given.task.name, text)
            case Ended(value, error):
                self._end(worker, value, error)
            case Died(error) if given.tries < TRIES:
                log.warning("%s: %s; it is tried again", given.task.name, error)
                self.repeated.append(self.running.pop(worker).task)
            case Died(error):
                self._end(worker, None, error)

    def _end(self, worker: str, value: Any, error: VostoolError | None) -> None:
        given = self.running.pop(worker)
        self.failed += error is not None
        self.done += error is None
        self._left -= given.task.cost
        if given.done:  # else it was done before, and says nothing about the speed
            self._worked += given.task.cost
        seconds = time.monotonic() - self.started - given.began
        self.ended.append(
            Result(given.task, value, error, worker, given.began, seconds, given.tries)
        )

    def warn_of_standstill(self) -> None:
        """Log once which tasks do not advance."""
        for each in self.running.values():
            if not each.warned and time.monotonic() - each.moved > STILL:
                each.warned = True
                log.warning(
                    "%s: no progress for %.0f min (%s); it is waited for, end its process to try "
                    "it again",
                    *(each.task.name, STILL / 60, each.worker),
                )

    def take_ended(self) -> list[Result[J]]:
        """Return the results since the last call."""
        ended, self.ended = self.ended, []
        return ended

    @property
    def standing(self) -> Standing:
        """How far all are."""
        running = tuple(
            Running(each.task.name, each.worker, each.done, each.total, each.per_second)
            for each in self.running.values()
        )
        return Standing(self.total, self.done, self.failed, running, self._seconds_left())

    def _seconds_left(self) -> float | None:
        begun = sum(each.cost_done for each in self.running.values())
        behind = self._worked + begun
        if behind <= 0 or self._waited is None:
            return None
        seconds = time.monotonic() - self.started - self._waited
        return seconds * max(0.0, self._left - begun) / behind


def longest_first(tasks: Iterable[Task[J]]) -> list[Task[J]]:
    """Return tasks by their cost, so that none is left to run alone at the end."""
    return sorted(tasks, key=lambda task: -task.cost)


def run_all(
    tasks: Sequence[Task[J]],
    pool: Pool[J],
    *,
    more: Iterable[Task[J] | None] = (),
    report: Callable[[Standing], object] = lambda _: None,
    unit: str = "jobs",
) -> Iterator[Result[J]]:
    """Run tasks in a pool, in their order, and yield the result of each as it ends.

    Once all are given out, `more` is asked for further tasks whenever a worker is free: None says
    that there is none at the moment. `report` is called whenever something has happened. Raises
    what `Pool.wait` raises; KeyboardInterrupt gets a note of how many `unit` are done, unless that
    is empty.
    """
    board = Board(tasks)

    def see(worker: str, event: Event) -> None:
        board.see(worker, event)
        report(board.standing)

    def wait() -> list[Result[J]]:
        pool.wait(see)
        board.warn_of_standstill()
        return board.take_ended()

    try:
        for upcoming in following(board, pool, tasks, more):
            if upcoming is None:
                yield from wait()
                continue
            while not pool.idle:
                yield from wait()
            worker = next(iter(pool.idle))
            task, tries = upcoming
            pool.give(worker, task.job)
            board.begin(task, worker, tries)
    except KeyboardInterrupt as stop:
        if unit:
            stop.add_note(f"{board.done} of {board.total} {unit} are done")
        raise


def following(
    board: Board[J], pool: Pool[J], tasks: Iterable[Task[J]], more: Iterable[Task[J] | None]
) -> Iterator[tuple[Task[J], int] | None]:
    """Yield what is to be given out next, and which try that is; None: nothing at the moment.

    Ends once all have ended.
    """
    waiting, others = iter(tasks), iter(more)
    exhausted = False
    while True:
        if board.repeated:
            yield board.repeated.popleft(), TRIES
        elif (task := next(waiting, None)) is not None:
            yield task, 1
        elif exhausted or (board.running and not pool.idle):
            if not board.running:
                return
            yield None
        else:
            try:
                task = next(others)
            except StopIteration:
                exhausted = True
                continue
            if task is not None:
                board.add(task)
            yield None if task is None else (task, 1)
