"""Files that are written whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vostool.errors import OutputError


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, all or nothing; replaces an existing one. Raises OutputError."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8, as `write_bytes` does."""
    write_bytes(path, text.encode())


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, if need be; raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error


@contextmanager
def output_folder(folder: Path) -> Iterator[None]:
    """Make a folder before the work for it begins; if that leaves a new one empty, remove it.

    Raises OutputError.
    """
    new = not folder.exists()
    make_folder(folder)
    try:
        yield
    finally:
        if new and not any(folder.iterdir()):
            folder.rmdir()
