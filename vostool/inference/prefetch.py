"""Decoding and writing in threads beside the network: read ahead, write behind.

All hold a bounded number of items, so that memory does not grow with a video's length.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Full, Queue
from threading import Barrier, Event, Thread
from types import TracebackType
from typing import Self, TypeAlias, TypeVar

import torch

Item = TypeVar("Item")
Call: TypeAlias = Callable[[], None]

_END = object()
GRACE = 5.0  # seconds that the end waits for an item being made; a pipe may be silent for ever


def read_ahead(items: Iterable[Item], depth: int = 4) -> Generator[Item, None, None]:
    """Yield the items while a thread makes the next ones, at most `depth` ahead.

    What the items raise is raised here, in its place. Closing the iterator ends the thread,
    as soon as the item being made is there.
    """
    queue: Queue[object] = Queue(depth)
    closed = Event()

    def put(item: object) -> bool:
        while not closed.is_set():
            try:
                queue.put(item, timeout=0.1)
            except Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END)
        except BaseException as error:
            put(_Raised(error))

    thread = Thread(target=produce, name="read-ahead", daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            yield item  # type: ignore[misc]
    finally:
        closed.set()
        thread.join(GRACE)


class _Raised:
    """An exception on its way to the thread that reads."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


def pool_beside(threads: int, name: str) -> ThreadPoolExecutor:
    """Return a pool of threads that run PyTorch's operations alone.

    By default each would have a team of OpenMP threads of its own, beside the network's.
    """
    count, started = torch.get_num_threads(), Barrier(threads + 1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=run_alone)
    try:
        for _ in range(threads):
            pool.submit(started.wait)
        started.wait()
    except BaseException:  # else the threads that have started would wait for the others for ever
        started.abort()
        pool.shutdown(wait=True)
        raise
    finally:
        torch.set_num_threads(count)  # also what threads that are started later begin with
    return pool


def run_alone() -> None:
    """Have this thread run PyTorch's operations without others."""
    torch.get_num_threads()  # else the first operation takes up the number of all threads
    torch.set_num_threads(1)


class Helpers:
    """Run the calls of one item after another in several threads; a context manager.

    There are at most as many items at a time as threads. `done` is called for each item in turn,
    once all its calls have ended. What a call raises is raised in place of that: by `settle`, by a
    `submit` that has to wait for its item, or at the end of the block; no later item is done.
    """

    def __init__(self, threads: int, done: Call) -> None:
        self._pool = pool_beside(threads, "write-helper")
        self._items: deque[list[Future[None]]] = deque()
        self._threads, self._done = threads, done

    def submit(self, calls: Iterable[Call]) -> None:
        """Start the calls of an item; waits while too many are under way."""
        self.settle(self._threads - 1)
        self._items.append([self._pool.submit(call) for call in calls])

    def settle(self, most: int = 0) -> None:
        """Wait until all but the latest `most` items are done."""
        while len(self._items) > most:
            for call in self._items[0]:
                call.result()
            self._items.popleft()
            self._done()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pool.shutdown(wait=True)
        try:
            self.settle()
        except Exception:
            if problem is None:  # else that one is raised
                raise


class WriteBehind:
    """Run calls one after another in a thread, at most `depth` waiting; a context manager.

    What a call raises is raised by the next `submit` or at the end of the block; later calls
    do not run.
    """

    def __init__(self, depth: int = 8) -> None:
        self._pool = pool_beside(1, "write-behind")
        self._waiting: deque[Future[None]] = deque()
        self._depth = depth
        self._failed = False

    def submit(self, call: Call) -> None:
        """Queue a call; waits while too many are queued."""
        while len(self._waiting) >= self._depth or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._run, call))

    def _run(self, call: Call) -> None:
        if self._failed:
            return
        try:
            call()
        except BaseException:
            self._failed = True
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            try:
                while problem is None and self._waiting:
                    self._waiting.popleft().result()
            finally:  # after an exception, too: what was segmented is written, nothing is lost
                self._pool.shutdown(wait=True)
        except BaseException:  # a second Ctrl-C: queued calls are dropped, the running one is not
            self._pool.shutdown(wait=True, cancel_futures=True)
            raise
