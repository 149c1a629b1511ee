"""Exclusive use of an output folder, and protection of what exists already.

A process claims a folder by creating a file exclusively, identifies itself in it and renews its
modification time every few seconds. A claim is void once its process is gone or its time expired.

Everything rests on `link` and `rename`, which are atomic on network file systems too, and on the
clock of the file system, which all hosts share; lock files and the hosts' own clocks are not.
"""

import json
import os
import socket
import stat
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from vostool.errors import OutputError
from vostool.files import output_folder

CLAIM = ".claim"
HEARTBEAT, STALE = 5.0, 60.0  # seconds between signs of life, and without one until it is void
MOST_CHARACTERS = 4096  # of a claim; a longer one is damaged
OVERWRITE = "choose another -o or give --overwrite"


def refuse_to_replace(paths: Iterable[Path], remedy: str = OVERWRITE) -> None:
    """Raise OutputError if one of some paths is taken already; `remedy` says what to do then."""
    for path in paths:
        if os.path.lexists(path):
            raise OutputError(f"{path}: exists already; {remedy}")


@dataclass(frozen=True)
class Holder:
    """The process that a claim belongs to."""

    host: str = "an unknown host"
    pid: int = 0
    pid_namespace: str = ""  # where the process id counts: containers may share a host's name
    since: str = "an unknown time"
    token: str = ""  # no two claims have the same

    @classmethod
    def here(cls) -> Self:
        """Return a new holder, this process."""
        since = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), pid_namespace(), since, uuid.uuid4().hex)

    @property
    def is_here(self) -> bool:
        """Whether the process is one of this host, of which it can be known whether it runs."""
        return (self.host, self.pid_namespace) == (socket.gethostname(), pid_namespace())

    def is_gone(self) -> bool:
        """Return whether the process is known to have ended; False for one of another host."""
        return self.is_here and not is_alive(self.pid)


@dataclass
class Claim:
    """A folder that this process holds, until another one takes the claim over as void."""

    path: Path
    holder: Holder
    _stopped: threading.Event = field(default_factory=threading.Event)
    _lost: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise OutputError if another process has taken the folder over (or removed it)."""
        if self._lost.is_set():
            raise OutputError(
                f"{self.path.parent}: its claim was lost: this process stood still for more than "
                f"{STALE:.0f} s and another one took over, or the folder was removed"
            )

    def keep(self) -> None:
        """Renew the claim until `release` is called."""
        while not self._stopped.wait(HEARTBEAT):
            try:
                if read_holder(self.path)[0].token != self.holder.token:
                    self._lost.set()
                    return
                os.utime(self.path)  # without a time: the file system's own
            except (FileNotFoundError, OutputError):
                self._lost.set()
                return
            except OSError:
                continue  # a network that is away may come back

    def release(self) -> None:
        """Release the folder, if this claim still holds it."""
        self._stopped.set()
        with suppress(OSError, OutputError):
            if read_holder(self.path)[0].token == self.holder.token:
                self.path.unlink()


@contextmanager
def claimed(folder: Path) -> Iterator[Claim]:
    """Claim a folder exclusively; it is created and, if left empty, removed again.

    Raises OutputError if another one is at work there, or if it cannot be written.
    """
    with output_folder(folder):
        claim = Claim(folder / CLAIM, Holder.here())
        try:
            try:
                acquire(claim.path, claim.holder)
            except OSError as error:
                raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
            threading.Thread(target=claim.keep, name="heartbeat", daemon=True).start()
            yield claim
        finally:
            claim.release()


def acquire(path: Path, holder: Holder) -> None:
    """Make a claim file, in the place of a void one too; raises OutputError if it is held."""
    part = path.with_name(f"{path.name}.{holder.token}.part")
    try:
        part.write_text(json.dumps(asdict(holder)), encoding="utf-8")
        while not place(part, path, holder):
            try:
                found, renewed = read_holder(path)
            except FileNotFoundError:
                continue  # it has just been released
            os.utime(part)
            if part.stat().st_mtime - renewed <= STALE and not found.is_gone():
                raise busy(path.parent, found)
            take_over(path, part, found, holder)
            return
    finally:
        part.unlink(missing_ok=True)


def busy(folder: Path, holder: Holder) -> OutputError:
    """Return the error that names the process at work in a folder."""
    return OutputError.of_use(
        f"{folder}: another vostool is at work in it, process {holder.pid} on {holder.host} since "
        f"{holder.since}; wait for it or choose another -o"
    )


def holder_of(folder: Path) -> tuple[Holder, float] | None:
    """Return who seems to be at work in a folder, and when it said so last; None: nobody.

    Claims nothing. Raises OutputError as `read_holder` does.
    """
    with suppress(OSError):
        holder, renewed = read_holder(folder / CLAIM)
        if time.time() - renewed <= STALE and not holder.is_gone():
            return holder, renewed
    return None


def refuse_claimed(folder: Path) -> None:
    """Raise OutputError if another process seems to be at work in a folder; claims nothing."""
    found = holder_of(folder)
    if found is not None:
        raise busy(folder, found[0])


def place(part: Path, path: Path, holder: Holder) -> bool:
    """Give a file its final name unless that is taken; return whether it has it."""
    try:
        os.link(part, path)
    except FileExistsError:
        # a network file system may lose the reply and retry
        with suppress(OSError):
            return read_holder(path)[0].token == holder.token
        return False
    except OSError:  # a file system without links
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(asdict(holder)))
        except FileExistsError:
            return False
    return True


def take_over(path: Path, part: Path, void: Holder, holder: Holder) -> None:
    """Put a file in the place of a void claim; raises OutputError if another process did.

    The process must first hold a second claim, named after the void one. Without it two processes
    might both find a claim void, and the second one replace the first one's.
    """
    right = path.with_name(f"{path.name}.{void.token or 'damaged'}.over")
    acquire(right, holder)
    try:
        if read_holder(path)[0].token != void.token:
            raise OutputError.of_use(f"{path.parent}: another vostool has just begun work in it")
        part.replace(path)
    except FileNotFoundError as error:
        words = f"{path.parent}: another vostool has just left it; try again"
        raise OutputError.of_use(words) from error
    finally:
        right.unlink(missing_ok=True)


def read_holder(path: Path) -> tuple[Holder, float]:
    """Return whose a claim is, and when it was renewed, by the clock of its file system.

    Raises FileNotFoundError if there is none, OutputError if it is no regular file: a pipe would
    keep its reader waiting. Of a damaged one the holder is unknown.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise OutputError(f"{path}: expected a file, found a link, a pipe or a folder; remove it")
    with path.open(encoding="utf-8", errors="replace") as file:
        renewed = os.fstat(file.fileno()).st_mtime
        try:
            holder = Holder(**json.loads(file.read(MOST_CHARACTERS)))
        except (ValueError, TypeError, RecursionError):
            holder = Holder()
    return (holder if isinstance(holder.pid, int) else Holder()), renewed


def pid_namespace() -> str:
    """Return where this process's id counts, on Linux; "" elsewhere."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def is_alive(pid: int) -> bool:
    """Return whether a process of this host runs, as far as there is a way to know."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX"  # a zombie: ended, but not reaped
    except OSError:
        pass
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
