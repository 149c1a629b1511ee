"""The actors of a pool on a Ray cluster: they run on its nodes. Must not import torch or Ray."""

import logging
import os
import socket
from dataclasses import dataclass
from typing import Any

from vostool.errors import DeviceError, InputError, VostoolError
from vostool.scale.work import (
    Advanced,
    Died,
    Ended,
    Load,
    Loaded,
    Logged,
    Unusable,
    Work,
    attempt,
    unusable,
)
from vostool.threads import limit_threads


@dataclass(frozen=True)
class Placed:
    """An actor has a place on a node."""


class Actor:
    """What runs on a node; two threads call it: one works, the other says how far that is."""

    def __init__(self, threads: int) -> None:
        """Use so many threads of a CPU."""
        limit_threads(threads)  # torch is not imported yet
        self._work: Work[Any, Any] | None = None
        self._messages = Messages()
        self._advanced: Advanced | None = None
        self._stopped = False

    def place(self) -> list[Placed]:
        """Say that there is a place for it: only then can it be called."""
        return [Placed()]

    def load(self, load: Load[Any, Any], folder: str) -> list[Loaded | Unusable]:
        """Load, in the folder that paths count from."""
        try:
            os.chdir(folder)
            self._work = load()
        except OSError as error:
            words = f"{socket.gethostname()}: {folder}: {error.strerror}; all nodes must share it"
            return [Unusable(InputError(words))]
        except Exception as error:
            return [unusable(error)]
        logging.getLogger("vostool").addHandler(self._messages)
        return [Loaded(socket.gethostname())]

    def run(self, job: Any) -> list[Logged | Ended | Died]:
        """Do a job; return what was logged since the last look, and how it ended."""
        self._advanced = None
        if self._work is None:
            raise VostoolError("an actor was given a job before it has loaded")
        try:
            ended = attempt(self._work, job, self._advance)
        except KeyboardInterrupt:
            ended = Died(DeviceError("it was interrupted"))
        return [*self._messages.take(), ended]

    def _advance(self, done: int, total: int | None, words: str) -> None:
        if self._stopped:
            raise KeyboardInterrupt
        self._advanced = Advanced(done, total)

    def look(self) -> list[Logged | Advanced]:
        """Return what was logged since the last look, and how far the job at hand is."""
        return [*self._messages.take(), *([self._advanced] if self._advanced else [])]

    def stop(self) -> None:
        """Interrupt the job at hand at its next frame."""
        self._stopped = True


class Messages(logging.Handler):
    """Keeps warnings until they are taken."""

    def __init__(self) -> None:
        """Keep none so far."""
        super().__init__(logging.WARNING)
        self._kept: list[Logged] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        self._kept.append(Logged(record.getMessage()))

    def take(self) -> list[Logged]:
        """Return those kept so far, once."""
        taken, self._kept = self._kept, []
        return taken
