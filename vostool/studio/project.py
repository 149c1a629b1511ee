"""What a studio keeps of a project in its folder, `studio.json`, besides masks and results.

Never imports torch, so that the page is there at once.
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from vostool.errors import InputError, OutputError, UsageError
from vostool.files import default_output, is_file, read_text, write_text
from vostool.files.documents import Document, problem
from vostool.inference.options import ModelOptions
from vostool.media.labels import MAX_OBJECTS
from vostool.segment.report import REPORT

FILE = "studio.json"
SCHEMA_VERSION = 1


class Project(Document):
    """A video, the names of the objects in it, and how it is followed."""

    schema_version: int = SCHEMA_VERSION
    video: str
    names: dict[Annotated[int, Field(ge=1, le=MAX_OBJECTS)], str] = Field(
        default_factory=lambda: {1: "Object 1"}, min_length=1
    )
    options: ModelOptions = ModelOptions()
    backward: bool = False  # follow objects to the frames before a mask as well
    # results of so many frames agree with what is painted and with the options
    valid: int = Field(default=0, ge=0)
    adopted: bool = False  # results that `segment` has made: gone on with, but never replaced

    def write(self, folder: Path) -> None:
        """Write it, all or nothing; raises OutputError."""
        write_text(folder / FILE, self.model_dump_json(indent=2) + "\n")


@dataclass(frozen=True)
class Opened:
    """A project and the folder that it lies in, new or not."""

    project: Project
    folder: Path
    video: Path
    given: Mapping[tuple[int, int], bytes] = field(default_factory=dict)  # see `Painted.bring`


class ProjectFile:
    """A project that changes, in its folder; any thread may change it."""

    def __init__(self, project: Project, folder: Path) -> None:
        """Begin with a project; nothing is written yet."""
        self.project, self.folder = project, folder
        self._lock = threading.Lock()

    def change(self, on_disk: bool = True, **changes: object) -> None:
        """Change fields, by default once that is on disk; raises OutputError."""
        with self._lock:
            project = self.project.model_copy(update=changes)
            if on_disk:
                project.write(self.folder)
            self.project = project


def open_project(path: Path, output: Path | None, changes: Mapping[str, Any]) -> Opened:
    """Return the project of a video, or that of a folder which a studio or `segment` has written.

    `changes` are model options that the user gives now. Raises OutputError for a folder with
    something else in it, InputError for a project that cannot be read, UsageError for two folders,
    and as `adopt`.
    """
    if is_file(path / FILE) or is_file(path / REPORT):
        if output is not None and output.resolve() != path.resolve():
            raise UsageError(f"{path}: is a project of its own; expected no -o {output}")
        opened = project_in(path, None)
    else:
        opened = project_in(output or default_output(path), path)
    options = opened.project.options.changed(changes)
    if options == opened.project.options:
        return opened
    new = {"options": options, "valid": 0, "adopted": False}
    return replace(opened, project=opened.project.model_copy(update=new))


def project_in(folder: Path, video: Path | None) -> Opened:
    """Return the project in a folder, a new one if there is none; None: of the video it names.

    Raises as `open_project`.
    """
    if is_file(folder / FILE):
        project = read_project(folder)
        if video is not None and project.video != str(video.resolve()):
            if os.path.lexists(project.video):
                raise OutputError(f"{folder}: is a project of {project.video}; choose another -o")
            # its video has been moved: whether it is the same one the states of its run know
            project = project.model_copy(update={"video": str(video.resolve())})
        return Opened(project, folder, Path(project.video))
    if is_file(folder / REPORT):
        from vostool.studio.adopt import adopt

        return adopt(folder, video)
    if video is None:
        raise InputError(f"{folder}: expected a video, or the folder of a project")
    if folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise OutputError(f"{folder}: has something else in it; choose another -o")
    return Opened(Project(video=str(video.resolve())), folder, video)


def read_project(folder: Path) -> Project:
    """Return the project in a folder; raises InputError."""
    path = folder / FILE
    try:
        return Project.model_validate_json(read_text(path, "a project"))
    except ValidationError as error:
        raise InputError(f"{path}: {problem(error)}") from error
