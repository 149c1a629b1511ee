"""What was painted: a folder of masks, `given/ID/FRAME.png`, and the steps that led there.

`vostool segment --mask given` reads the same folder. Each object has its own file on a frame, so
that an object which nobody painted there is still predicted; an empty file says that the object is
not to be seen there. Every step is on disk before it counts as done.

Shapes: labels (H, W), uint8.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vostool.errors import OutputError, UsageError
from vostool.files import make_folder, remove, write_bytes
from vostool.media.labels import MAX_OBJECTS, BoolMask, LabelMap, ids_in
from vostool.media.masks import encode_mask, read_mask
from vostool.studio.names import FrameNames

FOLDER, SUFFIX = "given", ".png"
MAX_STEPS = 200  # that can be undone

Place = tuple[int, int]  # a frame and an object


@dataclass(frozen=True)
class Step:
    """A change of files: what was at each place before, and what is there now; None: no file."""

    before: Mapping[Place, bytes | None]
    after: Mapping[Place, bytes | None]

    @property
    def first(self) -> int:
        """The first frame that it concerns."""
        return min(frame for frame, _ in self.after)


@dataclass
class Painted:
    """The masks painted so far, by frame and object."""

    folder: Path
    names: FrameNames
    changing: Callable[[int], None]  # called with the first frame of a change, before it is made
    places: set[Place] = field(default_factory=set)  # that have a file
    done: list[Step] = field(default_factory=list)
    undone: list[Step] = field(default_factory=list)

    def find(self) -> None:
        """Take what lies in the folder under names that `path` returns."""
        ids = {str(id_): id_ for id_ in range(1, MAX_OBJECTS + 1)}
        for path in self.folder.glob(f"*/*{SUFFIX}"):
            frame, id_ = self.names.number(path.stem), ids.get(path.parent.name)
            if frame is not None and id_ is not None:
                self.places.add((frame, id_))

    def bring(self, files: Mapping[Place, bytes]) -> None:
        """Take masks that results were made from already: no step, and nothing changes by it."""
        self._put(files)

    @property
    def frames(self) -> list[int]:
        """The frames on which something is painted, in order."""
        return sorted({frame for frame, _ in self.places})

    @property
    def ids(self) -> set[int]:
        """The objects that are painted somewhere."""
        return {id_ for _, id_ in self.places}

    def files(self, end: int | None = None) -> tuple[str, ...]:
        """Return what --mask takes, of the frames before `end`."""
        return tuple(
            f"{frame}:{id_}@{self.path(frame, id_)}"
            for frame, id_ in sorted(self.places)
            if end is None or frame < end
        )

    def path(self, frame: int, id_: int) -> Path:
        """Return where the mask of an object on a frame lies."""
        return self.folder / str(id_) / f"{self.names.of(frame)}{SUFFIX}"

    def over(self, frame: int, result: LabelMap) -> LabelMap:
        """Return the labels of a frame: the objects as painted, the others as in a result."""
        labels = result.copy()
        masks = dict(self._masks(frame))
        labels[np.isin(labels, list(masks))] = 0
        for id_, mask in masks.items():
            labels[mask] = id_
        return labels

    def _masks(self, frame: int) -> Iterator[tuple[int, BoolMask]]:
        for number, id_ in sorted(self.places):
            if number == frame:
                yield id_, read_mask(self.path(frame, id_), allow_empty=True, strict=False) > 0

    def paint(self, frame: int, result: LabelMap, labels: LabelMap) -> Step | None:
        """Change the labels of a frame, where an object differs; return the step, if there is one.

        `result` are the labels that the frame has unpainted. An object of these that is no longer
        there becomes an empty mask, and any other that is gone none.
        """
        before = self.over(frame, result)
        changed = before != labels
        ids = ids_in(np.concatenate([before[changed], labels[changed]]))
        shown = {int(id_) for each in (result, labels) for id_ in np.unique(each)}
        return self._take(
            {
                (frame, id_): encode_mask(np.where(labels == id_, np.uint8(id_), np.uint8(0)))
                if id_ in shown
                else None
                for id_ in ids
            }
        )

    def clear(self, frame: int) -> Step | None:
        """Forget what is painted on a frame."""
        return self._take({place: None for place in self.places if place[0] == frame})

    def forget(self, id_: int) -> Step | None:
        """Forget an object on every frame."""
        return self._take({place: None for place in self.places if place[1] == id_})

    def undo(self) -> Step:
        """Take the last step back and return it; raises UsageError if there is none."""
        if not self.done:
            raise UsageError("there is nothing to undo")
        step = self.done[-1]
        self._write(step.before)
        self.done.pop()
        self.undone.append(step)
        return step

    def redo(self) -> Step:
        """Do the step again that was taken back last and return it; raises UsageError."""
        if not self.undone:
            raise UsageError("there is nothing to redo")
        step = self.undone[-1]
        self._write(step.after)
        self.undone.pop()
        self.done.append(step)
        return step

    def drop_steps(self) -> None:
        """Forget the steps: none can be undone or done again."""
        self.done, self.undone = [], []

    def _take(self, files: Mapping[Place, bytes | None]) -> Step | None:
        if not files:
            return None
        step = Step({place: self._content(place) for place in files}, dict(files))
        self._write(files)
        self.done = [*self.done, step][-MAX_STEPS:]
        self.undone = []
        return step

    def _content(self, place: Place) -> bytes | None:
        path = self.path(*place)
        try:
            return path.read_bytes() if place in self.places else None
        except FileNotFoundError:  # somebody has removed it
            return None
        except OSError as error:
            raise OutputError(f"{path}: cannot be read: {error.strerror}") from error

    def _write(self, files: Mapping[Place, bytes | None]) -> None:
        self.changing(min(frame for frame, _ in files))
        self._put(files)

    def _put(self, files: Mapping[Place, bytes | None]) -> None:
        for place, content in files.items():
            path = self.path(*place)
            if content is None:
                remove(path)
                self.places.discard(place)
                with suppress(OSError):  # the object has masks of other frames
                    path.parent.rmdir()
            else:
                make_folder(path.parent)
                write_bytes(path, content)
                self.places.add(place)
