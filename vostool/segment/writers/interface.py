"""The interface of every kind of output: `Writer`."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from vostool.media.frame import Frame, VideoInfo, frame_name
from vostool.media.labels import LabelMap


@dataclass(frozen=True)
class Source:
    """The video that an output is made from."""

    video: Path
    info: VideoInfo
    start: int = 0  # number of the first frame to take
    names: tuple[str, ...] | None = None  # of all frames of a folder; None: numbers
    older: frozenset[str] = frozenset()  # of frames of the run before

    def name_of(self, number: int) -> str:
        """Return the name of a frame, and of the files made from it."""
        return frame_name(number) if self.names is None else self.names[number]

    def end(self, frames: int) -> int:
        """Return the number after the last of so many frames, as far as there are names."""
        return (
            self.start + frames if self.names is None else min(self.start + frames, len(self.names))
        )

    def is_frame(self, name: str) -> bool:
        """Return whether a picture of that name is of a frame, of this run or an older one."""
        return name.isdecimal() or name in self.older or name in (self.names or ())


class Writer(ABC):
    """One kind of output; a context manager, from its first frame to its last.

    Whatever it writes is whole under its final name, or has "part" in its name. It is begun or
    resumed, given the frames in order, and left: `finish` after the last frame, `stop` where
    something went wrong. All methods raise OutputError if something cannot be written.
    """

    file: ClassVar[str]  # the final name of the file or folder

    def __init__(self, folder: Path, source: Source) -> None:
        """Prepare to write into a folder; creates nothing."""
        self.path, self.source = folder / self.file, source

    @property
    def written(self) -> Path:
        """The file or folder that holds what is written, whole or not."""
        return self.path

    def is_complete(self, frames: int) -> bool:
        """Return whether the output of so many frames is there under its final name."""
        return self.path.exists()

    @property
    def warnings(self) -> list[str]:
        """The warnings, once it is closed."""
        return []

    @abstractmethod
    def replaced(self) -> list[Path]:
        """Return the files of an older run, whole or part, to remove before `begin`."""

    @abstractmethod
    def begin(self) -> None:
        """Start from the first frame."""

    @abstractmethod
    def resume(self, frames: int) -> int:
        """Continue, instead of `begin`, where a run was killed or interrupted after some frames.

        Return how many of them, from the first on, are there already: the next one to add. An
        output that cannot be extended starts again and returns 0.
        """

    @abstractmethod
    def add(self, frame: Frame, labels: LabelMap) -> None:
        """Write a frame (H, W, 3) with its labels (H, W)."""

    @abstractmethod
    def finish(self) -> None:
        """Give everything its final name."""

    @abstractmethod
    def stop(self, problem: BaseException) -> None:
        """Close what is there; what is not whole keeps "part" in its name."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if problem is None:
            self.finish()
        else:
            self.stop(problem)
