"""Decoding and writing in threads beside the network: read ahead, write behind.

Both hold a bounded number of items, so that memory does not grow with a video's length.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Full, Queue
from threading import Event, Thread
from types import TracebackType
from typing import Self, TypeVar

Item = TypeVar("Item")

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


class WriteBehind:
    """Run calls one after another in a thread, at most `depth` waiting; a context manager.

    What a call raises is raised by the next `submit` or at the end of the block; later calls
    do not run.
    """

    def __init__(self, depth: int = 8) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="write-behind")
        self._waiting: deque[Future[None]] = deque()
        self._depth = depth
        self._failed = False

    def submit(self, call: Callable[[], None]) -> None:
        """Queue a call; waits while too many are queued."""
        while len(self._waiting) >= self._depth or (self._waiting and self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._run, call))

    def _run(self, call: Callable[[], None]) -> None:
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
            while problem is None and self._waiting:
                self._waiting.popleft().result()
            # after an exception too: what was segmented is written, nothing is lost
            self._pool.shutdown(wait=True)
        except BaseException:  # a second Ctrl-C: queued calls are dropped, the running one is not
            self._pool.shutdown(wait=True, cancel_futures=True)
            raise
