"""Video files and folders of images to pictures, one at a time.

Pictures come as a player would show them: rotated and mirrored as the file asks, colours by
the file's own matrix and range, 8 bits, without transparency. Nothing but the picture at hand
and the decoder's own few is ever held.

Damage: a packet that cannot be decoded is skipped and decoding goes on, as in a player; the
caller learns of it through `warnings`. If the pictures end in damage (file cut off, or nothing
decodable until the end), those before it are delivered and then InputError is raised.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vostool.errors import InputError, UsageError
from vostool.media.folder import probe_folder, read_folder
from vostool.media.frame import Frame, VideoInfo, frame_name
from vostool.media.picture import orientation, to_rgb

__all__ = ["Frame", "VideoInfo", "probe", "read_frames", "read_undamaged"]

TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})  # FFmpeg "plays" text files
FALLBACK_RATE = Fraction(25)  # for files with neither timestamps nor a frame rate
MISSING_SECONDS = 1  # how much shorter than announced a video may be without a warning


def probe(path: Path | str) -> VideoInfo:
    """Return the facts of a video or folder; decodes no more than its first picture.

    Raises InputError if it cannot be read or shows no picture.
    """
    path = Path(path)
    if path.is_dir():
        return probe_folder(path)
    with _open(path) as container:
        stream = _video_stream(container, path)
        picture = next(_pictures(container, stream, _Progress()), None)
        if picture is None:
            raise InputError(f"{path}: no frame can be decoded ({stream.codec_context.name})")
        aspect = stream.sample_aspect_ratio or Fraction(1)
        transposed = orientation(picture).transposed
        width, height = picture.width, picture.height
        seconds = _seconds(container, stream)
        rate = stream.average_rate or stream.guessed_rate or None
        estimate = round(seconds * rate) if seconds and rate else None
        return VideoInfo(
            path=path,
            width=height if transposed else width,
            height=width if transposed else height,
            frames=stream.frames or estimate,
            rate=rate,
            seconds=seconds,
            rotation=round(picture.rotation / 90) % 4 * 90,
            codec=stream.codec_context.name,
            pixel_format=picture.format.name,
            pixel_aspect=1 / aspect if transposed else aspect,
            has_audio=bool(container.streams.audio),
        )


def read_frames(
    path: Path | str,
    start: int = 0,
    end: int | None = None,
    warnings: list[str] | None = None,
) -> Iterator[Frame]:
    """Yield the frames numbered `start` up to but not including `end`, as they are decoded.

    Frames are counted as decoded, from 0 over the whole video, so what comes before `start` is
    decoded too. A picture without a timestamp is placed one frame period after the one before.
    Should the size change on the way, later pictures are scaled to the first one's.
    `warnings` receives one line for each kind of damage that was passed over.

    Raises UsageError at once if the range is empty; on iteration InputError if the input cannot
    be read, ends before `start`, or breaks off (after yielding the frames before the break).
    """
    if start < 0 or (end is not None and end <= start):
        raise UsageError(f"frames {start} to {end}: expected 0 <= start < end")
    path = Path(path)
    if path.is_dir():
        return read_folder(path, start, end)
    return _read_video(path, start, end, [] if warnings is None else warnings)


def read_undamaged(path: Path, start: int = 0, end: int | None = None) -> Iterator[Frame]:
    """Yield frames as `read_frames` does; raises InputError after them where that one warns.

    For whoever goes by the numbers of frames: behind a gap they would be those of others.
    """
    warnings: list[str] = []
    yield from read_frames(path, start, end, warnings)
    if warnings:
        raise InputError(warnings[0])


def _read_video(path: Path, start: int, end: int | None, warnings: list[str]) -> Iterator[Frame]:
    progress = _Progress()
    with _open(path) as container:
        stream = _video_stream(container, path)
        clock = _Clock(stream)
        size: tuple[int, int] | None = None
        for index, picture in enumerate(_pictures(container, stream, progress)):
            time = clock.read(picture)
            size = size or (picture.width, picture.height)
            if index >= start:
                yield Frame(index, time, to_rgb(picture, *size), frame_name(index))
            if index + 1 == end:
                break
        seconds = _seconds(container, stream)
        codec = stream.codec_context.name
    last = progress.frames - 1
    warnings.extend(f"{path}: {line}" for line in progress.passed_over())
    if last < 0:
        raise InputError(f"{path}: no frame can be decoded ({codec})")
    if last < start:
        raise InputError(f"{path}: cannot start at frame {start}, it has {last + 1} frames")
    if last + 1 == end:
        return
    if progress.failure:
        raise InputError(f"{path}: breaks off after frame {last}: {progress.failure}")
    if seconds and seconds - clock.elapsed > MISSING_SECONDS:
        # no proof of damage: the last picture may be meant to stand for long
        ends = f"ends after frame {last} at {float(clock.elapsed):.1f} s"
        warnings.append(f"{path}: {ends}, announced are {seconds:.1f} s: is the file complete?")


@dataclass
class _Progress:
    """How far decoding got, and what it had to pass over."""

    frames: int = 0  # decoded so far
    skipped: int = 0  # packets that could not be decoded
    skipped_at: int = 0  # frames decoded before the first of them
    failure: str = ""  # why nothing more came after the latest frame

    def skip(self, error: av.FFmpegError) -> None:
        """Note a packet that cannot be decoded."""
        self.skipped_at = self.skipped_at if self.skipped else self.frames
        self.skipped += 1
        self.failure = error.strerror or "cannot be decoded"

    def passed_over(self) -> Iterator[str]:
        """Yield the warnings to give, if any."""
        if self.skipped:
            where = f"after frame {self.skipped_at - 1}" if self.skipped_at else "at the beginning"
            yield f"skipped {self.skipped} damaged packet(s), the first {where}"


class _Clock:
    """Gives each picture its time in seconds; where none is stored, one period after the last."""

    def __init__(self, stream: VideoStream) -> None:
        self.unit = stream.time_base or Fraction(1)
        self.period = 1 / (stream.average_rate or stream.guessed_rate or FALLBACK_RATE)
        self.first: Fraction | None = None
        self.next = Fraction(0)

    @property
    def elapsed(self) -> Fraction:
        """How long the pictures read so far last, in seconds."""
        return self.next - (self.first or 0)

    def read(self, picture: VideoFrame) -> Fraction:
        """Return the time of the next picture."""
        # not picture.time_base, which is absent from the pictures that come out at the end
        time = self.next if picture.pts is None else picture.pts * self.unit
        self.first = time if self.first is None else self.first
        self.next = time + self.period
        return time


def _open(path: Path) -> InputContainer:
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: expected a video, the file is empty (0 bytes)")
        # "file:" keeps a colon in the name from being taken for a protocol
        container = av.open(f"file:{path}", metadata_errors="replace")
    except av.FFmpegError as error:
        # a file that says it is an MP4 and lacks the index at its end
        hint = " (is the file complete?)" if _starts_like_mp4(path) else ""
        raise InputError(f"{path}: cannot be read as a video: {error.strerror}{hint}") from error
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if container.format.name in TEXT_FORMATS:
        container.close()
        raise InputError(f"{path}: expected a video, found text")
    return container


def _starts_like_mp4(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(8)[4:] == b"ftyp"


def _video_stream(container: InputContainer, path: Path) -> VideoStream:
    """Return the first real video stream, set to decode on all cores; not an album cover."""
    for stream in container.streams.video:
        if stream.codec_context and not stream.disposition & Disposition.attached_pic:
            stream.codec_context.thread_type = "AUTO"
            return stream
    others = {stream.type for stream in container.streams} - {"video"}
    raise InputError(
        f"{path}: expected a video, found only {', '.join(sorted(others)) or 'a still'}"
    )


def _pictures(
    container: InputContainer, stream: VideoStream, progress: _Progress
) -> Iterator[VideoFrame]:
    """Yield every picture that can be decoded, in order of presentation."""
    for packet in _packets(container, stream, progress):
        try:
            pictures = stream.decode(packet)
        except av.FFmpegError as error:
            progress.skip(error)
            continue
        for picture in pictures:
            progress.frames += 1
            progress.failure = progress.failure if packet is None else ""
            yield picture


def _packets(
    container: InputContainer, stream: VideoStream, progress: _Progress
) -> Iterator["Packet[VideoStream] | None"]:
    """Yield the packets of the stream, then None, which empties the decoder."""
    cut_off = ""
    try:
        for packet in container.demux(stream):
            if packet.size:  # the last one is empty
                cut_off = "the file is cut off" if packet.is_corrupt else ""
                yield packet
    except av.FFmpegError as error:
        cut_off = error.strerror or "the file cannot be read on"
    progress.failure = cut_off or progress.failure
    yield None


def _seconds(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the announced duration: the stream's, else the whole file's, else None."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = stream.metadata.get("DURATION", "")  # Matroska: "00:01:02.033000000"
    if match := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", tag):
        hours, minutes, seconds = map(float, match.groups())
        return hours * 3600 + minutes * 60 + seconds
    return container.duration / av.time_base if container.duration else None
