"""A pool of processes on this machine.

    with LocalPool(load, divide(workers=4)) as pool:
        for result in run_all(longest_first(tasks), pool):
            ...

They are spawned, so that each has a CUDA context and threads of its own; they end with the
block, and with this process, however that ends. Must not import torch.
"""

import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import FrameType, TracebackType
from typing import Any, Generic, Self

from vostool.errors import DeviceError, VostoolError
from vostool.scale.processes import end_with, without_interrupts
from vostool.scale.work import (
    GRACE,
    PATIENCE,
    SLOW,
    Advanced,
    Died,
    Ended,
    J,
    Load,
    Loaded,
    Logged,
    R,
    See,
    Share,
    Unusable,
    attempt,
    now_and_then,
    unusable,
)

log = logging.getLogger(__name__)


@dataclass
class Worker:
    """A worker process, as its parent sees it."""

    share: Share
    process: SpawnProcess
    connection: Connection
    since: float = field(default_factory=time.monotonic)  # when it was started
    loaded: bool = False
    busy: bool = False
    warned: bool = False  # that it is slow to load


class LocalPool(Generic[J, R]):
    """Worker processes, one for each share of the machine; a context manager."""

    def __init__(self, load: Load[J, R], shares: Sequence[Share]) -> None:
        """Prepare workers that call `load`, which is pickled."""
        self._load, self._shares = load, shares
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        # nothing is ever sent: workers wait for its end, which comes when this process is gone
        self._life, self._alive = self._context.Pipe(duplex=False)
        try:
            for share in self._shares:
                self._start(share)
        except BaseException:
            self._end(interrupt=True)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end(interrupt=problem is not None)

    def _start(self, share: Share) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve, args=(theirs, self._life, share), name=share.name, daemon=True
        )
        with without_interrupts():
            process.start()
            self._workers[share.name] = Worker(share, process, ours)
        theirs.close()
        with suppress(OSError):  # it has died: `wait` notices
            ours.send(self._load)

    @property
    def idle(self) -> Collection[str]:
        """The names of the workers that have loaded, and have no job."""
        return [name for name, each in self._workers.items() if each.loaded and not each.busy]

    def give(self, worker: str, job: J) -> None:
        """Send an idle worker a job."""
        self._workers[worker].busy = True
        with suppress(OSError):  # it has died: `wait` notices
            self._workers[worker].connection.send(job)

    def wait(self, see: See) -> None:
        """Wait for messages, or for the end of a worker; raises the error if none can load."""
        ends = {each.process.sentinel: each for each in self._workers.values()}
        pipes = {each.connection: each for each in self._workers.values()}
        found = wait([*pipes, *ends], PATIENCE)
        for worker in pipes.values():
            if worker.connection in found or worker.process.sentinel in found:
                self._receive(worker, see)
        for name, worker in self._workers.items():
            if not (worker.loaded or worker.warned) and time.monotonic() - worker.since > SLOW:
                worker.warned = True
                log.warning("%s has not loaded after %.0f s; it is waited for", name, SLOW)

    def _receive(self, worker: Worker, see: See) -> None:
        """Take all that a worker has sent; where nothing more can come, it has died."""
        alive = worker.process.is_alive()  # before: else its last words might come in between
        try:
            while worker.connection.poll():
                if not self._note(worker, worker.connection.recv(), see):
                    return
            if alive:
                return
        except (EOFError, OSError):
            pass
        worker.process.join(GRACE)
        self._bury(worker, death(worker.process), see)

    def _note(self, worker: Worker, message: Any, see: See) -> bool:
        """Act on a message; return whether the worker is still there."""
        match message:
            case Loaded():
                worker.loaded = True
            case Logged(text) if not worker.busy:
                log.warning("%s", text)
            case Unusable(error) | Died(error):
                self._bury(worker, error, see)
                return False
            case Ended():
                worker.busy = False
                see(worker.share.name, message)
            case Advanced() | Logged():
                see(worker.share.name, message)
        return True

    def _bury(self, worker: Worker, error: VostoolError, see: See) -> None:
        """Replace a worker that has died; one that cannot load is not replaced."""
        name = worker.share.name
        del self._workers[name]
        stop([worker], GRACE)
        if worker.loaded:
            self._start(worker.share)
            if worker.busy:
                see(name, Died(error))
        elif self._workers:
            log.warning("%s does not start: %s; the others go on", name, error)
        else:
            raise error

    def _end(self, interrupt: bool) -> None:
        """End all workers: those at work are interrupted, and keep what they have."""
        workers = list(self._workers.values())
        try:
            for worker in workers:
                if interrupt or worker.busy or not worker.loaded:
                    worker.process.terminate()
                else:
                    worker.connection.close()
            stop(workers, GRACE)
        except BaseException:  # a second Ctrl-C
            stop(workers, 0)
            raise
        finally:
            self._workers.clear()
            self._alive.close()
            self._life.close()


def death(process: SpawnProcess) -> DeviceError:
    """Return the error that says how a process ended."""
    code = process.exitcode
    how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
    return DeviceError(f"its worker process died, possibly out of memory ({how})")


def stop(workers: Collection[Worker], seconds: float) -> None:
    """Wait for processes that are about to end, and kill those that do not in time."""
    end = time.monotonic() + seconds
    for worker in workers:
        worker.process.join(max(0.0, end - time.monotonic()))
    for worker in workers:
        worker.process.kill()
        worker.process.join()
        worker.connection.close()


class Channel(logging.Handler):
    """A worker's way to its pool; takes the log's warnings too, from any thread."""

    def __init__(self, connection: Connection) -> None:
        """Send through a connection."""
        super().__init__(logging.WARNING)
        self._connection, self._sending = connection, threading.Lock()

    def send(self, message: object) -> None:
        """Send a message."""
        with self._sending:
            self._connection.send(message)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a warning."""
        self.send(Logged(record.getMessage()))


def serve(connection: Connection, life: Connection, share: Share) -> None:
    """Be a worker: load what is sent first, then do each job that is sent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    signal.signal(signal.SIGTERM, interrupt)
    threading.Thread(target=end_with, args=(life,), name="end-with-parent", daemon=True).start()
    share.take()
    with suppress(KeyboardInterrupt, EOFError, BrokenPipeError):  # the pool ends
        channel = Channel(connection)
        logging.getLogger("vostool").addHandler(channel)
        work_through(connection, channel)


def work_through(connection: Connection, channel: Channel) -> None:
    """Load, and do the jobs that come; returns if this process is no longer to be trusted."""
    try:
        work = connection.recv()()
    except Exception as error:
        channel.send(unusable(error))
        return
    channel.send(Loaded())
    while True:
        ended = attempt(work, connection.recv(), now_and_then(channel.send))
        channel.send(ended)
        if isinstance(ended, Died):
            return


def interrupt(number: int, frame: FrameType | None) -> None:
    """Interrupt the job at hand; later signals must not disturb the clean-up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt
