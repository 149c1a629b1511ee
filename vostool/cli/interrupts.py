"""Ctrl-C and SIGTERM: finished work is kept, and the user is shown how to continue.

Both are exceptions of the main thread. The code that they pass through closes what it writes
and adds a note of what is kept (`BaseException.add_note`).
"""

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from vostool.cli.grouped_help import Group

GO_ON, BEGIN_AGAIN = "go on with", "begin again with"
CODE, CODE_TERMINATED = 130, 143  # the shells' convention: 128 plus the signal's number


class Terminated(KeyboardInterrupt):
    """SIGTERM came: stop as for Ctrl-C."""


class Interrupted(Exception):
    """A command was interrupted; the message says what is kept and how to continue."""

    def __init__(self, cause: KeyboardInterrupt) -> None:
        self.exit_code = CODE_TERMINATED if isinstance(cause, Terminated) else CODE
        notes = "; ".join(getattr(cause, "__notes__", []))
        super().__init__(f"interrupted{': ' if notes else ''}{notes}")


class InterruptibleGroup(Group):
    """The command line, whose commands end with `Interrupted` where they are."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command; Typer itself would answer every signal with the same code."""
        try:
            with terminable():
                return super().invoke(ctx)
        except KeyboardInterrupt as stop:
            raise Interrupted(stop) from stop


@contextmanager
def terminable() -> Iterator[None]:
    """Raise Terminated for the first SIGTERM; later ones must not disturb the clean-up.

    `timeout`, for example, sends two.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ended_by_ctrl_c(stop: Callable[[], object] | None) -> Iterator[None]:
    """Let the first Ctrl-C call `stop`, if there is one, which ends the work well.

    The next Ctrl-C interrupts, as usual.
    """
    if stop is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        stop()

    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def way_on(words: str, *more: str, without: tuple[str, ...] = ()) -> Iterator[None]:
    """Add to an interruption the command that continues: the same one with other options."""
    try:
        yield
    except KeyboardInterrupt as stop:
        given = [each for each in sys.argv[1:] if each not in without]
        command = shlex.join(["vostool", *given, *(each for each in more if each not in given)])
        stop.add_note(f"{words}: {command}")
        raise
