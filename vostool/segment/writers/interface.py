"""The interface of every kind of output: `Writer`."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from vostool.errors import UsageError
from vostool.inference.soft import SegmentedFrame
from vostool.media.frame import Frame, VideoInfo, frame_name
from vostool.segment.settings import Settings


@dataclass(frozen=True)
class Source:
    """The video that an output is made from."""

    video: Path | None  # None: it cannot be read again, for its sound
    info: VideoInfo
    start: int = 0  # number of the first frame to take
    stride: int = 1  # from one frame to the next
    names: tuple[str, ...] | None = None  # of all frames of a folder; None: numbers
    older: frozenset[str] = frozenset()  # of frames of the run before
    objects: tuple[int, ...] = ()  # the ids of all objects that will be followed
    settings: Settings = field(default_factory=Settings)
    files: Mapping[str, str] = field(default_factory=dict)  # of a folder's frames by name

    @property
    def rate(self) -> Fraction | None:
        """How many frames per second are taken, in the mean; None if that is unknown."""
        return None if self.info.rate is None else self.info.rate / self.stride

    def name_of(self, number: int) -> str:
        """Return the name of a frame, and of the files made from it."""
        return frame_name(number) if self.names is None else self.names[number]

    def file_of(self, name: str) -> str:
        """Return the name of the file that a frame comes from; of a video what it would be."""
        return self.files.get(name, f"{name}.png")

    def numbers(self, frames: int) -> range:
        """Return the numbers of so many frames, as far as there are names."""
        end = self.start + frames * self.stride
        return range(
            self.start, end if self.names is None else min(end, len(self.names)), self.stride
        )

    def frames_before(self, frame: Frame) -> int:
        """Return how many of the frames that are taken come before one of them."""
        return (frame.index - self.start) // self.stride

    def is_frame(self, name: str) -> bool:
        """Return whether a picture of that name is of a frame, of this run or an older one."""
        return name.isdecimal() or name in self.older or name in (self.names or ())


class Writer(ABC):
    """One kind of output; a context manager, from its first frame to its last.

    Whatever it writes is whole under its final name, or has "part" in its name. It is begun or
    resumed, given the frames, in order unless `in_any_order`, and left: `finish` after the last
    frame, `stop` where something went wrong. All methods raise OutputError if something cannot be
    written.
    """

    help: ClassVar[str]  # what it is, for users
    file: ClassVar[str]  # the final name of the file or folder
    variants: ClassVar[Mapping[str, str]] = {"": ""}  # what each is; "": none need be chosen
    needs_soft: ClassVar[bool] = False  # whether it asks for the soft masks
    # whether frames can be added in any order, also several at a time, each in a thread of its own
    in_any_order: bool = False

    def __init__(self, folder: Path, source: Source, variant: str = "") -> None:
        """Prepare to write into a folder; creates nothing.

        Raises UsageError for a variant that does not exist.
        """
        self.check(variant)
        self.path, self.source, self.variant = folder / self.file_of(variant), source, variant

    @classmethod
    def check(cls, variant: str) -> None:
        """Raise UsageError for a variant that does not exist."""
        if variant not in cls.variants:
            found = f"found {variant}" if variant else "found none"
            expected = ", ".join(filter(None, cls.variants)) or "no variant"
            raise UsageError(f"expected {expected}; {found}")

    @classmethod
    def file_of(cls, variant: str) -> str:
        """Return the final name of the file or folder of a variant."""
        return cls.file

    @property
    def written(self) -> Path:
        """The file or folder that holds what is written, whole or not."""
        return self.path

    @property
    def folders(self) -> list[Path]:
        """The folders it is written into, inner ones first."""
        return [self.path]

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
    def add(self, segmented: SegmentedFrame) -> None:
        """Write a frame; it has soft masks if the output asks for them."""

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
