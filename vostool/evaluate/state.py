"""The folder of an evaluation run: its description, its claim, and its finished clips."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError

from vostool.errors import InputError, OutputError
from vostool.evaluate.results import FILE
from vostool.evaluate.results_writer import MASKS, STATE
from vostool.files import make_folder, read_text, write_text
from vostool.files.claims import Claim, refuse_to_replace
from vostool.files.documents import Document, problem

Status = Literal["running", "interrupted", "done"]
Done = dict[str, Any]  # of a clip that is done, as `ClipDone` checks it


class ClipDone(Document):
    """A clip that is done: its frames, its seconds, how the limits were lowered, and warnings."""

    frames: int = Field(ge=0)
    network: float = Field(ge=0)
    total: float = Field(ge=0)
    lowered: list[dict[str, int | None]]
    warnings: list[str] = Field(default_factory=list)


@dataclass(frozen=True)
class State:
    """The content of run.json: the run's description, its status, and its finished clips."""

    description: dict[str, Any]
    status: Status
    done: dict[str, Done]


def read_state(path: Path) -> State:
    """Read run.json.

    Raises OutputError if a file of that name is something else, InputError if it is damaged.
    """
    try:
        found = json.loads(read_text(path))
        status, done = found.pop("status"), found.pop("done")
        if status not in get_args(Status) or not isinstance(found.get("options"), dict):
            raise ValueError(status)
        if not isinstance(done, dict):
            raise TypeError(done)
    except (
        InputError,
        ValueError,
        LookupError,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        raise OutputError(f"{path}: not a run of vostool; choose another -o") from error
    for clip, entry in done.items():
        try:
            done[clip] = ClipDone.model_validate(entry).model_dump()
        except ValidationError as error:
            raise InputError(
                f"{path}: damaged: done: {clip}: {problem(error)}; give --overwrite to start again"
            ) from error
    return State(found, status, done)


class RunFolder:
    """The folder of a run and what is done in it: run.json, rewritten after every clip."""

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        """Open the folder of a run with a description; reads nothing yet."""
        self.folder, self.description = folder, description
        self.done: dict[str, Done] = {}
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
            count = len(self.description["clips"])
            stop.add_note(f"{len(self.done)} of {count} clips are done in {self.folder}")
            raise

    def begin(self, overwrite: bool) -> None:
        """Begin the run or go on with it; raises OutputError."""
        if (self.folder / STATE).exists() and not overwrite:
            self.done = self.unfinished()
        else:
            if not (self.folder / STATE).exists():
                refuse_to_replace((self.folder / FILE, self.folder / MASKS), "choose another -o")
            self.write("running")  # first: from here on an older run does not count as complete
        make_folder(self.folder / MASKS)
        self.clear()

    def unfinished(self) -> dict[str, Done]:
        """Return the clips that are done of the run in the folder; raises OutputError.

        It must be this one, and not finished.
        """
        state = read_state(self.folder / STATE)
        if state.description != self.description:
            raise OutputError(
                f"{self.folder}: holds a run with another {self.difference(state.description)}; "
                "choose another -o or give --overwrite"
            )
        if state.status == "done":
            raise OutputError(
                f"{self.folder}: holds this run, finished; choose another -o or give --overwrite"
            )
        return state.done

    def difference(self, found: dict[str, Any]) -> str:
        """Name the first thing in which a run that was found differs from this one."""
        ours = {**self.description, **self.description["options"]}
        theirs = {**found, **found.get("options", {})}
        names = (name for name in (*ours, *theirs) if name != "options")
        missing = object()
        different = (n for n in names if ours.get(n, missing) != theirs.get(n, missing))
        return next(different, "set of options")

    def finish(self, clip: str, done: Done) -> None:
        """Note that the masks of a clip are all there; raises OutputError."""
        if self._claim is not None:
            self._claim.check()
        self.done[clip] = done
        self.write("running")

    def close(self) -> None:
        """Note that the run is finished."""
        self.write("done")

    def write(self, status: Status) -> None:
        """Write run.json."""
        self.status = status
        content = {**self.description, "status": status, "done": self.done}
        write_text(self.folder / STATE, json.dumps(content, indent=1) + "\n")

    def clear(self) -> None:
        """Remove all files of a run but its finished clips."""
        try:
            for clip in (self.folder / MASKS).iterdir():
                if clip.is_dir() and clip.name not in self.done:
                    shutil.rmtree(clip)
            tables = self.folder.glob("*_results-*.csv")
            for path in (self.folder / FILE, self.folder / "report.html", *tables):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written: {error.strerror}") from error
