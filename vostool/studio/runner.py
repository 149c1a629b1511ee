"""One thing at a time: who may paint or run the network, in which thread, and how it ends."""

import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from vostool.errors import UsageError, VostoolError
from vostool.inference.options import ModelOptions

if TYPE_CHECKING:
    from vostool.studio.engine import Engine

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Busy(UsageError):
    """Something else is being done that this would disturb."""


class Stopped(KeyboardInterrupt):
    """The user stopped a run: what is done of it is kept, as after Ctrl-C."""


@dataclass(frozen=True)
class Run:
    """What is being done, and how far it has come."""

    kind: str  # "follow", "save", "snap", "cut" or "open"
    done: int = 0
    total: int | None = None
    words: str = ""  # about the part of it that is being done


class Runner:
    """Lets one thing be done at a time; one thread owns the network.

    `revision` counts what may have changed the labels of a frame.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        """Do nothing yet; `changed` is called whenever there is something new to show."""
        self.run: Run | None = None
        self.problem: str | None = None  # why the latest run ended early
        self.revision = 0
        self.lock = threading.RLock()
        self._changed = changed
        self._stop = threading.Event()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._engine: Engine | None = None
        self._is_warm = False

    @property
    def engine(self) -> "Engine":
        """The network; imported in the thread that owns it, as PyTorch takes seconds."""
        if self._engine is None:
            from vostool.studio.engine import Engine

            self._engine = Engine()
        return self._engine

    @contextmanager
    def painting(self) -> Iterator[None]:
        """Let nothing else paint meanwhile; raises Busy if something runs."""
        with self.lock:
            self._refuse_second()
            yield
            self.revision += 1
        self._changed()

    @contextmanager
    def alone(self, run: Run) -> Iterator[None]:
        """Let nothing else paint or run meanwhile; raises Busy."""
        self._begin(run)
        try:
            yield
        finally:
            self._end()

    def ask(self, call: Callable[["Engine"], Answer]) -> Answer:
        """Return what a call returns in the network's thread; raises what it raises."""
        return self._worker.submit(lambda: call(self.engine)).result()

    def start(self, run: Run, call: Callable[["Engine"], None]) -> None:
        """Begin a run in the network's thread, and return; raises Busy.

        What goes wrong in it becomes the `problem`.
        """
        self._begin(run)
        self._worker.submit(self._do, call)

    def _do(self, call: Callable[["Engine"], None]) -> None:
        try:
            call(self.engine)
        except Stopped:
            pass
        except VostoolError as error:
            self.problem = str(error)
        except Exception as error:
            self.problem = f"internal error: {type(error).__name__}: {error}"
            log.error("%s", traceback.format_exc())
        finally:
            self._end()

    def warm_up(self, options: ModelOptions) -> None:
        """Begin to load the network, once, so that nobody waits for it later."""
        with self.lock:
            if not self._is_warm:
                self._is_warm = True
                self._worker.submit(self._load, options)

    def _load(self, options: ModelOptions) -> None:
        with suppress(VostoolError):  # whoever needs the network gets to know
            self.engine.load(options)

    def progress(self, done: int, total: int | None, words: str) -> None:
        """Note how far the run has come; raises Stopped if it is to stop."""
        if self._stop.is_set():
            raise Stopped
        if self.run is not None:
            self.run = replace(self.run, done=done, total=total, words=words)
            self._changed()

    def stop(self) -> None:
        """Stop the run after the frame at hand."""
        self._stop.set()

    def close(self) -> None:
        """Stop the run and wait for its end."""
        self.stop()
        self._worker.shutdown(wait=True)

    def _begin(self, run: Run) -> None:
        with self.lock:
            self._refuse_second()
            self.run, self.problem = run, None
            self._stop.clear()
        self._changed()

    def _end(self) -> None:
        with self.lock:
            self.run = None
            self.revision += 1
        self._changed()

    def _refuse_second(self) -> None:
        if self.run is not None:
            raise Busy(f"busy ({self.run.kind}): stop it first, or wait")
