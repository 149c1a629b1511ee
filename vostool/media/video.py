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
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
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
from vostool.media.folder import FOLDER_RATE, list_images, probe_folder, read_folder
from vostool.media.frame import Frame, VideoInfo, frame_name
from vostool.media.frame_conversion import Presenter

__all__ = ["Frame", "VideoInfo", "probe", "read_frames", "read_times", "read_undamaged"]

FALLBACK_RATE = Fraction(25)  # for files with neither timestamps nor a frame rate
MISSING_SECONDS = 1  # how much shorter than announced a video may be without a warning


def probe(path: Path | str) -> VideoInfo:
    """Return the facts of a video or folder; decodes no more than its first picture.

    Raises InputError if it cannot be read or shows no picture.
    """
    path = Path(path)
    if path.is_dir():
        return probe_folder(path)
    with open_media(path) as container:
        stream = find_video(container, path)
        presenter = Presenter(path, container_crop(container, stream))
        picture = next(decode_pictures(container, stream, Decoding()), None)
        if picture is None:
            raise InputError(f"{path}: no frame can be decoded ({stream.codec_context.name})")
        aspect = as_fraction(stream.sample_aspect_ratio) or Fraction(1)
        width, height = presenter.shown_size(picture)
        seconds, rate = _seconds(container, stream), frame_rate(stream)
        estimate = round(seconds * rate) if seconds and rate else None
        return VideoInfo(
            path=path,
            width=width,
            height=height,
            frames=stream.frames or estimate,
            rate=rate,
            seconds=seconds,
            rotation=round(picture.rotation / 90) % 4 * 90,
            codec=stream.codec_context.name,
            pixel_format=picture.format.name,
            pixel_aspect=1 / aspect if presenter.orientation(picture).transposed else aspect,
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
    decoded too. Times always rise; those that do not are put right as `Clock` says.
    Should the size change on the way, later pictures are scaled to the first one's.
    `warnings` receives one line for each kind of damage that was passed over or put right.

    Raises UsageError at once if the range is empty; on iteration InputError if the input cannot
    be read, ends before `start`, or breaks off (after yielding the frames before the break).
    """
    warnings = [] if warnings is None else warnings
    return _read(Path(path), start, end, damage=warnings, notes=warnings)


def read_undamaged(
    path: Path, start: int = 0, end: int | None = None, notes: list[str] | None = None
) -> Iterator[Frame]:
    """Yield frames as `read_frames` does; raises InputError after them if frames are missing.

    For those who rely on the numbers of frames: behind a gap they would be those of others.
    `notes` receives one line for each kind of thing that was put right, or only approximated.
    """
    damage: list[str] = []
    yield from _read(path, start, end, damage, notes=[] if notes is None else notes)
    if damage:
        raise InputError(damage[0])


def read_times(path: Path) -> Iterator[Fraction]:
    """Yield when each frame is shown, in seconds, as `read_frames` has it; makes no pictures.

    Raises InputError if the input cannot be read or shows no picture.
    """
    if path.is_dir():
        yield from (index / FOLDER_RATE for index in range(len(list_images(path))))
        return
    progress = Decoding()
    with open_media(path) as container:
        stream = find_video(container, path)
        codec = stream.codec_context.name
        pictures = all_pictures(path, container, stream, progress)
        for _, time in clock_of(container, stream).read(
            with_stored_times(pictures, container, stream)
        ):
            yield time
    if not progress.frames:
        raise InputError(f"{path}: no frame can be decoded ({codec})")


def _read(
    path: Path, start: int, end: int | None, damage: list[str], notes: list[str]
) -> Iterator[Frame]:
    if start < 0 or (end is not None and end <= start):
        raise UsageError(f"frames {start} to {end}: expected 0 <= start < end")
    if path.is_dir():
        return read_folder(path, start, end)
    return _read_video(path, start, end, damage, notes)


def _read_video(
    path: Path, start: int, end: int | None, damage: list[str], notes: list[str]
) -> Iterator[Frame]:
    """Yield the frames of a file; adds to `damage` what is missing, to `notes` what is mended."""
    progress = Decoding()
    with open_media(path) as container:
        stream = find_video(container, path)
        codec, seconds = stream.codec_context.name, _seconds(container, stream)
        presenter = Presenter(path, container_crop(container, stream))
        clock = clock_of(container, stream)
        if (stated := stated_rate(stream)) and stated != frame_rate(stream):
            notes.append(f"{path}: states {float(stated):g} frames per second, taken as 25")
        pictures = islice(all_pictures(path, container, stream, progress), end)
        timed = clock.read(with_stored_times(pictures, container, stream))
        for index, (picture, time) in enumerate(timed):
            if index >= start:
                yield Frame(index, time, presenter.present(picture), frame_name(index))
    last = progress.frames - 1
    notes.extend(f"{path}: {line}" for line in (*clock.warnings(), *presenter.warnings))
    damage.extend(f"{path}: {line}" for line in progress.passed_over())
    if last < 0:
        raise InputError(f"{path}: no frame can be decoded ({codec})")
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


def clock_of(container: InputContainer, stream: VideoStream) -> Clock:
    """Return the clock that gives the pictures of a stream their times."""
    return Clock(1 / (frame_rate(stream) or FALLBACK_RATE), may_break(container))


@dataclass
class Decoding:
    """How far decoding got, and what it had to pass over."""

    packets: int = 0  # given to the decoder
    frames: int = 0  # decoded so far
    emptied: int = 0  # of these, how many came only after the last packet
    skipped: int = 0  # packets that could not be decoded
    skipped_at: int = 0  # frames decoded before the first of them
    failure: str = ""  # why nothing more came after the latest frame

    @property
    def in_flight(self) -> int:
        """How many packets have neither given a frame nor been passed over."""
        return max(0, self.packets - self.frames - self.skipped)

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


def all_pictures(
    path: Path, container: InputContainer, stream: VideoStream, progress: Decoding
) -> Iterator[VideoFrame]:
    """Yield every picture that can be decoded, in order of presentation."""
    yield from decode_pictures(container, stream, progress)
    context = stream.codec_context
    # what threads hold at the end: PyAV stops at the first damaged packet, often without an error;
    # a decoder that puts pictures in order holds others too
    complete = progress.emptied >= context.thread_count - 1 and not context.has_b_frames
    if progress.in_flight and context.thread_count > 1 and not complete:
        yield from _end_again(path, progress)


def _end_again(path: Path, progress: Decoding) -> Iterator[VideoFrame]:
    """Yield what comes after the frames so far, from a decoder of one thread, which holds none."""
    known, again = progress.frames, Decoding()
    with open_media(path) as container:
        stream = find_video(container, path)
        stream.codec_context.thread_type = "NONE"
        # from the beginning: not every format finds the place of a time
        for picture in islice(decode_pictures(container, stream, again), known, None):
            progress.frames += 1
            yield picture
    progress.skipped, progress.skipped_at = again.skipped, again.skipped_at
    progress.failure = again.failure


def decode_pictures(
    container: InputContainer, stream: VideoStream, progress: Decoding
) -> Iterator[VideoFrame]:
    """Yield every picture, but with threads perhaps not those that a damaged end leaves."""
    for packet in _packets(container, stream, progress):
        progress.packets += packet is not None
        try:
            pictures = stream.decode(packet)
        except av.FFmpegError as error:
            progress.skip(error)
            continue
        for picture in pictures:
            progress.frames += 1
            progress.emptied += packet is None
            progress.failure = progress.failure if packet is None else ""
            yield picture


def _packets(
    container: InputContainer, stream: VideoStream, progress: Decoding
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
    unit = as_fraction(stream.time_base)
    if stream.duration and unit:
        return float(stream.duration * unit)
    tag = stream.metadata.get("DURATION", "")  # Matroska: "00:01:02.033000000"
    if match := re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", tag):
        hours, minutes, seconds = map(float, match.groups())
        return hours * 3600 + minutes * 60 + seconds
    return container.duration / av.time_base if container.duration else None
