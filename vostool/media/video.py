"""Video files and folders of images to pictures, one at a time.

Pictures come as a player would show them: cropped, rotated and mirrored as the file asks,
colours by the file's own matrix and range, 8 bits, without transparency. Nothing but the picture
at hand, the next one and the decoder's own few is ever held.

Damage: a packet that cannot be decoded is skipped and decoding goes on, as in a player; the
caller learns of it through `warnings`. If the pictures end in damage (file cut off, or nothing
decodable until the end), those before it are delivered and then InputError is raised.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from itertools import chain, islice
from pathlib import Path

import av
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vostool.errors import InputError, UsageError
from vostool.media.clock import Clock
from vostool.media.compat import as_fraction, container_crop
from vostool.media.container import (
    find_video,
    frame_rate,
    may_break,
    open_media,
    stated_rate,
    with_stored_times,
)
from vostool.media.decoding import Decoding, all_pictures, decode_pictures
from vostool.media.folder import FOLDER_RATE, list_images, probe_folder, read_folder
from vostool.media.frame import Frame, VideoInfo, frame_name
from vostool.media.frame_conversion import Presenter

__all__ = [
    "Frame",
    "OpenVideo",
    "VideoInfo",
    "probe",
    "read_frames",
    "read_times",
    "read_undamaged",
]

FALLBACK_RATE = Fraction(25)  # for files with neither timestamps nor a frame rate
MISSING_SECONDS = 1  # how much shorter than announced a video may be without a warning


def probe(path: Path | str, rate: Fraction = FOLDER_RATE) -> VideoInfo:
    """Return the facts of a video or folder; decodes no more than its first picture.

    `rate` is how many frames per second a folder has.
    Raises InputError if it cannot be read or shows no picture.
    """
    path = Path(path)
    if path.is_dir():
        return probe_folder(path, rate)
    with open_media(path) as container:
        return OpenVideo(path, container).info


def read_frames(
    path: Path | str,
    start: int = 0,
    end: int | None = None,
    warnings: list[str] | None = None,
    *,
    stride: int = 1,
    rate: Fraction = FOLDER_RATE,
) -> Iterator[Frame]:
    """Yield the frames numbered `start` up to but not including `end`, as they are decoded.

    With a `stride` N only every Nth of them; `rate` is how many per second a folder has.
    Frames are counted as decoded, from 0 over the whole video, so what comes before `start` is
    decoded too. Times always rise; those that do not are put right as `Clock` says.
    Should the size change on the way, later pictures are scaled to the first one's.
    `warnings` receives one line for each kind of damage that was passed over or put right.

    Raises UsageError at once if the range is empty; on iteration InputError if the input cannot
    be read, ends before `start`, or breaks off (after yielding the frames before the break).
    """
    warnings = [] if warnings is None else warnings
    path = Path(path)
    check_frames(start, end)
    if path.is_dir():
        return read_folder(path, start, end, rate=rate, stride=stride)
    return _read_video(path, start, end, stride, damage=warnings, notes=warnings)


def read_undamaged(
    path: Path, start: int = 0, end: int | None = None, notes: list[str] | None = None
) -> Iterator[Frame]:
    """Yield frames as `read_frames` does; raises InputError after them if frames are missing.

    For those who rely on the numbers of frames: behind a gap they would be those of others.
    `notes` receives one line for each kind of thing that was put right, or only approximated.
    """
    damage: list[str] = []
    check_frames(start, end)
    if path.is_dir():
        yield from read_folder(path, start, end)
        return
    yield from _read_video(path, start, end, 1, damage, notes=[] if notes is None else notes)
    if damage:
        raise InputError(damage[0])


def read_times(path: Path, rate: Fraction = FOLDER_RATE) -> Iterator[Fraction]:
    """Yield when each frame is shown, in seconds, as `read_frames` has it; makes no pictures.

    `rate` is how many frames per second a folder has. Raises InputError if the input cannot be
    read or shows no picture.
    """
    if path.is_dir():
        yield from (index / rate for index in range(len(list_images(path))))
        return
    with open_media(path) as container:
        yield from (time for _, time in OpenVideo(path, container).pictures())


def check_frames(start: int, end: int | None) -> None:
    """Raise UsageError if a range of frames is empty."""
    if start < 0 or (end is not None and end <= start):
        raise UsageError(f"frames {start} to {end}: expected 0 <= start < end")


def _read_video(
    path: Path, start: int, end: int | None, stride: int, damage: list[str], notes: list[str]
) -> Iterator[Frame]:
    with open_media(path) as container:
        yield from OpenVideo(path, container).frames(start, end, stride, damage, notes)


class OpenVideo:
    """A video that is open: its facts, and its frames, which can be read once."""

    def __init__(self, path: Path, container: InputContainer, once: bool = False) -> None:
        """`path` is what messages call it; `once` says that it cannot be opened again.

        Raises InputError if it has no video.
        """
        self._path, self._container = path, container
        self._stream = stream = find_video(container, path)
        self._codec = stream.codec_context.name
        self.presenter = Presenter(path, container_crop(container, stream))
        # its period is how long a picture is shown where the file does not say
        self._clock = Clock(1 / (frame_rate(stream) or FALLBACK_RATE), may_break(container))
        self._progress = Decoding()
        if once:  # threads of whole frames would hold back the latest ones, and lose a damaged end
            stream.codec_context.thread_type = "SLICE"
            self._pictures = decode_pictures(container, stream, self._progress)
        else:
            self._pictures = all_pictures(path, container, stream, self._progress)

    @cached_property
    def info(self) -> VideoInfo:
        """Its facts; decodes the first picture, and raises InputError if there is none."""
        stream, presenter = self._stream, self.presenter
        picture = next(self._pictures, None)
        if picture is None:
            raise self._nothing()
        self._pictures = chain([picture], self._pictures)
        aspect = as_fraction(stream.sample_aspect_ratio) or Fraction(1)
        width, height = presenter.shown_size(picture)
        seconds, rate = _seconds(self._container, stream), frame_rate(stream)
        estimate = round(seconds * rate) if seconds and rate else None
        return VideoInfo(
            path=self._path,
            width=width,
            height=height,
            frames=stream.frames or estimate,
            rate=rate,
            seconds=seconds,
            rotation=round(picture.rotation / 90) % 4 * 90,
            codec=self._codec,
            pixel_format=picture.format.name,
            pixel_aspect=1 / aspect if presenter.orientation(picture).transposed else aspect,
            has_audio=bool(self._container.streams.audio),
        )

    def frames(
        self, start: int, end: int | None, stride: int, damage: list[str], notes: list[str]
    ) -> Iterator[Frame]:
        """Yield frames as `read_frames`; `damage` receives what is missing, `notes` the rest."""
        path, stream, progress = self._path, self._stream, self._progress
        seconds, clock = _seconds(self._container, stream), self._clock
        if (stated := stated_rate(stream)) and stated != frame_rate(stream):
            notes.append(f"{path}: states {float(stated):g} frames per second, taken as 25")
        for index, (picture, time) in enumerate(self.pictures(end)):
            if index >= start and (index - start) % stride == 0:
                yield Frame(index, time, self.presenter.present(picture), frame_name(index))
        last = progress.frames - 1
        notes.extend(f"{path}: {line}" for line in (*clock.warnings(), *self.presenter.warnings))
        damage.extend(f"{path}: {line}" for line in progress.passed_over())
        if last < start:
            raise InputError(f"{path}: cannot start at frame {start}, it has {last + 1} frames")
        if last + 1 == end:
            return
        if progress.failure:
            raise InputError(f"{path}: breaks off after frame {last}: {progress.failure}")
        if seconds and seconds - clock.elapsed > MISSING_SECONDS and not any(clock.warnings()):
            # no proof of damage: the last picture may be meant to stand for long
            ends = f"ends after frame {last} at {float(clock.elapsed):.1f} s"
            damage.append(f"{path}: {ends}, announced are {seconds:.1f} s: is the file complete?")

    def pictures(self, end: int | None = None) -> Iterator[tuple[VideoFrame, Fraction]]:
        """Yield the decoded pictures up to a number, and when each is shown, in seconds.

        Raises InputError if there is none.
        """
        pictures = islice(self._pictures, end)
        yield from self._clock.read(with_stored_times(pictures, self._container, self._stream))
        if not self._progress.frames:
            raise self._nothing()

    def _nothing(self) -> InputError:
        return InputError(f"{self._path}: no frame can be decoded ({self._codec})")


def _seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the announced duration: the stream's, else the whole file's, else None."""
    unit = as_fraction(stream.time_base)
    if stream.duration and unit:
        return float(stream.duration * unit)
    tag = stream.metadata.get("DURATION", "")  # Matroska: "00:01:02.033000000"
    if match := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", tag):
        hours, minutes, seconds = map(float, match.groups())
        return hours * 3600 + minutes * 60 + seconds
    return container.duration / av.time_base if container.duration else None
