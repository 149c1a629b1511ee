"""A project that is open: what is painted, what is followed, and who may change it when.

Whatever changes what is painted or runs the network is done by one at a time, see
`vostool.studio.runner`. What was painted is on disk before it counts.

Shapes: labels (H, W), uint8.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vostool.errors import MaskError, UsageError
from vostool.inference.options import ModelOptions
from vostool.media.folder import list_images
from vostool.media.frame import VideoInfo, frame_name
from vostool.media.labels import MAX_OBJECTS, BoolMask, LabelMap
from vostool.media.masks import read_mask
from vostool.segment.report import read_report
from vostool.studio.frames import Frames
from vostool.studio.painted import FOLDER, Painted, Step
from vostool.studio.project import Opened, Project
from vostool.studio.runner import Run, Runner

if TYPE_CHECKING:
    from vostool.segment.job import Job
    from vostool.studio.engine import Engine

SAVABLE = ("overlay", "cutouts")  # outputs beside the masks, which are always written
MAX_NAME = 60  # characters of an object's name
PERSIST = 2.0  # seconds from one note of how far a run has come to the next


class Session:
    """An open project; `changed` is called whenever there is something new to show."""

    def __init__(self, opened: Opened, info: VideoInfo, changed: Callable[[], None]) -> None:
        """Open a project whose folder is there and this process's own.

        Raises InputError for a video that cannot be read, OutputError.
        """
        self.video, self.folder = opened.video, opened.folder
        self.info = info
        self.changed = changed
        self.latest: tuple[int, LabelMap] | None = None  # the frame followed last
        self.saved: tuple[str, ...] = ()  # the paths of what was saved
        self.runner = Runner(lambda: self.changed())
        self._project = opened.project
        self._names = frame_names(self.video)
        self._noted = 0.0
        self.painted = Painted(self.folder / FOLDER, self.name_of, self._invalidate)
        self.painted.find(self._frame_of)
        report = read_report(self.folder)
        self.followed = report.frames if report else 0
        self._project = self._with_names_of(self.painted.ids)
        self._project.write(self.folder)
        self.frames = Frames(self.video, self.folder, changed)
        if report is not None and report.status == "running":  # it was killed
            self.runner.start(Run("open"), lambda engine: self._count_results())

    # what there is

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.info.height, self.info.width

    @property
    def run(self) -> Run | None:
        """What is being done."""
        return self.runner.run

    @property
    def valid(self) -> int:
        """How many frames, from the first on, have results that agree with what is painted."""
        return self._project.valid

    @property
    def names(self) -> dict[int, str]:
        """The names of the objects by id."""
        return self._project.names

    @property
    def options(self) -> ModelOptions:
        """The options of the network."""
        return self._project.options

    @property
    def is_complete(self) -> bool:
        """Whether every frame of the video has its result."""
        return self.frames.ended and self.valid == self.frames.count > 0

    @property
    def results(self) -> list[str]:
        """The paths of what has been made."""
        report = read_report(self.folder)
        paths = () if report is None else report.outputs.values()
        return [path for path in paths if path is not None]

    def name_of(self, frame: int) -> str:
        """Return the name of a frame, and of its masks."""
        return frame_name(frame) if self._names is None else self._names[frame]

    def _frame_of(self, name: str) -> int | None:
        if self._names is not None:
            return self._names.index(name) if name in self._names else None
        return int(name) if name.isdecimal() else None

    def labels(self, frame: int) -> LabelMap:
        """Return the labels of a frame: as painted, else as followed, else empty."""
        with self.runner.lock:  # files come and go while something is painted
            return self.painted.over(frame, self._result(frame))

    def _result(self, frame: int) -> LabelMap:
        path = self.folder / "masks" / f"{self.name_of(self._checked(frame))}.png"
        with suppress(MaskError):  # there is none yet, or it has just been removed
            return read_mask(path, self.info.width, self.info.height, True, strict=False)
        return np.zeros(self.shape, np.uint8)

    def _checked(self, frame: int) -> int:
        """Return the number of a frame; raises UsageError if there is none."""
        if not 0 <= frame < self.frames.count:
            raise UsageError(f"frame {frame}: expected 0 to {self.frames.count - 1}")
        return frame

    # what is painted

    def paint(self, frame: int, labels: LabelMap) -> Step | None:
        """Take the labels of a frame as painted; raises Busy, MaskError, OutputError."""
        with self.runner.painting():
            unknown = {int(id_) for id_ in np.unique(labels)} - {0} - set(self.names)
            if unknown:
                raise MaskError(f"expected objects {sorted(self.names)}, found {sorted(unknown)}")
            return self.painted.paint(frame, self._result(frame), labels)

    def fill(self, frame: int, id_: int, points: Sequence[tuple[float, float]]) -> Step | None:
        """Add a polygon to an object; raises as `paint`. (0, 0) is the middle of the first pixel.

        It covers what other objects have there.
        """
        from vostool.first_mask.outlines import fill_polygon

        return self._add(frame, id_, fill_polygon(points, self.shape))

    def _add(self, frame: int, id_: int, mask: BoolMask) -> Step | None:
        labels = self.labels(frame)
        labels[mask] = id_
        return self.paint(frame, labels)

    def cut(self, frame: int, id_: int, box: tuple[int, int, int, int]) -> Step | None:
        """Add to an object what its colours tell apart in a box x, y, width, height.

        Raises MaskError where they do not, and as `paint`.
        """
        from vostool.first_mask.grabcut import cut_box

        with self.runner.alone(Run("cut")):
            mask = cut_box(self.frames.rgb(self._checked(frame), *self.shape[::-1]), box)
        return self._add(frame, id_, mask)

    def snap(self, frame: int, id_: int) -> Step | None:
        """Redraw an object as the network sees it; raises MaskError, and as `paint`."""
        with self.runner.alone(Run("snap")):
            labels = self.labels(frame)
            alone = np.where(labels == id_, labels, np.uint8(0))
            rgb = self.frames.rgb(frame, *self.shape[::-1])
            snapped = self.runner.ask(lambda engine: engine.snap(self.options, rgb, alone))
        labels[labels == id_] = 0
        labels[(snapped == id_) & (labels == 0)] = id_  # the others stay as they are
        return self.paint(frame, labels)

    def clear(self, frame: int) -> Step | None:
        """Forget what is painted on a frame; raises Busy, OutputError."""
        with self.runner.painting():
            return self.painted.clear(self._checked(frame))

    def undo(self) -> Step:
        """Take back the last step; raises UsageError if there is none, Busy, OutputError."""
        with self.runner.painting():
            return self.painted.undo()

    def redo(self) -> Step:
        """Do again the step taken back last; raises as `undo`."""
        with self.runner.painting():
            return self.painted.redo()

    def _invalidate(self, frame: int) -> None:
        """Note, before it happens, that what is painted on a frame will change."""
        if frame < self.valid:
            self._keep(valid=frame)

    # objects and options

    def add_object(self) -> int:
        """Return the id of a new object; raises UsageError if there are 254."""
        with self.runner.painting():
            free = next((id_ for id_ in range(1, MAX_OBJECTS + 1) if id_ not in self.names), None)
            if free is None:
                raise UsageError(f"expected at most {MAX_OBJECTS} objects")
            self._keep(names={**self.names, free: f"Object {free}"})
            return free

    def rename(self, id_: int, name: str) -> None:
        """Name an object; raises UsageError."""
        name = " ".join(name.split())
        if id_ not in self.names or not 0 < len(name) <= MAX_NAME:
            raise UsageError(f"object {id_}: expected a name of 1 to {MAX_NAME} characters")
        self._keep(names={**self.names, id_: name})
        self.changed()

    def remove_object(self, id_: int) -> None:
        """Forget an object and what is painted of it; raises UsageError for the only one."""
        with self.runner.painting():
            rest = {number: name for number, name in self.names.items() if number != id_}
            if not rest or id_ not in self.names:
                raise UsageError(f"object {id_}: expected one of several objects")
            self.painted.forget(id_)
            self.painted.drop_steps()  # which would bring the masks back, but not the object
            self._keep(names=rest)

    def choose(self, **changes: object) -> None:
        """Change options of the network; all results are then out of date. Raises UsageError."""
        with self.runner.painting():
            options = self.options.changed(changes)
            if options != self.options:
                self._keep(options=options, valid=0)

    def _with_names_of(self, ids: set[int]) -> Project:
        names = {**self.names, **{n: f"Object {n}" for n in sorted(ids) if n not in self.names}}
        return self._project.model_copy(update={"names": names})

    def _keep(self, **changes: object) -> None:
        with self.runner.lock:
            project = self._project.model_copy(update=changes)
            project.write(self.folder)
            self._project = project

    # running

    def follow(self) -> None:
        """Start to follow what is painted, from the first frame that this concerns to the end.

        Raises UsageError if nothing is painted, and Busy.
        """
        if not self.painted.places:
            raise UsageError("paint an object first")
        self.runner.start(Run("follow", total=self.info.frames), self._do)

    def save(self, outputs: Sequence[str]) -> None:
        """Start to write outputs of the frames that are followed; raises UsageError, Busy."""
        if unknown := set(outputs) - set(SAVABLE):
            raise UsageError(f"expected outputs among {', '.join(SAVABLE)}, found {unknown}")
        if not self.valid:
            raise UsageError("follow an object first")
        end = None if self.is_complete else self.valid

        def do(engine: "Engine") -> None:
            self._do(engine, tuple(outputs), end)
            self.saved = tuple(self.results)

        self.runner.start(Run("save", total=self.valid), do)

    def stop(self) -> None:
        """Stop what is running after the frame at hand."""
        self.runner.stop()

    def warm_up(self) -> None:
        """Begin to load the network, so that nobody waits for it later."""
        self.runner.warm_up(self.options)

    def close(self) -> None:
        """Stop what is running and keep what there is of it."""
        self.runner.close()
        self.frames.close()

    def _do(self, engine: "Engine", outputs: tuple[str, ...] = (), end: int | None = None) -> None:
        self.saved = ()
        job, progress = self._job(outputs, end), self.runner.progress
        try:
            report = engine.run(job, self.options, progress, self._written, self._begin_anew)
        except BaseException:
            self._count_results()
            raise
        self.followed = report.frames
        self._keep(valid=report.frames)

    def _job(self, outputs: tuple[str, ...] = (), end: int | None = None) -> "Job":
        from vostool.segment.job import Job

        files = self.painted.files(end)
        return Job(self.video, files, self.folder, ("masks", *outputs), end=end)

    def _written(self, frame: int, labels: LabelMap) -> None:
        self.followed = max(self.followed, frame + 1)
        if frame >= self.valid:
            self._project = self._project.model_copy(update={"valid": frame + 1})
            if time.monotonic() - self._noted > PERSIST:
                self._noted = time.monotonic()
                self._keep()
        self.latest = frame, labels  # last: a page that shows them knows that they are valid
        self.changed()

    def _begin_anew(self) -> None:
        self.followed = 0
        self._keep(valid=0)

    def _count_results(self) -> None:
        """Note how many results are left: those after the state gone on from were removed."""
        from vostool.segment.writers import Source
        from vostool.segment.writers.pictures import Masks

        names = None if self._names is None else tuple(self._names)
        masks = Masks(self.folder, Source(self.video, self.info, names=names))
        self.followed = masks.whole(self.valid)
        self._keep(valid=self.followed)


def frame_names(video: Path) -> list[str] | None:
    """Return the names of the pictures of a folder; None for a video, whose frames have numbers."""
    return [path.stem for path in list_images(video)] if video.is_dir() else None
