"""Masks on stdout: `vostool segment -o -`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, BinaryIO

from vostool.errors import UsageError

if TYPE_CHECKING:
    from vostool.segment.job import Job

STDOUT = Path("-")


def check_stdout(**flags: object) -> None:
    """Raise UsageError for options that do not go with masks on stdout.

    Also if stdout is a terminal, or closed.
    """
    for name, is_given in flags.items():
        if is_given:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(f"-o - writes masks to stdout and nothing else; expected no {option}")
    if sys.__stdout__ is None:
        raise UsageError("-o -: stdout is closed; send it to a program or into a file")
    if sys.stdout.isatty():
        raise UsageError("-o -: stdout is a terminal; send it to a program or into a file")


@contextmanager
def piped(job: "Job") -> Iterator[tuple["Job", BinaryIO | None]]:
    """Give a job and where its masks go besides: stdout, if that is its output.

    All else that it writes then lies in a folder that is removed at the end.
    """
    if job.output != STDOUT:
        yield job, None
        return
    with TemporaryDirectory(prefix="vostool-") as folder, binary_stdout() as sink:
        yield replace(job, output=Path(folder) / "run", outputs=(), states=False), sink


@contextmanager
def binary_stdout() -> Iterator[BinaryIO]:
    """Give stdout for bytes; whatever is printed meanwhile, by libraries too, goes to stderr."""
    sys.stdout.flush()
    number = sys.stdout.fileno()
    sink = os.fdopen(os.dup(number), "wb")
    os.dup2(sys.stderr.fileno(), number)
    try:
        yield sink
    finally:
        with suppress(OSError):  # nobody reads it any more, which is reported
            sys.stdout.flush()
        os.dup2(sink.fileno(), number)
        with suppress(OSError):
            sink.close()
