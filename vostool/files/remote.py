"""Files and folders at addresses as fsspec has them, s3://bucket/clip.mp4: fetched and uploaded.

Never imports torch.
"""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vostool.errors import InputError, OutputError, UsageError, VostoolError
from vostool.files import atomic_write, first_line, make_folder
from vostool.files.extras import import_extra

LOCAL = (None, "file", "local")  # schemes of what is on this machine
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")


def scheme_of(text: str) -> str | None:
    """Return the scheme of an address in small letters, such as "s3"; None for a path."""
    match = SCHEME.match(text)
    return None if match is None else match[1].lower()


def check_scheme(address: str) -> None:
    """Raise InputError for an unknown scheme, UsageError without the package that it needs."""
    scheme = scheme_of(address)
    registry = import_extra("fsspec.registry", "fsspec", address)
    try:
        registry.get_filesystem_class(scheme)
    except ImportError as error:
        package = registry.known_implementations[scheme]["class"].partition(".")[0]
        raise UsageError(
            f"{address}: needs {package}, install it: pip install {package}"
        ) from error
    except ValueError as error:
        known = "expected one that fsspec knows, such as s3:// or gs://"
        raise InputError(f"{address}: {known}, found {scheme}://") from error


@dataclass(frozen=True)
class Remote:
    """A file or a folder at an address."""

    address: str
    _files: Any  # its file system, of fsspec
    _path: str  # in that

    @classmethod
    def at(cls, address: str) -> Self:
        """Return what is at an address, or at a path on this machine; asks nothing yet.

        Raises what `check_scheme` raises, InputError for an address that cannot be.
        """
        check_scheme(address)
        core = import_extra("fsspec.core", "fsspec", address)
        with told(address, "opened"):
            return cls(address, *core.url_to_fs(address))

    def read(self, name: str) -> bytes | None:
        """Return a file of the folder, if it is there; raises InputError."""
        with told(self.address, "read"):
            try:
                content: bytes = self._files.cat_file(self._within(name))
            except FileNotFoundError:
                return None
            return content

    def fetch(self, target: Path) -> None:
        """Copy the file, or the folder with all in it, to a path; raises InputError."""
        make_folder(target.parent)
        with told(self.address, "fetched"):
            self._files.get(self._path, str(target), recursive=self._files.isdir(self._path))

    def names(self) -> set[str]:
        """Return the names of all in the folder, none if it is not there; raises InputError."""
        with told(self.address, "listed"):
            self._files.invalidate_cache(self._path)  # others write there too
            try:
                found = self._files.ls(self._path, detail=False)
            except FileNotFoundError:
                return set()
            return {path.rstrip("/").rpartition("/")[2] for path in found}

    def remove(self, names: Iterable[str]) -> None:
        """Remove files and folders from the folder; raises OutputError."""
        with told(self.address, "written", OutputError):
            for name in names:
                self._files.rm(self._within(name), recursive=True)

    def upload(self, files: Mapping[str, Path]) -> None:
        """Copy files into the folder, by their names in it; raises OutputError.

        On this machine each is written all or nothing, as object stores do.
        """
        if self._is_here:
            for name, path in files.items():
                target = Path(self._within(name))
                make_folder(target.parent)
                with atomic_write(target) as part:
                    shutil.copyfile(path, part)
            return
        with told(self.address, "written", OutputError):
            self._files.put(
                [str(path) for path in files.values()], [self._within(name) for name in files]
            )

    @property
    def _is_here(self) -> bool:
        return scheme_of(self.address) in LOCAL

    def _within(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"


@contextmanager
def told(address: str, done: str, error: type[VostoolError] = InputError) -> Iterator[None]:
    """Raise `error` for whatever a file system fails with: each has exceptions of its own."""
    try:
        yield
    except Exception as problem:
        reason = getattr(problem, "strerror", None) or first_line(problem)
        if isinstance(problem, FileNotFoundError):
            reason = "No such file or folder"
        raise error(f"{address}: cannot be {done}: {reason}") from problem
