"""Atomic writing of files, and reading of text."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from vostool.errors import InputError, OutputError, VostoolError


@contextmanager
def atomic_write(path: Path, *errors: type[Exception], sync: bool = True) -> Iterator[Path]:
    """Give a path to write to, which replaces `path` once the block has ended without an error.

    Without `sync` a power cut may leave the new name to an empty file: for what is written often
    and can be made again. Raises OutputError for OSError, and for `errors` that the writer raises
    in its place; nothing is then left behind.
    """
    part = path.with_name(f"{path.name}.part")
    failures: tuple[type[Exception], ...] = (OSError, *errors)
    try:
        yield part
        if sync:
            with part.open("rb") as written:
                os.fsync(written.fileno())
        part.replace(path)
    except failures as error:
        with suppress(OSError):
            part.unlink()
        reason = getattr(error, "strerror", None) or first_line(error)
        raise OutputError(f"{path}: cannot be written: {reason}") from error


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, or else its kind."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def write_bytes(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a file, all or nothing; replaces an existing one. `sync` as for `atomic_write`.

    Raises OutputError.
    """
    with atomic_write(path, sync=sync) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode())


def read_text(path: Path, what: str = "text", error: type[VostoolError] = InputError) -> str:
    """Return the text of a file in UTF-8; `what` and `error` as for `open_text`."""
    with open_text(path, what, error) as file:
        return file.read()


@contextmanager
def open_text(
    path: Path, what: str = "text", error: type[VostoolError] = InputError
) -> Iterator[TextIO]:
    """Give a text file in UTF-8 to read, with the ends of lines as they are.

    The byte order mark that Windows puts in front is no part of the text. Raises `error` if the
    file cannot be read, is no regular file, or is no such text; `what` says what it should be.
    """
    try:
        check_regular(path, error)
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield file
    except OSError as problem:
        raise error(f"{path}: cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise error(f"{path}: expected {what} in UTF-8: {problem.reason}") from problem


def check_regular(path: Path, error: type[VostoolError] = InputError) -> None:
    """Raise `error` for what is there and no regular file: a pipe would keep its reader waiting."""
    if path.exists() and not path.is_file():
        raise error(f"{path}: cannot be read: it is no file")


def is_file(path: Path) -> bool:
    """Return whether there is a regular file; False for a path that cannot even be looked at."""
    try:
        return path.is_file()
    except OSError:  # too long, not permitted
        return False


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if need be; raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error


def remove(path: Path) -> None:
    """Remove a file, if it is there; raises OutputError."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be removed: {error.strerror}") from error


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make a folder before the work for it begins; if that leaves a new one empty, remove it.

    Raises OutputError.
    """
    new = not os.path.lexists(folder)
    make_folder(folder)
    try:
        yield
    finally:
        if new:
            with suppress(OSError):  # something is in it, or it is gone
                folder.rmdir()


def default_output(video: Path) -> Path:
    """Return `<video stem>/` beside the working directory; for a folder there, another name."""
    name = video.resolve().name if video.is_dir() else video.stem
    folder = Path.cwd() / name
    return folder if folder.resolve() != video.resolve() else folder.with_name(f"{name}-vostool")
