"""What a studio keeps of a project in its folder, `studio.json`, besides masks and results.

Never imports torch, so that the page is there at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from vostool.errors import InputError, OutputError, UsageError
from vostool.files import default_output, read_text, write_text
from vostool.files.claims import refuse_to_replace
from vostool.files.documents import Document, problem
from vostool.inference.options import ModelOptions
from vostool.segment.report import REPORT

FILE = "studio.json"
SCHEMA_VERSION = 1


class Project(Document):
    """A video, the names of the objects in it, and how it is followed."""

    schema_version: int = SCHEMA_VERSION
    video: str
    names: dict[int, str] = Field(default_factory=lambda: {1: "Object 1"})
    options: ModelOptions = ModelOptions()
    valid: int = 0  # results of so many frames agree with what is painted and with the options

    def write(self, folder: Path) -> None:
        """Write it, all or nothing; raises OutputError."""
        write_text(folder / FILE, self.model_dump_json(indent=2) + "\n")


@dataclass(frozen=True)
class Opened:
    """A project and the folder that it lies in, new or not."""

    project: Project
    folder: Path
    video: Path


def open_project(path: Path, output: Path | None, changes: Mapping[str, Any]) -> Opened:
    """Return the project of a video, or that of a folder which a studio has written.

    `changes` are model options that the user gives now. Raises OutputError for a folder with
    something else in it, InputError for a project that cannot be read, UsageError for two folders.
    """
    if (path / FILE).is_file():
        if output is not None and output.resolve() != path.resolve():
            raise UsageError(f"{path}: is a project of its own; expected no -o {output}")
        project, folder = read_project(path), path
        video = Path(project.video)
    else:
        video, folder = path, output or default_output(path)
        project = project_of(video, folder)
    options = project.options.changed(changes)
    if options != project.options:
        project = project.model_copy(update={"options": options, "valid": 0})
    return Opened(project, folder, video)


def project_of(video: Path, folder: Path) -> Project:
    """Return the project of a video in a folder, or a new one; raises OutputError."""
    new = Project(video=str(video.resolve()))
    if not (folder / FILE).exists():
        remedy = "choose another -o"
        refuse_to_replace((folder / name for name in (REPORT, "masks", "given")), remedy)
        return new
    found = read_project(folder)
    if found.video != new.video:
        raise OutputError(f"{folder}: is a project of {found.video}; choose another -o")
    return found


def read_project(folder: Path) -> Project:
    """Return the project in a folder; raises InputError."""
    path = folder / FILE
    try:
        return Project.model_validate_json(read_text(path, "a project"))
    except ValidationError as error:
        raise InputError(f"{path}: {problem(error)}") from error
