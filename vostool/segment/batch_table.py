"""The jobs of a table of videos, a row each, as `vostool segment --batch` takes it.

What rows have in common is parsed once, and the disk is asked little: a table of 100,000 rows is
to be read in seconds, on a network file system too.
"""

import os
from dataclasses import fields
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from vostool.errors import InputError, UsageError, WeightsError
from vostool.files import is_file
from vostool.files.remote import check_scheme, scheme_of
from vostool.files.tables import Row, read_rows
from vostool.inference.options import ModelOptions
from vostool.media.inputs import Elsewhere, is_elsewhere, is_stream
from vostool.media.mask_options import split_prefix, with_prefix
from vostool.media.time_codes import Position, parse_position
from vostool.model.weights import find_weights, weights_table
from vostool.segment.frame_range import check_range, range_changes
from vostool.segment.job import Job
from vostool.segment.writers import check_outputs, read_names

JOB_COLUMNS = ("video", "mask", "output", "start", "end", "absent", "write")
# fields of `ModelOptions`: those that say how a job is done, not where or how fast
MODEL_COLUMNS = (
    *("model", "weights", "size", "zoom", "reach", "reference", "memory_every", "memory_frames"),
    *("memory", "top_k", "kernel_sigma"),
    *("gc_every", "gc_iters", "gc_rate", "gc_length", "gc_smooth", "gc_stop", "gc_memory_only"),
)
COLUMNS = (*JOB_COLUMNS, *MODEL_COLUMNS)
NEEDED = COLUMNS[:2]


def read_batch(path: Path, template: Job, options: ModelOptions | None = None) -> list[Job]:
    """Return the jobs of a table with the columns video and mask, and others of `COLUMNS`.

    The table is CSV, JSON lines or Parquet, see `read_rows`. The paths of videos, masks and
    weights count from the file's own folder; videos and masks may lie at addresses as well,
    s3://bucket/clip.mp4. Several masks, absent stretches or outputs to write stand with ";"
    between them, or in a list. Outputs lie in the template's, which is that of all
    of them, and by default are named as their videos. Empty cells take the values of `template`,
    or of the model's `options`; jobs of rows without any of these have no options of their own.
    Those with the same cells share their options.
    Raises InputError for a file that is no such table, UsageError for jobs with the same output,
    or without the package that a table or an address needs.
    """
    reader = RowReader(path.parent, template, options or ModelOptions())
    jobs: list[Job] = []
    taken: dict[str, Job] = {}
    for row in read_rows(path, COLUMNS):
        try:
            place, job = reader.read(row)
        except UsageError as error:
            raise InputError(f"{row.where}: {error}") from error
        other = taken.setdefault(place, job)
        if other is not job:
            raise UsageError(
                f"{row.where}: {other.input} and {job.input} would both write {job.output}; give "
                "them folders of their own in a column output"
            )
        jobs.append(job)
    reader.check_schemes()
    if not jobs:
        raise InputError(f"{path}: expected columns such as video,mask and a line for each video")
    return jobs


class RowReader:
    """Makes jobs of rows, whose paths count from a folder."""

    def __init__(self, folder: Path, template: Job, options: ModelOptions) -> None:
        """Take what empty cells mean from `template`, whose output holds those of all jobs."""
        self.folder, self.template, self.options = folder, template, options
        self._fields = {each.name: getattr(template, each.name) for each in fields(Job)}
        self._places = Places(template.output)
        self._outputs = cache(outputs_of)
        self._changed = cache(self._with_changes)
        self._schemes: dict[str, tuple[str, str]] = {}  # with the place of an address of each

    def read(self, row: Row) -> tuple[str, Job]:
        """Return the job of a row, and where its output really lies, links followed.

        Raises InputError, or UsageError, which does not name the row.
        """
        for name in NEEDED:
            if name not in row.cells:
                raise InputError(f"{row.where}: expected a {name}, found none")
        video = self._video(row)
        masks = self._masks(row)
        name = row.text("output") or name_of(video)
        output = self.template.output / name
        place = self._place(row, output, name)
        start, end = (position_in(row, name) for name in ("start", "end"))
        changes: dict[str, Any] = {
            "video": video,
            "absent": row.several("absent"),
            "masks": masks,
            "output": output,
            "model": self._model(row),
            "upload": self._upload(output),
            **range_changes(start, end),
        }
        if "write" in row.cells:
            changes["outputs"] = self._outputs(row.several("write"))
        job = Job(**{**self._fields, **changes})
        check_range(job)
        return place, job

    def _place(self, row: Row, output: Path, name: str) -> str:
        place = self._places.resolve(output)
        if place is None:
            folder = self.template.upload or self.template.output
            raise InputError(f"{row.where}: expected an output within {folder} (-o), found {name}")
        return place

    def _upload(self, output: Path) -> str | None:
        if (address := self.template.upload) is None:
            return None
        return f"{address.rstrip('/')}/{output.relative_to(self.template.output).as_posix()}"

    def _video(self, row: Row) -> Path | Elsewhere:
        text = row.text("video") or ""
        if is_elsewhere(text):
            self._note_scheme(row, text)
            return Elsewhere(text, Path(PurePosixPath(text).name))
        if is_stream(text):
            raise InputError(
                f"{row.where}: expected a file or a folder of frames, found {text}; segment a "
                "stream without --batch"
            )
        return self.folder / text

    def _masks(self, row: Row) -> tuple[str, ...]:
        """Return what is given to --mask, such as "120:1@MASK.png", with paths in the folder."""
        masks = []
        for spec in row.several("mask"):
            prefix, path = split_prefix(spec)
            if is_elsewhere(path):
                self._note_scheme(row, path)
                masks.append(spec)
            else:
                masks.append(with_prefix(prefix, self.folder / path))
        if not masks:
            raise InputError(f"{row.where}: expected a mask, found {row.text('mask')}")
        return tuple(masks)

    def _note_scheme(self, row: Row, address: str) -> None:
        self._schemes.setdefault(scheme_of(address) or "", (row.where, address))

    def check_schemes(self) -> None:
        """Raise InputError for an unknown scheme, UsageError without the package that it needs."""
        for where, address in self._schemes.values():
            try:
                check_scheme(address)
            except InputError as error:
                raise InputError(f"{where}: {error}") from error

    def _model(self, row: Row) -> ModelOptions | None:
        given = tuple((name, row.text(name)) for name in MODEL_COLUMNS if name in row.cells)
        return self._changed(given) if given else None

    def _with_changes(self, given: tuple[tuple[str, str | None], ...]) -> ModelOptions:
        """Return the model options with those of a row; raises UsageError."""
        changes = dict(given)
        weights = changes.get("weights")
        if weights is None:
            return self.options.changed(changes)
        if is_file(self.folder / weights) or weights not in weights_table():
            weights = str(self.folder / weights)
        try:
            find_weights(weights)
        except WeightsError as error:
            raise UsageError(f"weights: {error}") from error
        return self.options.changed({**changes, "weights": weights})


class Places:
    """The output folders within one: where they really lie, without a look at each of them."""

    def __init__(self, folder: Path) -> None:
        """Look at the links in the folder; they are thought to stay as they are."""
        self._folder, self._parts = folder, folder.parts
        self._root = os.path.realpath(folder)
        self._links = cache(links_in)

    def resolve(self, output: Path) -> str | None:
        """Return the place of an output, links followed; None for one that is not in the folder."""
        count = len(self._parts)
        names = output.parts[count:]
        if (
            output.parts[:count] != self._parts
            or output.is_absolute() != self._folder.is_absolute()
            or ".." in names
        ):
            return None
        place = self._root
        for name in names:
            linked = name in self._links(place)
            place = f"{place.removesuffix(os.sep)}{os.sep}{name}"
            place = os.path.realpath(place) if linked else place
        inside = f"{place}{os.sep}".startswith(f"{self._root.removesuffix(os.sep)}{os.sep}")
        return place if inside else None


def links_in(folder: str) -> frozenset[str]:
    """Return the names of the links in a folder; none if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_symlink())
    except OSError:  # it is not there yet, or is no folder
        return frozenset()


def name_of(video: Path | Elsewhere) -> str:
    """Return the name of a video's output: a folder's whole name, a file's stem."""
    if isinstance(video, Elsewhere):
        return video.output_name
    try:
        return video.resolve().name if video.is_dir() else video.stem
    except OSError:  # it cannot be accessed; reading it raises the error
        return video.stem


def outputs_of(cells: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of outputs, as --write takes them; raises UsageError."""
    names = read_names(",".join(cells))
    check_outputs(names)
    return names


def position_in(row: Row, name: str) -> Position | None:
    """Return the number of a frame or its time, if there is one; raises UsageError."""
    text = row.text(name)
    return None if text is None else parse_position(name, text)
