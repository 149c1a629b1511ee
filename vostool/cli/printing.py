"""What commands print: results on stdout, everything else on stderr."""

import io
import os
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from vostool.errors import OutputError, VostoolError

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.table import Table


class GuardedStream:
    """A text stream whose first failed write is an OutputError, or with `ignore` is ignored.

    From then on nothing is written: a reader that is gone must not end a run of hours, and what
    is still buffered would have Python fail again at its end.
    """

    def __init__(self, stream: TextIO, name: str, *, ignore: bool = False) -> None:
        """Take a stream's place; `name` is for the error."""
        self._stream, self._name, self._ignore = stream, name, ignore

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            self._stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._stream.fileno())
        if not self._ignore:
            raise OutputError(f"{self._name}: cannot be written: {error.strerror}") from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def guarded_streams() -> Iterator[None]:
    """Raise OutputError where stdout cannot be written, and ignore where stderr cannot.

    Both escape what their encoding lacks. One that the caller has closed goes nowhere.
    """
    before = sys.stdout, sys.stderr
    with ExitStack() as stack:
        streams = [each or stack.enter_context(Path(os.devnull).open("w")) for each in before]
        for stream in streams:
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        sys.stdout = GuardedStream(streams[0], "stdout")
        sys.stderr = GuardedStream(streams[1], "stderr", ignore=True)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = before


def print_message(message: str, quiet: bool = False) -> None:
    """Print a line on stderr."""
    if not quiet:
        print(one_line(message), file=sys.stderr, flush=True)


@contextmanager
def library_warnings() -> Iterator[None]:
    """Print what libraries warn of as one line each, without their source; none with --quiet."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print_message(f"warning: {message}", is_given("--quiet") or is_given("-q"))

    before = warnings.showwarning
    warnings.showwarning = show
    try:
        yield
    finally:
        warnings.showwarning = before


def is_given(flag: str) -> bool:
    """Return whether the command line has a flag; it may be one that cannot be parsed."""
    arguments = sys.argv[1:]
    if "--" in arguments:
        arguments = arguments[: arguments.index("--")]
    return flag in arguments


def one_line(text: str) -> str:
    """Return a message as one line with control characters escaped."""
    joined = " ".join(line.strip() for line in text.splitlines() if line.strip())
    return "".join(
        each if each.isprintable() or unicodedata.category(each) == "Zs" else repr(each)[1:-1]
        for each in joined
    )


def print_table(table: "Table", *, on_stdout: bool = False) -> None:
    """Print a table, on stderr unless it is the result."""
    from rich.console import Console

    Console(stderr=not on_stdout).print(table)


def print_json(document: object) -> None:
    """Print a JSON document on stdout, paths and fractions as text."""
    import json

    print(json.dumps(document, default=str))


def print_result(
    report: "BaseModel | dict[str, Any]", as_json: bool, paths: tuple[str, ...]
) -> None:
    """Print the result on stdout: the whole report, or the paths in it."""
    entries = report if isinstance(report, dict) else report.model_dump(mode="json")
    if as_json:
        print_json(entries)
        return
    for name in paths:
        if entries[name] is not None:
            print(entries[name])


def print_path(path: Path, as_json: bool) -> None:
    """Print a path on stdout, unless a JSON document is printed instead."""
    if not as_json:
        print(path)


def error_document(message: str, exit_code: int, kind: str) -> dict[str, Any]:
    """Return what --json prints for a command that fails."""
    return {"error": one_line(message), "exit_code": exit_code, "kind": kind}


def document_of(error: VostoolError) -> dict[str, Any]:
    """Return what --json prints for an error of vostool."""
    return error_document(str(error), error.exit_code, type(error).__name__)
