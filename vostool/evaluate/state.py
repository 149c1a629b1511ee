"""The folder of an evaluation run: its description, its claim, and its finished clips."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_serializer, model_validator

from vostool.errors import InputError, OutputError
from vostool.evaluate.results import FILE
from vostool.evaluate.results_writer import MASKS, STATE
from vostool.files import make_folder, read_text, write_text
from vostool.files.claims import Claim, refuse_to_replace
from vostool.files.documents import Document, problem
from vostool.inference.states import FOLDER

Status = Literal["running", "interrupted", "done"]


class ClipDone(Document):
    """A clip that is done: its frames, its seconds, how the limits were lowered, and warnings."""

    frames: int = Field(ge=0)
    network: float = Field(ge=0)
    total: float = Field(ge=0)
    lowered: list[dict[str, int | None]]
    warnings: list[str] = Field(default_factory=list)
    timed: int | None = None  # the frames that took these seconds; None: all

    @property
    def timed_frames(self) -> int:
        """How many frames took the seconds: without those of a run that was interrupted."""
        return self.frames if self.timed is None else self.timed


class Description(Document):
    """All settings that affect the masks of a run."""

    vostool: str  # the version
    benchmark: str
    root: str
    split: str
    clips: list[str]
    options: dict[str, Any]  # of the network and its predictor, without the weights' place

    def difference(self, other: "Description") -> str:
        """Name the first thing in which another run differs from this one."""
        ours, theirs = (
            {**each.model_dump(exclude={"options"}), **each.options} for each in (self, other)
        )
        missing = object()
        names = (n for n in {**ours, **theirs} if ours.get(n, missing) != theirs.get(n, missing))
        return next(names, "set of options")


class State(Document):
    """The content of run.json: the run's description, its status, and its finished clips."""

    description: Description
    status: Status
    done: dict[str, ClipDone]

    @model_validator(mode="before")
    @classmethod
    def _unflatten(cls, found: Any) -> Any:
        """Read the description's keys, which stand beside those of the state."""
        if not isinstance(found, dict) or "description" in found:
            return found
        own = {name: found[name] for name in ("status", "done") if name in found}
        return {**own, "description": {n: v for n, v in found.items() if n not in own}}

    @model_serializer
    def _flatten(self) -> dict[str, Any]:
        return {
            **self.description.model_dump(),
            "status": self.status,
            "done": {clip: done.model_dump() for clip, done in self.done.items()},
        }


def read_state(path: Path) -> State:
    """Read run.json.

    Raises OutputError if a file of that name is something else, InputError if it is damaged.
    """
    try:
        return State.model_validate_json(read_text(path))
    except InputError as error:
        raise OutputError(f"{path}: not a run of vostool; choose another -o") from error
    except ValidationError as error:
        where = error.errors(include_url=False)[0]["loc"]
        if len(where) > 1 and where[0] == "done":
            raise InputError(
                f"{path}: damaged: {problem(error)}; give --overwrite to start again"
            ) from error
        raise OutputError(f"{path}: not a run of vostool; choose another -o") from error


class RunFolder:
    """The folder of a run and what is done in it: run.json, rewritten after every clip."""

    def __init__(self, folder: Path, description: Description) -> None:
        """Open the folder of a run with a description; reads nothing yet."""
        self.folder, self.description = folder, description
        self.done: dict[str, ClipDone] = {}
        self.status: Status = "running"
        self._claim: Claim | None = None

    @contextmanager
    def at_work(self, claim: Claim, overwrite: bool) -> Iterator[None]:
        """Begin the run in its folder, which is claimed, or go on with it; raises OutputError."""
        self._claim = claim
        self.begin(overwrite)
        try:
            yield
        except KeyboardInterrupt as stop:
            if self.status == "running":
                self.write("interrupted")
            count = len(self.description.clips)
            stop.add_note(f"{len(self.done)} of {count} clips are done in {self.folder}")
            raise

    def begin(self, overwrite: bool) -> None:
        """Begin the run or go on with it; raises OutputError."""
        resumes = (self.folder / STATE).exists() and not overwrite
        if resumes:
            self.done = self.unfinished()
        else:
            if not (self.folder / STATE).exists():
                refuse_to_replace((self.folder / FILE, self.folder / MASKS), "choose another -o")
            self.write("running")  # first: from here on an older run does not count as complete
        make_folder(self.folder / MASKS)
        self.clear(keep_begun=resumes)

    def unfinished(self) -> dict[str, ClipDone]:
        """Return the clips that are done of the run in the folder; raises OutputError.

        It must be this one, and not finished.
        """
        state = read_state(self.folder / STATE)
        if state.description != self.description:
            what = self.description.difference(state.description)
            raise OutputError(
                f"{self.folder}: holds a run with another {what}; "
                "choose another -o or give --overwrite"
            )
        if state.status == "done":
            raise OutputError(
                f"{self.folder}: holds this run, finished; choose another -o or give --overwrite"
            )
        return state.done

    def finish(self, clip: str, done: ClipDone) -> None:
        """Note that the masks of a clip are all there; raises OutputError."""
        if self._claim is not None:
            self._claim.check()
        self.done[clip] = done
        self.write("running")

    @property
    def frames(self) -> int:
        """How many frames the finished clips have."""
        return sum(clip.frames for clip in self.done.values())

    def close(self) -> None:
        """Note that the run is finished."""
        self.write("done")

    def write(self, status: Status) -> None:
        """Write run.json."""
        self.status = status
        state = State(description=self.description, status=status, done=self.done)
        write_text(self.folder / STATE, state.model_dump_json(indent=1) + "\n")

    def clear(self, keep_begun: bool) -> None:
        """Remove all files of a run but its finished clips, and those with states if asked for."""
        try:
            for clip in (self.folder / MASKS).iterdir():
                begun = keep_begun and (clip / FOLDER).is_dir()
                if clip.is_dir() and clip.name not in self.done and not begun:
                    shutil.rmtree(clip)
            tables = self.folder.glob("*_results-*.csv")
            for path in (self.folder / FILE, self.folder / "report.html", *tables):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written: {error.strerror}") from error
