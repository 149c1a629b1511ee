"""A project that is open: what is painted, what is followed, and who may change it when.

Whatever changes what is painted or runs the network is done by one at a time, see
`vostool.studio.runner`. What was painted is on disk before it counts.

Shapes: labels (H, W), uint8.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vostool.errors import MaskError, UsageError
from vostool.inference.options import ModelOptions
from vostool.media.frame import VideoInfo
from vostool.media.labels import MAX_OBJECTS, BoolMask, LabelMap
from vostool.studio.following import Following
from vostool.studio.frames import Frames
from vostool.studio.names import FrameNames
from vostool.studio.painted import FOLDER, Painted, Step
from vostool.studio.project import Opened, ProjectFile
from vostool.studio.results import Results
from vostool.studio.runner import Run, Runner

if TYPE_CHECKING:
    from vostool.studio.engine import Engine

SAVABLE = ("overlay", "cutouts")  # outputs beside the masks, which are always written
MAX_NAME = 60  # characters of an object's name


class Session:
    """An open project; `changed` is called whenever there is something new to show."""

    def __init__(self, opened: Opened, info: VideoInfo, changed: Callable[[], None]) -> None:
        """Open a project whose folder is there and this process's own.

        Raises InputError for a video that cannot be read, OutputError.
        """
        self.video, self.folder = opened.video, opened.folder
        self.info = info
        self.changed = changed
        self.saved: tuple[str, ...] = ()  # the paths of what was saved
        self.runner = Runner(lambda: self.changed())
        names = FrameNames(self.video)
        self._file = ProjectFile(opened.project, self.folder)
        self.painted = Painted(self.folder / FOLDER, names, self._invalidate)
        self.painted.find()
        self.painted.bring(opened.given)
        self.results = Results(self.folder, names, info)
        self._take_as_found()
        self.following = Following(
            self.video, self._file, self.painted, self.results, lambda: self.changed()
        )
        self.frames = Frames(self.video, self.folder, lambda: self.changed())
        if self.results.was_killed:
            self.runner.start(Run("open"), lambda engine: self.following.count_whole())

    def _take_as_found(self) -> None:
        """Note what lies in the folder, whoever put it there or took it away."""
        ids = sorted(self.painted.ids - self.names.keys())
        names = {**self.names, **{id_: f"Object {id_}" for id_ in ids}}
        self._file.change(names=names, valid=self.results.count(self.valid))

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
        return self._file.project.valid

    @property
    def names(self) -> dict[int, str]:
        """The names of the objects by id."""
        return self._file.project.names

    @property
    def options(self) -> ModelOptions:
        """The options of the network."""
        return self._file.project.options

    @property
    def backward(self) -> bool:
        """Whether objects are followed to the frames before a mask as well."""
        return self._file.project.backward

    @property
    def is_complete(self) -> bool:
        """Whether every frame of the video has its result."""
        return self.frames.ended and self.valid == self.frames.count > 0

    def labels(self, frame: int) -> LabelMap:
        """Return the labels of a frame: as painted, else as followed, else empty."""
        self._check(frame)
        with self.runner.lock:  # files come and go while something is painted
            return self.painted.over(frame, self.results.labels(frame))

    def _check(self, frame: int) -> None:
        """Raise UsageError if there is no such frame."""
        if not 0 <= frame < self.frames.count:
            raise UsageError(f"frame {frame}: expected 0 to {self.frames.count - 1}")

    # what is painted

    def paint(self, frame: int, labels: LabelMap) -> Step | None:
        """Take the labels of a frame as painted; raises Busy, MaskError, OutputError."""
        with self.runner.painting():
            return self._take(frame, labels)

    def _take(self, frame: int, labels: LabelMap) -> Step | None:
        self._check(frame)
        self._check_objects({int(id_) for id_ in np.unique(labels)} - {0})
        with self.runner.lock:
            return self.painted.paint(frame, self.results.labels(frame), labels)

    def _check_objects(self, ids: set[int]) -> None:
        """Raise MaskError for an object that there is not."""
        if unknown := ids - self.names.keys():
            raise MaskError(f"expected objects {sorted(self.names)}, found {sorted(unknown)}")

    def fill(self, frame: int, id_: int, points: Sequence[tuple[float, float]]) -> Step | None:
        """Add a polygon to an object; raises as `paint`. (0, 0) is the middle of the first pixel.

        It covers what other objects have there.
        """
        from vostool.first_mask.outlines import check_within, fill_polygon

        check_within(points, self.shape, "polygon")
        with self.runner.painting():
            return self._add(frame, id_, fill_polygon(points, self.shape))

    def _add(self, frame: int, id_: int, mask: BoolMask) -> Step | None:
        self._check_objects({id_})
        labels = self.labels(frame)
        labels[mask] = id_
        return self._take(frame, labels)

    def cut(self, frame: int, id_: int, box: tuple[int, int, int, int]) -> Step | None:
        """Add to an object what its colours tell apart in a box x, y, width, height.

        Raises MaskError where they do not, and as `paint`.
        """
        from vostool.first_mask.grabcut import cut_box

        self._check(frame)
        self._check_objects({id_})  # before it takes seconds
        with self.runner.alone(Run("cut")):
            rgb = self.frames.rgb(frame, *self.shape[::-1])
            return self._add(frame, id_, cut_box(rgb, box))

    def snap(self, frame: int, id_: int) -> Step | None:
        """Redraw an object as the network sees it; raises MaskError, and as `paint`."""
        with self.runner.alone(Run("snap")):
            labels = self.labels(frame)
            alone = np.where(labels == id_, labels, np.uint8(0))
            rgb = self.frames.rgb(frame, *self.shape[::-1])
            snapped = self.runner.ask(lambda engine: engine.snap(self.options, rgb, alone))
            labels[labels == id_] = 0
            labels[(snapped == id_) & (labels == 0)] = id_  # the others stay as they are
            return self._take(frame, labels)

    def clear(self, frame: int) -> Step | None:
        """Forget what is painted on a frame; raises Busy, OutputError."""
        self._check(frame)
        with self.runner.painting():
            return self.painted.clear(frame)

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
        first = 0 if self.backward else frame  # what comes before it follows from it too
        if first < self.valid:
            self._file.change(valid=first)

    # objects and options

    def add_object(self) -> int:
        """Return the id of a new object; raises UsageError if there are 254."""
        with self.runner.painting():
            free = next((id_ for id_ in range(1, MAX_OBJECTS + 1) if id_ not in self.names), None)
            if free is None:
                raise UsageError(f"expected at most {MAX_OBJECTS} objects")
            self._file.change(names={**self.names, free: f"Object {free}"})
            return free

    def rename(self, id_: int, name: str) -> None:
        """Name an object; raises UsageError."""
        name = " ".join(name.split())
        with self.runner.lock:
            if id_ not in self.names or not 0 < len(name) <= MAX_NAME:
                raise UsageError(f"object {id_}: expected a name of 1 to {MAX_NAME} characters")
            self._file.change(names={**self.names, id_: name})
        self.changed()

    def remove_object(self, id_: int) -> None:
        """Forget an object and what is painted of it; raises UsageError for the only one."""
        with self.runner.painting():
            rest = {number: name for number, name in self.names.items() if number != id_}
            if not rest or id_ not in self.names:
                raise UsageError(f"object {id_}: expected one of several objects")
            self.painted.forget(id_)
            self.painted.drop_steps()  # which would bring the masks back, but not the object
            self._file.change(names=rest)

    def choose(self, backward: bool | None = None, **changes: object) -> None:
        """Change how to follow; all results are then out of date. Raises UsageError, Busy.

        `changes` are options of the network.
        """
        with self.runner.painting():
            options = self.options.changed(changes)
            backward = self.backward if backward is None else backward
            if (options, backward) != (self.options, self.backward):
                # whoever chooses otherwise wants results to be replaced
                self._file.change(options=options, backward=backward, valid=0, adopted=False)

    # running

    def follow(self) -> None:
        """Start to follow what is painted, from the first frame that this concerns to the end.

        Raises UsageError if nothing is painted, and Busy.
        """
        if not self.painted.places:
            raise UsageError("paint an object first")
        self.saved = ()
        progress = self.runner.progress
        self.runner.start(
            Run("follow", total=self.info.frames), lambda engine: self.following(engine, progress)
        )

    def save(self, outputs: Sequence[str]) -> None:
        """Start to write outputs of the frames that are followed; raises UsageError, Busy.

        Frames followed backward depend on every mask: of them, all must be there.
        """
        if unknown := set(outputs) - set(SAVABLE):
            raise UsageError(f"expected outputs among {', '.join(SAVABLE)}, found {unknown}")
        if not self.valid:
            raise UsageError("follow an object first")
        if self.backward and not self.is_complete:
            raise UsageError("followed backward too: expected every frame followed, go on first")

        def do(engine: "Engine") -> None:
            end = None if self.is_complete else self.valid
            self.following(engine, self.runner.progress, tuple(outputs), end)
            self.saved = tuple(self.results.paths)

        self.saved = ()

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
