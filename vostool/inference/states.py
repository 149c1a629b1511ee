"""The states of a run, `.state/` in its folder: the moments from which it can go on.

A state is a track in a file (see `vostool.inference.saved_track`) with its `Provenance`: what the
masks up to there were made from. It is valid as long as that is the same, so that a run goes on
after an interruption, and after a mask was added, taken away or changed, from the frame on that
this concerns. One is written every few seconds, and the last one stays; so does one every
`SPACING` frames, of which every other is removed when all together take more than `BOUND` bytes.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import chain
from pathlib import Path

import vostool
from vostool.errors import Caution, InputError, OutputError, UsageError
from vostool.files import make_folder, remove
from vostool.files.claims import OVERWRITE
from vostool.files.documents import Document
from vostool.inference.oom import LimitChange, Limits
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.saved_track import (
    Header,
    Snapshot,
    completed,
    differences,
    read_header,
    read_track,
    settings_of,
)
from vostool.inference.tracker import Tracker
from vostool.media.folder import list_images

FOLDER, SUFFIX = ".state", ".safetensors"
SPACING = 50  # frames between the states that stay, at first
BOUND = 256 * 10**6  # bytes of all states together
INTERVAL = 3.0  # seconds between two states, at most as long as frames come
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
    lowered: list[Lowering]  # how the limits were lowered by then
    versions: dict[str, str]  # of the packages that affect the masks


@dataclass(frozen=True)
class State:
    """A state as it lies in the folder."""

    path: Path
    header: Header
    provenance: Provenance

    @property
    def lowered(self) -> list[LimitChange]:
        """How the limits had been lowered."""
        return [lowering.change for lowering in self.provenance.lowered]


@dataclass
class States:
    """The states of a run in a folder: what may be gone on from, and what is written."""

    folder: Path  # of the run
    video: Path
    start: int
    given: GivenMasks
    spacing: int = field(default_factory=lambda: SPACING)
    warnings: list[Caution] = field(default_factory=list)  # once: that no more are written
    _written: float = field(default_factory=time.monotonic)  # when a state was written last

    def __post_init__(self) -> None:
        """Take the fingerprint of the video; raises InputError if it cannot be read."""
        self.place = self.folder / FOLDER
        self._fingerprint = fingerprint(self.video)

    def found(self) -> Iterator[State]:
        """Yield the states that can be read, the latest first."""
        for number in sorted(self._numbers(), reverse=True):
            with suppress(InputError, ValueError):  # of another version, perhaps
                header = read_header(self._path(number))
                provenance = Provenance.model_validate_json(header.notes)
                yield State(self._path(number), header, provenance)

    def latest(self, predictor: Predictor, most: int) -> State | None:
        """Return the latest valid state of at most so many frames; None: begin with the first.

        A state that is damaged is passed over.
        Raises OutputError if all states are of another video, of other options or versions.
        """
        problems = []
        for state in self.found():
            differs = self._difference(state, predictor)
            problems.append(differs)
            usable = differs is None and state.provenance.frames <= most
            if usable and self._same_masks(state) and is_whole(state.path):
                return state
        if problems and all(problems):
            raise OutputError(f"{self.folder}: cannot be resumed: {problems[0]}; {OVERWRITE}")
        return None

    def _difference(self, state: State, predictor: Predictor) -> str | None:
        """Return in which setting a state was made otherwise, if it was."""
        provenance = state.provenance
        if provenance.video != self._fingerprint:
            return f"{self.video} is another video than the one it is of"
        if provenance.start != self.start:
            return f"it has start {provenance.start}, now {self.start}"
        lowered = state.lowered
        settings = settings_of(predictor, lowered[-1].limits if lowered else None)
        changes = chain(
            differences(provenance.versions, versions()),
            differences(completed(state.header.settings, predictor), settings),
        )
        return next((f"it has {change}" for change in changes), None)

    def _same_masks(self, state: State) -> bool:
        return self._given_until(state.provenance.frames) == state.provenance.given

    def _given_until(self, frames: int) -> dict[int, str]:
        """Return the fingerprints of the masks that are given for the first frames."""
        end = self.start + frames
        return {n: digest for n, digest in self.given.digests.items() if n < end}

    def due(self, frames: int) -> bool:
        """Return whether the state after so many frames is to be written."""
        return frames % self.spacing == 0 or time.monotonic() - self._written > INTERVAL

    def writing(self, tracker: Tracker, frames: int) -> Callable[[], None]:
        """Return the call that writes the present state of a tracker, after so many frames."""
        self._written = time.monotonic()
        provenance = Provenance(
            frames=frames,
            video=self._fingerprint,
            start=self.start,
            given=self._given_until(frames),
            lowered=[
                Lowering(frame=change.frame, words=change.words, **asdict(change.limits))
                for change in tracker.lowered
            ],
            versions=versions(),
        )
        try:
            snapshot = tracker.snapshot()
        except UsageError:  # of a plug-in model, whose memory cannot be written
            return lambda: None
        return partial(self._write, snapshot, provenance)

    def _write(self, snapshot: Snapshot, provenance: Provenance) -> None:
        if self.warnings:
            return
        try:
            make_folder(self.place)
            snapshot.write(self._path(provenance.frames), provenance.model_dump_json())
            self._thin()
        except (OutputError, OSError) as error:
            words = f"{error}: no more states are written; --resume can go on from earlier ones"
            self.warnings.append(Caution("state", words))

    def _thin(self) -> None:
        """Remove the states between those that stay, and every other of these if need be."""
        *older, _ = sorted(self._numbers()) or [0]
        self._remove(number for number in older if number % self.spacing)
        while self.size > BOUND and any(number % self.spacing == 0 for number in older):
            self.spacing *= 2
            self._remove(number for number in older if number % self.spacing)
            older = [number for number in older if number % self.spacing == 0]

    def forget(self, after: int) -> None:
        """Remove the states of more than so many frames, and what a kill left of one.

        Raises OutputError.
        """
        self._remove(number for number in self._numbers() if number > after)
        for part in self.place.glob(f"*{SUFFIX}.part"):
            remove(part)
        if not after:
            with suppress(OSError):  # something else is in it, or it is not there
                self.place.rmdir()

    def _remove(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            remove(self._path(number))

    @property
    def size(self) -> int:
        """How many bytes the states take."""
        return sum(self._path(number).stat().st_size for number in self._numbers())

    def _path(self, number: int) -> Path:
        return self.place / f"{number:05d}{SUFFIX}"

    def _numbers(self) -> list[int]:
        """Return after how many frames there are states."""
        names = (path.stem for path in self.place.glob(f"*{SUFFIX}"))
        return [int(name) for name in names if name.isdecimal()]


def versions() -> dict[str, str]:
    """Return the versions of the packages that affect the masks, besides PyTorch's."""
    return {"vostool": vostool.__version__, "av": version("av")}


def is_whole(path: Path) -> bool:
    """Return whether a track can be read to its end."""
    with suppress(InputError):
        read_track(path)
        return True
    return False


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
