"""Pictures to a film, each shown at its own time, with the source's sound.

The times are exact in MP4 and MOV, and rounded to a millisecond by Matroska and WebM.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vostool.errors import InputError, OutputError
from vostool.files import atomic_write
from vostool.media.audio import AudioTrack, describe
from vostool.media.film_formats import FilmFormat, mp4
from vostool.threads import thread_count

# ticks per second: whole for the usual clocks (1/1000, 1/90000, 1001/24000, 1001/30000, ...),
# so that their times are kept exactly, and others to a millionth of a second
CLOCK = 720_000
LONGEST = 1000 * CLOCK  # ticks; a picture shown for longer is repeated, an MP4 counts to 2**31
FALLBACK_RATE = Fraction(25)  # frames per second, if not known

Pixels = NDArray[Any]  # uint8 or uint16


class VideoWriter:
    """Write pictures as a film, by default H.264 in an MP4, in the colours of BT.709.

    A context manager. The first picture is shown at time 0, the others at their times relative to
    it. Where a format needs even sides, an odd one is padded by repeating the last column or row.

    The file grows as `<name>.part.mp4`, in parts that can be played at any time, even if the
    process is killed. It becomes an ordinary film and gets its name when the `with` block ends
    well. If that ends with an exception, what was written keeps the name of the part.
    `warnings` lists, after the block, what had to be left out.
    """

    def __init__(
        self,
        path: Path,
        *,
        width: int,
        height: int,
        rate: Fraction | None,
        pixel_aspect: Fraction = Fraction(1),
        audio_from: Path | None = None,
        film: FilmFormat | None = None,
    ) -> None:
        """Claim the file.

        `width` and `height` of the pictures in pixels; the last one is shown as long as the one
        before, but no longer than `rate` in frames per second says; `pixel_aspect` is width /
        height of a pixel; `audio_from` is the video whose sound to carry over, on the same clock
        as the pictures' times; `film` says which format, by default `mp4`.
        Raises OutputError if the file cannot be created, or the pictures are too large.
        """
        self.path = Path(path)
        self.part = self.path.with_name(f"{self.path.stem}.part{self.path.suffix}")
        self.warnings: list[str] = []
        film = film or mp4()
        self._format = _Format(width, height, rate, pixel_aspect, film)
        self._audio_from = audio_from
        self._movie: _Movie | None = None
        if max(width, height) > film.max_side:
            raise OutputError(
                f"{self.path}: cannot be written: pictures are {width}x{height}, {film.name} has "
                f"at most {film.max_side} pixels a side; leave this film out of what to write"
            )
        try:
            self.part.touch()
        except OSError as error:
            raise self._failed(error) from error

    def __enter__(self) -> Self:
        return self

    def write(self, pixels: Pixels, time: Fraction) -> None:
        """Add a picture, as `FilmFormat.pictures` says, shown from `time` on, in seconds.

        Alpha is straight. A time that is not after the last one is moved just behind it.
        Raises OutputError if the file cannot be written, for instance because the disk is full.
        """
        film = self._format.film
        expected = film.shape(self._format.height, self._format.width)
        if pixels.shape != expected or pixels.dtype.itemsize != 1 + film.is_16_bit:
            found = f"{pixels.shape} of {pixels.dtype}"
            raise ValueError(f"picture has shape {found}, expected {expected} for {film.pictures}")
        try:
            if self._movie is None:
                self._movie = _Movie(self.part, self._format, time, self._audio_from, self.warnings)
            self._movie.add(pixels, time)
        except av.FFmpegError as error:
            raise self._failed(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._movie:
                self._movie.finish()
            else:
                self.part.unlink()
            if self._movie and not problem:
                self._give_name()
        except (av.FFmpegError, OSError) as error:
            if not problem:  # else that one is reported
                raise self._failed(error) from error
        if not self._movie and not problem:
            raise OutputError(f"{self.path}: expected pictures to write, got none")

    def _give_name(self) -> None:
        with atomic_write(self.path, av.FFmpegError) as whole:
            if not self._format.film.index_first:
                self.part.replace(whole)
                return
            _put_index_first(self.part, whole)
        self.part.unlink()

    def _failed(self, error: OSError | av.FFmpegError) -> OutputError:
        return OutputError(f"{self.path}: cannot be written: {error.strerror}")


@dataclass(frozen=True)
class _Format:
    """What all pictures of a movie have in common."""

    width: int
    height: int
    rate: Fraction | None
    pixel_aspect: Fraction
    film: FilmFormat


class _Movie:
    """A film being written, from its first picture on; its methods raise av.FFmpegError."""

    def __init__(
        self,
        path: Path,
        format: _Format,
        start: Fraction,
        audio_from: Path | None,
        warnings: list[str],
    ) -> None:
        self._warnings, self._film = warnings, format.film
        self._audio_from = audio_from
        self._start = start
        self._ticks = -1  # when the latest picture is shown
        self._duration = round(CLOCK / (format.rate or FALLBACK_RATE))  # of that picture, ticks
        self._period = self._duration if format.rate else LONGEST  # at most
        self._latest: VideoFrame | None = None
        self._audio: AudioTrack | None = None
        self._scaler = VideoReformatter()
        self._output, self._stream = _create(path, format)
        if audio_from and not audio_from.is_dir() and not self._add_audio(audio_from):
            # again: a stream once added cannot be removed
            self._output, self._stream = _create(path, format)
        self._output.start_encoding()

    def add(self, pixels: Pixels, time: Fraction) -> None:
        """Encode a picture, and the sound up to it."""
        ticks = max(round((time - self._start) * CLOCK), self._ticks + 1)
        if self._ticks >= 0:
            # a rate may be the mean over a pause, far longer than a picture is shown
            self._duration = min(self._period, ticks - self._ticks)
        self._carry_audio(time)
        while self._latest and ticks - self._ticks > LONGEST:
            self._encode(self._latest, self._ticks + LONGEST)
        self._latest = self._to_stored(pixels)
        self._encode(self._latest, ticks)

    def _encode(self, picture: VideoFrame, ticks: int) -> None:
        picture.pts = self._ticks = ticks
        picture.time_base = Fraction(1, CLOCK)
        picture.duration = self._duration
        self._output.mux(self._stream.encode(picture))

    def _to_stored(self, pixels: Pixels) -> VideoFrame:
        height, width = pixels.shape[:2]
        if self._film.even and (height % 2 or width % 2):
            odd = ((0, height % 2), (0, width % 2), (0, 0))[: pixels.ndim]
            pixels = np.pad(pixels, odd, mode="edge")
        pixels = np.ascontiguousarray(pixels)
        if self._film.stored == self._film.pictures:
            return VideoFrame.from_ndarray(pixels, self._film.pictures)
        return self._scaler.reformat(
            VideoFrame.from_numpy_buffer(pixels, self._film.pictures),  # no copy
            format=self._film.stored,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=ColorRange.MPEG,
            threads=1,
        )

    def finish(self) -> None:
        """Write what is still in the encoder, the sound up to the end, and the index."""
        try:
            self._carry_audio(self._start + Fraction(self._ticks + self._duration, CLOCK))
            self._output.mux(self._stream.encode(None))
        finally:
            self._output.close()
            if self._audio:
                self._audio.close()

    def _add_audio(self, source: Path) -> bool:
        """Add the sound of `source`, if any; return False if that spoiled the output."""
        try:
            self._audio = AudioTrack(source, self._output, self._start, self._film.sound)
            self._output.start_encoding()
        except LookupError:
            return True  # a silent film
        except (av.FFmpegError, ValueError, InputError) as error:
            self._drop_audio(error)
            return False
        self._warnings += [f"{source}: {line}" for line in self._audio.warnings]
        return True

    def _carry_audio(self, until: Fraction) -> None:
        if self._audio:
            try:
                self._audio.advance(until)
            except (av.FFmpegError, ValueError) as error:
                self._drop_audio(error)

    def _drop_audio(self, error: Exception) -> None:
        """Go on without sound: the pictures matter more."""
        after = f" after {self._ticks / CLOCK:.1f} s" if self._ticks > 0 else ""
        reason = describe(error).removeprefix(f"{self._audio_from}: ")
        self._warnings.append(f"{self._audio_from}: the sound is left out{after}: {reason}")
        if self._audio:
            self._audio.close()
            self._audio = None


def _create(path: Path, format: _Format) -> tuple[OutputContainer, VideoStream]:
    """Open a film with a stream for its pictures.

    Colours are those of BT.709, YUV of limited range; grey is a matte, and of full range.
    """
    film = format.film
    # "file:" keeps a colon in the name from being taken for a protocol
    output = av.open(f"file:{path}", "w", format=film.container, options=film.container_options)
    stream = output.add_stream(
        film.codec,
        rate=format.rate or FALLBACK_RATE,
        options=film.options_at(format.width),
        width=format.width + (format.width % 2 if film.even else 0),
        height=format.height + (format.height % 2 if film.even else 0),
        pix_fmt=film.stored,
        time_base=Fraction(1, CLOCK),
    )
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    context.thread_count = thread_count()
    if film.tag is not None:
        context.codec_tag = film.tag
    context.flags |= Flags.frame_duration  # pictures know how long they last
    context.sample_aspect_ratio = format.pixel_aspect
    if film.stored.startswith("yuv"):
        context.color_range = ColorRange.MPEG
        context.colorspace = Colorspace.ITU709
        context.color_primaries = ColorPrimaries.BT709
        context.color_trc = ColorTrc.BT709
    elif film.stored.startswith("gray"):
        context.color_range = ColorRange.JPEG
    return output, stream


def _put_index_first(source: Path, target: Path) -> None:
    """Copy an MP4 without its fragments, the index first: a browser plays it while it loads."""
    options = {"movflags": "+faststart"}
    with (
        av.open(f"file:{source}") as fragmented,
        av.open(f"file:{target}", "w", format="mp4", options=options) as output,
    ):
        streams = [
            output.add_stream_from_template(stream, opaque=True) for stream in fragmented.streams
        ]
        for packet in fragmented.demux():
            if packet.size:  # the last ones are empty
                packet.stream = streams[packet.stream.index]
                output.mux(packet)
