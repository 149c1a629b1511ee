"""Files opened for reading, and the streams that a player would choose.

FFmpeg reads through a Python file and is allowed no protocol of its own, so that no input can
make it open another file or the network, whatever it refers to.
"""

import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

import av
from av.codec.context import Flags
from av.container import InputContainer
from av.format import Flags as FormatFlags
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vostool.errors import InputError
from vostool.media.compat import OPEN_OPTIONS, as_fraction
from vostool.threads import thread_count

# what is described here lies elsewhere: in a list of other files, on the network, in a numbered
# series of images
REFERRING_FORMATS = frozenset(
    {"hls", "concat", "dash", "imf", "sdp", "rtsp", "rtp", "sap", "image2", "alias_pix", "vobsub"}
)
PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat version", b"v=0", b"<MPD", b"[playlist]", b"[Reference]")
START = 1024  # bytes that show what kind of file it is
COMPLETE = "is the file complete?"
TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "adf", "idf"})  # FFmpeg "plays" text files
MAX_PIXELS = 16384 * 8192  # of a picture: more would take gigabytes, whatever the file's size
MAX_RATE = 1000  # frames per second; files with more mistake another clock for it
OPTIONS = {
    "protocol_whitelist": "",
    "format_whitelist": ",".join(sorted(av.formats_available - REFERRING_FORMATS)),
    "max_pixels": str(MAX_PIXELS),
}
AnyStream = TypeVar("AnyStream", bound=Stream)
HIDDEN = Disposition.attached_pic | Disposition.timed_thumbnails  # covers, chapters' pictures


@contextmanager
def open_media(path: Path) -> Iterator[InputContainer]:
    """Give a file opened by FFmpeg, which is closed at the end of the block.

    Raises InputError if it is missing, empty, no regular file, or no media file, and for a file
    that only refers to others, such as a playlist.
    """
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_open_regular(path))
            container = av.open(file, options=OPTIONS, **OPEN_OPTIONS)
            stack.enter_context(container)
        except av.FFmpegError as error:
            with path.open("rb") as again:
                start = again.read(START)
            raise InputError(f"{path}: {refusal(start, error, COMPLETE)}") from error
        except OSError as error:
            hint = "; only segment reads a pipe, or from the network" if is_stream(path) else ""
            raise InputError(f"{path}: {error.strerror}{hint}") from error
        refuse_text(path, container)
        yield container


def is_stream(path: Path) -> bool:
    """Return whether a path is what people give for a pipe, or an address on the network."""
    return str(path) == "-" or re.match(r"[a-z][a-z0-9+.-]+:[/\\]", str(path)) is not None


def refuse_text(path: Path, container: InputContainer) -> None:
    """Raise InputError for text, which FFmpeg would play."""
    if container.format.name in TEXT_FORMATS:
        raise InputError(f"{path}: expected a video, found text")


def _open_regular(path: Path) -> BinaryIO:
    status = path.stat()  # before opening: that of a pipe waits until somebody writes
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: expected a video file, found a pipe, a device or a folder")
    if status.st_size == 0:
        raise InputError(f"{path}: expected a video, the file is empty (0 bytes)")
    return path.open("rb")


def refusal(start: bytes, error: av.FFmpegError, index_hint: str) -> str:
    """Return why a file or pipe that begins so cannot be read as a video.

    `index_hint` is for what says that it is an MP4 and lacks the index at its end.
    """
    if start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(PLAYLIST_STARTS):
        return "expected a video, found a playlist, which only refers to others; give one of those"
    hint = f" ({index_hint})" if start[4:8] == b"ftyp" else ""
    return f"cannot be read as a video: {error.strerror}{hint}"


def find_video(container: InputContainer, path: Path) -> VideoStream:
    """Return the video stream flagged as default, else the first, set to decode in several threads.

    Album covers and the like do not count. Raises InputError if there is no other.
    """
    streams = [stream for stream in container.streams.video if not stream.disposition & HIDDEN]
    for stream in by_preference(streams):
        context = stream.codec_context
        if context is None:  # no decoder
            continue
        if context.width * context.height > MAX_PIXELS:
            raise InputError(
                f"{path}: pictures are {context.width}x{context.height}, "
                f"expected at most {MAX_PIXELS} pixels"
            )
        context.thread_type, context.thread_count = "AUTO", thread_count()
        context.options = {"max_pixels": str(MAX_PIXELS)}
        # else columns cropped on the left by the bitstream would be kept for alignment
        context.flags |= Flags.unaligned
        return stream
    if streams:
        raise InputError(f"{path}: FFmpeg has no decoder for its video")
    others = {stream.type for stream in container.streams} - {"video"}
    raise InputError(
        f"{path}: expected a video, found only {', '.join(sorted(others)) or 'a still'}"
    )


def may_break(container: InputContainer) -> bool:
    """Return whether the format allows its clock to leap, as MPEG transport streams do."""
    return bool(container.format.flags & cast(int, FormatFlags.ts_discont.value))


def stated_rate(stream: VideoStream) -> Fraction | None:
    """Return the mean frame rate that a file states, in frames per second, however absurd."""
    # of raw DV the mean is that of its clock, 60000; of a variable rate the guess is the highest
    rates = [as_fraction(stream.average_rate), as_fraction(stream.guessed_rate)]
    return min((rate for rate in rates if rate), default=None)


def frame_rate(stream: VideoStream) -> Fraction | None:
    """Return the mean frame rate, in frames per second; None if unknown or absurd."""
    rate = stated_rate(stream)
    return rate if rate and rate <= MAX_RATE else None


def with_stored_times(
    pictures: Iterable[VideoFrame], container: InputContainer, stream: VideoStream
) -> Iterator[tuple[VideoFrame, Fraction | None]]:
    """Yield each picture with the time at which the file shows it, in seconds, None if unknown.

    No time is believed of a file whose frame rate is absurd.
    """
    unit = as_fraction(stream.time_base)  # not the pictures', of which the last may have none
    absurd = (stated_rate(stream) or 0) > MAX_RATE
    # an AVI counts its pictures in the order of decoding; FFmpeg only guesses when to show them
    counted, first = container.format.name == "avi", None
    for picture in pictures:
        ticks = picture.dts if counted else picture.pts
        if absurd or ticks is None or unit is None:
            yield picture, None
            continue
        if counted:
            first = ticks if first is None else first
            ticks += (stream.start_time or 0) - first
        yield picture, ticks * unit


def by_preference(streams: Sequence[AnyStream]) -> list[AnyStream]:
    """Return the streams in the order in which a player would take them."""
    return sorted(streams, key=lambda stream: not stream.disposition & Disposition.default)
