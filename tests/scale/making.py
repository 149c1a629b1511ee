"""Work for workers that needs no network."""

import os
import signal
import time
from pathlib import Path

from vostool.errors import InputError, WeightsError
from vostool.progress import ProgressCallback
from vostool.scale.work import Work

KILL, SLEEP = "kill", "sleep"  # what a job may ask for


def load() -> Work[str, tuple[str, int]]:
    """Return the work: the name of a job, with the process that did it."""
    return do


def load_nothing() -> Work[str, str]:
    """Fail to load."""
    raise WeightsError("w.safetensors: no such file")


def load_wrongly() -> Work[str, str]:
    """Fail to load, as a library does."""
    raise RuntimeError("no kernel image")


def do(job: str, progress: ProgressCallback) -> tuple[str, int]:
    """Do a job, "KIND PATH" or a mere name; a "kill" dies unless its path exists."""
    progress(1, 2, "")
    kind, _, path = job.partition(" ")
    if kind == KILL and not Path(path).exists():
        Path(path).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == SLEEP:
        try:
            Path(path).write_text(str(os.getpid()))  # from then on it may be interrupted
            time.sleep(600)
        except KeyboardInterrupt:
            Path(path).write_text("interrupted")
            raise
    if kind == "bad":
        raise InputError(f"{path}: no video")
    return job, os.getpid()
