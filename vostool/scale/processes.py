"""Processes that leave Ctrl-C to their parent, and do not outlive it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Have processes started in the block ignore Ctrl-C: their parent ends them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield  # a process begins with the signals blocked that its parent has blocked
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with(life: Connection) -> None:
    """End this process once the other end of a pipe is closed."""
    with suppress(EOFError, OSError):
        life.recv_bytes()
    os._exit(1)
