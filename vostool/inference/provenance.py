"""What the masks of a run were made from, so that a later run knows whether they still hold."""

import hashlib
from importlib.metadata import version
from pathlib import Path

from pydantic import Field

import vostool
from vostool.errors import InputError
from vostool.files.documents import Document
from vostool.inference.checks import Check
from vostool.inference.cuts import OnCut
from vostool.inference.oom import LimitChange, Limits
from vostool.media.folder import list_images

PIECE = 2**20  # bytes at both ends of a video that are compared


class Lowering(Document):
    """A lowering of the limits, as `LimitChange`."""

    frame: int
    size: int
    objects_at_once: int | None
    memory_frames: int | None
    words: str

    @property
    def change(self) -> LimitChange:
        """The lowering as the tracker has it."""
        limits = Limits(self.size, self.objects_at_once, self.memory_frames)
        return LimitChange(self.frame, limits, self.words)


class Provenance(Document):
    """What the masks of a run's first frames were made from, besides the network's settings."""

    frames: int  # how many
    video: str  # its fingerprint
    start: int
    given: dict[int, str]  # fingerprints of the masks of these frames, by frame
    absent: dict[int, list[tuple[int, int]]] = Field(default_factory=dict)  # see `Absence.until`
    cuts: OnCut | None = OnCut.IGNORE  # what was done at scene cuts; None: there was none
    checks: list[Check] = Field(default_factory=list)  # of these frames
    lowered: list[Lowering]  # how the limits were lowered by then
    versions: dict[str, str]  # of the packages that affect the masks


def versions() -> dict[str, str]:
    """Return the versions of the packages that affect the masks, besides PyTorch's."""
    return {"vostool": vostool.__version__, "av": version("av")}


def fingerprint(video: Path) -> str:
    """Return a hash of a video: its length and both its ends, or of all files in a folder.

    Raises InputError if it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        if video.is_dir():
            for path in list_images(video):
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
                digest.update(f"{path.name} {content}\n".encode())
        else:
            with video.open("rb") as file:
                size = video.stat().st_size
                digest.update(str(size).encode())
                digest.update(file.read(PIECE))
                file.seek(max(PIECE, size - PIECE))
                digest.update(file.read(PIECE))
    except OSError as error:
        raise InputError(f"{video}: cannot be read: {error.strerror}") from error
    return digest.hexdigest()
