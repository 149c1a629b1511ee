"""The states of a run, `.state/` in its folder: the moments from which it can go on.

A state is a track in a file (see `vostool.inference.saved_track`) with its `Provenance`: what the
masks up to there were made from. It is valid as long as that is the same, so that a run goes on
after an interruption, and after a mask or an absent stretch was added, taken away or changed,
from the frame on that this concerns. One is written every few seconds, more rarely if it is large,
and the last one stays; so does one every `SPACING` frames, of which every other is removed when all
together take more than `BOUND` bytes, or than `FEWEST` of them.
"""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from pathlib import Path

from vostool.errors import Caution, InputError, OutputError, UsageError
from vostool.files import make_folder, remove
from vostool.files.claims import OVERWRITE
from vostool.inference.checks import Check
from vostool.inference.oom import LimitChange
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.provenance import Lowering, Provenance, fingerprint, versions
from vostool.inference.saved_track import Header, SavedTrack, Snapshot, read_header, read_track
from vostool.inference.settings import completed, differences, settings_of
from vostool.inference.tracker import Tracker

FOLDER, SUFFIX = ".state", ".safetensors"
SPACING = 50  # frames between the states that stay, at first
BOUND = 256 * 10**6  # bytes of all states together
FEWEST = 8  # states that there is room for, however large: those of XMem take up to 265 MB each
INTERVAL = 3.0  # seconds between two states, at most as long as frames come
RATE = 20 * 10**6  # bytes per second: in addition, a state's own size is waited for at this rate


@dataclass(frozen=True)
class State:
    """A state as it lies in the folder."""

    path: Path
    header: Header
    provenance: Provenance
    track: SavedTrack | None = None  # once the whole file is read

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
    stride: int = 1  # from one frame to the next
    backward: bool = False  # the run's frames are those before `start`, the last one first
    ahead: bool = False  # the masks of later frames count too
    spacing: int = field(default_factory=lambda: SPACING)
    warnings: list[Caution] = field(default_factory=list)  # once: that no more are written
    _written: float = field(default_factory=time.monotonic)  # when a state was written last
    _bytes: int = 0  # of the memory in that state

    @property
    def place(self) -> Path:
        """The folder of the states."""
        return self.folder / FOLDER

    @cached_property
    def _fingerprint(self) -> str:
        """The fingerprint of the video, taken when a state is first compared or written."""
        return fingerprint(self.video)

    def found(self) -> Iterator[State]:
        """Yield the states that can be read, the latest first."""
        for number in sorted(self._numbers(), reverse=True):
            with suppress(InputError, ValueError):  # of another version, perhaps
                header = read_header(self._path(number))
                provenance = Provenance.model_validate_json(header.notes)
                yield State(self._path(number), header, provenance)

    def latest(self, predictor: Predictor, most: int) -> State | None:
        """Return the latest valid state of at most so many frames, with its track.

        None: begin with the first frame. A state that is damaged is passed over.
        Raises OutputError if all states are of another video, of other options or versions, and
        InputError if the video cannot be read.
        """
        problems = []
        for state in self.found():
            differs = self._difference(state, predictor)
            problems.append(differs)
            usable = differs is None and state.provenance.frames <= most
            if usable and self._same_prompts(state):
                with suppress(InputError):  # it is damaged
                    return replace(state, track=read_track(state.path))
        if problems and all(problems):
            raise OutputError(f"{self.folder}: cannot be resumed: {problems[0]}; {OVERWRITE}")
        return None

    def usable(self, predictor: Predictor, most: int) -> State | None:
        """Return what `latest` does; None also if all states are of another run."""
        with suppress(OutputError):
            return self.latest(predictor, most)
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

    def _same_prompts(self, state: State) -> bool:
        before, frames = state.provenance, state.provenance.frames
        if before.cuts not in (None, self.given.cuts):
            return False
        now = (self._given_until(frames), self._absent_until(frames))
        return now == (before.given, before.absent)

    def _given_until(self, frames: int) -> dict[int, str]:
        """Return the fingerprints of the masks that are given for the first frames."""
        end = self._end(frames)
        return {n: digest for n, digest in self.given.digests.items() if n < end}

    def _absent_until(self, frames: int) -> dict[int, list[tuple[int, int]]]:
        """Return the stretches on which objects are absent, as far as the first frames go."""
        return self.given.absence.until(self._end(frames))

    def _end(self, frames: int) -> int:
        """Return before which frame lies all that the first frames depend on."""
        return sys.maxsize if self.ahead else self.start + frames * self.stride

    def restore(self, tracker: Tracker, state: State) -> None:
        """Let a tracker go on from a state that is read; raises OutputError for other frames."""
        if state.track is None:
            raise ValueError("expected a state as `latest` returns it")
        step = -self.stride if self.backward else self.stride
        pictures = state.track.pictures_of(self.video, self.start, step, pass_over_damage=True)
        numbers = state.track.numbers
        masks = {number: self.given.get(self.start + number * self.stride) for number in numbers}
        given = {number: mask for number, mask in masks.items() if mask is not None}
        try:
            tracker.resume(state.track, pictures, given)
        except InputError as error:
            words = f"cannot be resumed: {error}; {OVERWRITE}"
            raise OutputError(f"{self.folder}: {words}") from error

    def resume(self, tracker: Tracker, most: int) -> int:
        """Let a new tracker go on from the latest valid state of at most so many frames.

        Return after how many frames that is; 0 if there is none, or all are of another run. Later
        states are removed. Raises OutputError for other frames than those it remembers.
        """
        state = self.usable(tracker.predictor, most)
        if state is not None:
            tracker.start_within(state.lowered)
            self.restore(tracker, state)
        frames = 0 if state is None else state.provenance.frames
        self.forget(after=frames)
        return frames

    def due(self, frames: int) -> bool:
        """Return whether the state after so many frames is to be written."""
        interval = INTERVAL + self._bytes / RATE
        return frames % self.spacing == 0 or time.monotonic() - self._written > interval

    def writing(
        self, tracker: Tracker, frames: int, checks: Sequence[Check] = (), cut: bool = True
    ) -> Callable[[], None]:
        """Return the call that writes the present state of a tracker, after so many frames.

        `cut` says whether there may be a scene cut among them.
        """
        self._written = time.monotonic()
        provenance = Provenance(
            frames=frames,
            video=self._fingerprint,
            start=self.start,
            given=self._given_until(frames),
            absent=self._absent_until(frames),
            cuts=self.given.cuts if cut or self.ahead else None,
            checks=list(checks),
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
        self._bytes = snapshot.memory_bytes
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
        while self.size > self.bound and any(number % self.spacing == 0 for number in older):
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

    @property
    def bound(self) -> int:
        """How many bytes the states may take."""
        largest = max((self._path(number).stat().st_size for number in self._numbers()), default=0)
        return max(BOUND, FEWEST * largest)

    def _path(self, number: int) -> Path:
        return self.place / f"{number:05d}{SUFFIX}"

    def _numbers(self) -> list[int]:
        """Return after how many frames there are states."""
        names = (path.stem for path in self.place.glob(f"*{SUFFIX}"))
        return [int(name) for name in names if name.isdecimal()]
