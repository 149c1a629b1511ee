"""The report of `vostool segment`, run.json: all that is needed to repeat a run.

Never imports torch.
"""

import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationError, field_validator

from vostool.errors import Caution, InputError
from vostool.files import read_text, write_text
from vostool.files.documents import Document
from vostool.inference.checks import Checks
from vostool.inference.reports import LimitsReached, Network, Video

REPORT = "run.json"
DONE = re.compile(rb'^  "status": "done"', re.MULTILINE)  # in a report as it is written
SCHEMA_VERSION = 2  # until 1, as 0.1.0 writes it, warnings were mere messages

Status = Literal["running", "interrupted", "failed", "done"]


class Warned(Document):
    """A warning: a stable code for programs, and a message for people."""

    code: str
    message: str

    @classmethod
    def of(cls, caution: Caution) -> Self:
        """Return a warning that was given while running as an entry of the report."""
        return cls(code=caution.code, message=str(caution))


class Seconds(Document):
    """Run times: of the network alone, and from the first frame asked for to the last written."""

    network: float
    total: float
    frames: int | None = None  # that the network followed in that time, without those kept


class FramesPerSecond(Document):
    """Frames per second; None before the first frame."""

    network: float | None
    end_to_end: float | None


class StatesKept(Document):
    """The states of a run that stay, from which `--resume` goes on."""

    spacing: int  # frames between two of them
    bound: int  # bytes that all of them may take


class RunReport(Document):
    """What was segmented with what, how far it came, and what there is to know about it.

    Further keys are the outputs by their names, as --write takes them: the path of each, of its
    part where it is not whole; masks, overlay and cutouts are null if they were not wanted.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, str | None] = Field(init=False)

    schema_version: int = SCHEMA_VERSION
    versions: dict[str, str]
    network: Network
    options: dict[str, Any]  # all settings but the network's
    input: Video
    objects: list[int]
    frames: int = Field(ge=0)  # written
    frame_names: list[str] | None = None  # of a folder's pictures; None: numbers
    seconds: Seconds
    fps: FramesPerSecond
    limits: LimitsReached
    states: StatesKept | None = None
    checks: Checks | None = None
    cuts: list[int] = Field(default_factory=list)  # the first frame of each scene but the first
    status: Status
    error: str | None = None
    warnings: list[Warned]

    @field_validator("warnings", mode="before")
    @classmethod
    def _give_codes(cls, warnings: Any) -> Any:
        """Read the warnings of schema 1."""
        if not isinstance(warnings, list):
            return warnings
        return [
            {"code": "", "message": each} if isinstance(each, str) else each for each in warnings
        ]

    @property
    def outputs(self) -> dict[str, str | None]:
        """The path of every output by name; None for those that were not wanted."""
        return self.__pydantic_extra__


def is_marked_done(folder: Path) -> bool:
    """Return whether a folder's report says that its run is done, without reading all of it."""
    try:
        return DONE.search((folder / REPORT).read_bytes()) is not None
    except OSError:
        return False


def read_report(folder: Path) -> RunReport | None:
    """Return the report of the run that a folder holds; None if there is none that can be read."""
    try:
        return RunReport.model_validate_json(read_text(folder / REPORT))
    except (InputError, ValidationError):
        return None


def write_report(folder: Path, report: RunReport) -> None:
    """Write run.json, all or nothing; raises OutputError."""
    write_text(folder / REPORT, report.model_dump_json(indent=2) + "\n")
