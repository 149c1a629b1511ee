"""Where the frames of a video come from: a file, a folder of images, or a stream.

Files and folders are read as often as needed. A stream is read once, while it arrives: a pipe, an
address on the network, a camera.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from threading import Event
from typing import ClassVar

from av.container import InputContainer

from vostool import files
from vostool.errors import InputError, UsageError
from vostool.files.remote import scheme_of
from vostool.media.folder import FOLDER_RATE, folder_warnings, list_images
from vostool.media.frame import Frame, VideoInfo
from vostool.media.streams import SCHEMES, open_address, open_camera, open_stdin
from vostool.media.video import OpenVideo, check_frames, probe, read_frames

PIPE = "-"
# scheme, what follows it, and of that the place: without user, password and query
ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(://(?:[^/?#]*@)?([^?#]*).*)", re.DOTALL)
# no exponent: 1e99999999 would take minutes
RATE = re.compile(r"\d{1,9}(?:\.\d{1,9}|/\d{1,9})?", re.ASCII)
MAX_RATE = 1000  # frames per second


class VideoInput(ABC):
    """A video, wherever its frames come from."""

    path: Path  # where it lies; of a stream what it is called
    repeatable: ClassVar[bool]  # whether it can be read more than once

    @abstractmethod
    def probe(self) -> VideoInfo:
        """Return its facts; decodes no more than the first picture. Raises InputError."""

    @abstractmethod
    def frames(
        self,
        start: int = 0,
        end: int | None = None,
        stride: int = 1,
        warnings: list[str] | None = None,
    ) -> Iterator[Frame]:
        """Yield frames as `read_frames` does; of a stream only once."""

    @abstractmethod
    def again(self, what: str) -> Path:
        """Return the path for `what` reads it a second time; raises UsageError for a stream."""

    @property
    def rate(self) -> Fraction:
        """How many frames per second a folder has."""
        return FOLDER_RATE

    @property
    def files(self) -> dict[str, str] | None:
        """The files of a folder's frames by the frames' names; None: frames have numbers."""
        return None

    @property
    def warnings(self) -> list[str]:
        """What is to be said of it before the first frame is read."""
        return []

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class Stored(VideoInput):
    """A video file or a folder of images."""

    path: Path
    fps: Fraction | None = None  # of a folder; None: `FOLDER_RATE`
    repeatable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Raise UsageError for a frame rate of a file, which has times of its own."""
        if self.fps is not None and self.path.is_file():
            given = f"--fps {float(self.fps):g}"
            raise UsageError(f"{given}: is for folders of frames, {self.path} has its own times")

    @property
    def rate(self) -> Fraction:
        """How many frames per second a folder has."""
        return self.fps or FOLDER_RATE

    def probe(self) -> VideoInfo:
        """Return its facts."""
        return probe(self.path, self.rate)

    def frames(
        self,
        start: int = 0,
        end: int | None = None,
        stride: int = 1,
        warnings: list[str] | None = None,
    ) -> Iterator[Frame]:
        """Yield frames."""
        return read_frames(self.path, start, end, warnings, stride=stride, rate=self.rate)

    def again(self, what: str) -> Path:
        """Return the path."""
        return self.path

    @property
    def files(self) -> dict[str, str] | None:
        """The names of a folder's frames, and of their files."""
        if not self.path.is_dir():
            return None
        return {path.stem: path.name for path in list_images(self.path)}

    @property
    def warnings(self) -> list[str]:
        """What is to be said of the files in a folder."""
        return folder_warnings(self.path) if self.path.is_dir() else []


@dataclass(frozen=True)
class Elsewhere(VideoInput):
    """A video at an address that FFmpeg does not read: it is to be fetched first."""

    address: str
    path: Path  # its name
    repeatable: ClassVar[bool] = True

    def probe(self) -> VideoInfo:
        """Raise InputError."""
        raise InputError(f"{self.address}: is not fetched yet")

    def frames(
        self,
        start: int = 0,
        end: int | None = None,
        stride: int = 1,
        warnings: list[str] | None = None,
    ) -> Iterator[Frame]:
        """Raise InputError."""
        raise InputError(f"{self.address}: is not fetched yet")

    def again(self, what: str) -> Path:
        """Return its name."""
        return self.path

    def __str__(self) -> str:
        return self.address

    @property
    def output_name(self) -> str:
        """A name for its output: a file's without the ending; a folder's ends in a slash."""
        return self.path.name if self.address.endswith("/") else self.path.stem


def is_elsewhere(text: str) -> bool:
    """Return whether a text is an address that FFmpeg does not read."""
    scheme = scheme_of(text)
    return scheme is not None and scheme not in SCHEMES


def is_stream(text: str) -> bool:
    """Return whether a text is "-" or an address that FFmpeg reads."""
    return text == PIPE or scheme_of(text) in SCHEMES


class Stream(VideoInput):
    """A video that is read once, while it arrives; opened when it is first asked for."""

    repeatable: ClassVar[bool] = False

    def __init__(
        self,
        path: Path,
        kind: str,
        opening: Callable[[], AbstractContextManager[InputContainer]],
        endless: bool = False,
    ) -> None:
        """`path` is what it is called, `kind` what it is; `endless`: it goes on until `stop`."""
        self.path, self.kind, self.endless = path, kind, endless
        self._opening, self._stack = opening, ExitStack()
        self._stopped = Event()

    @cached_property
    def _video(self) -> OpenVideo:
        return OpenVideo(self.path, self._stack.enter_context(self._opening()), once=True)

    def probe(self) -> VideoInfo:
        """Return its facts, as far as they are known before its end."""
        return self._video.info

    def frames(
        self,
        start: int = 0,
        end: int | None = None,
        stride: int = 1,
        warnings: list[str] | None = None,
    ) -> Iterator[Frame]:
        """Yield frames until the end, or until it is stopped; then it is closed."""
        notes = [] if warnings is None else warnings
        check_frames(start, end)
        with self._stack:
            for frame in self._video.frames(start, end, stride, notes, notes):
                yield frame
                if self._stopped.is_set():
                    return

    def stop(self) -> None:
        """End it after the frame at hand, as if there were no more."""
        self._stopped.set()

    @property
    def end(self) -> Callable[[], None] | None:
        """What ends it, if it has no end of its own."""
        return self.stop if self.endless else None

    def again(self, what: str) -> Path:
        """Raise UsageError."""
        raise UsageError(
            f"{what}: reads the video a second time, but {self.kind} can be read only once; save "
            "it to a file first"
        )

    @property
    def default_output(self) -> Path:
        """A folder named as the stream."""
        return Path.cwd() / (self.path.stem.strip(".") or "stream")


def parse_input(text: str, allow_network: bool = False) -> Path | Stream:
    """Return the path, or the stream, that is given as a video: a path, "-" or an address.

    Raises UsageError for an address on the network, unless that is allowed.
    """
    if text == PIPE:
        return Stream(Path("stdin"), "a pipe", open_stdin)
    address = ADDRESS.match(text)
    if address is None:
        return Path(text)
    scheme, place = address[1].lower(), address[3]
    if scheme not in SCHEMES:
        known = ", ".join(f"{each}://" for each in SCHEMES)
        raise UsageError(f"{scheme}://{place}: expected a path, or one of {known}")
    if not allow_network:
        raise UsageError(f"{scheme}://{place}: lies on the network; --allow-network reads it")
    whole = scheme + address[2]  # FFmpeg knows no HTTPS://
    # without what is secret: it stands in messages, and in run.json
    return Stream(Path(place.rstrip("/")), "an address", lambda: open_address(whole, place))


def default_output(video: Path | Stream) -> Path:
    """Return the folder that the results of a video are written to unless another is given."""
    return files.default_output(video) if isinstance(video, Path) else video.default_output


def camera(number: int) -> Stream:
    """Return a camera of this computer, by its number from 0."""
    name = Path(f"camera-{number}")
    return Stream(name, "a camera", lambda: open_camera(number, name), endless=True)


def parse_rate(text: str) -> Fraction:
    """Return frames per second of such as "30", "23.976" or "30000/1001"; raises UsageError."""
    rate = Fraction(0)
    if RATE.fullmatch(text.strip()):
        with suppress(ZeroDivisionError):
            rate = Fraction(text.strip())
    if not 0 < rate <= MAX_RATE:
        raise UsageError(
            f"--fps {text[:40]}: expected frames per second, more than 0 and at most {MAX_RATE}, "
            "such as 30 or 24000/1001"
        )
    return rate
