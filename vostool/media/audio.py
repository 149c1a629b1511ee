"""The sound of a source video carried into a file being written, in step with its pictures.

The stream is the one flagged as default, else the first; one that cannot be decoded gives way
to the next. Packets are copied where players take the codec from such a file; other sound becomes
stereo, in a codec that they take. Never is more read than the pictures written so far call for.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer, OutputContainer
from av.packet import Packet

from vostool.media.clock import Clock
from vostool.media.compat import as_fraction
from vostool.media.container import by_preference, may_break, open_media
from vostool.media.film_formats import SoundFormat

SAMPLE_RATE = 48_000  # per second, of encoded sound
USUAL_FRAME = 1024  # samples, where a codec does not say


class AudioTrack:
    """An audio stream of a source on its way into an output.

    Time 0 of the output is `start`, in seconds on the source's clock. A packet or two from
    before it come along, with negative times: decoders need them, players do not play them.
    `warnings` lists the streams that were skipped.
    """

    def __init__(
        self, source: Path, output: OutputContainer, start: Fraction, format: SoundFormat
    ) -> None:
        """Add the track; to be called before anything is written to `output`.

        Raises LookupError if the source has no audio; InputError, av.FFmpegError or ValueError
        if it cannot be read or carried, or ends before `start`.
        """
        self.warnings: list[str] = []
        self._output = output
        self._start, self._format = start, format
        with open_media(source) as container:
            streams = by_preference(container.streams.audio)
            usable = [stream.codec_context is not None for stream in streams]
            indices = [stream.index for stream in streams]
        if not indices:
            raise LookupError("no audio")
        problem: Exception = ValueError("FFmpeg has no decoder for it")
        for index, is_usable in zip(indices, usable, strict=True):
            if is_usable:
                try:
                    self._begin(source, index)
                    break
                except (av.FFmpegError, ValueError) as error:
                    problem = error
            self.warnings.append(f"audio stream {index} is passed over: {describe(problem)}")
        else:
            raise problem

    def _begin(self, source: Path, index: int) -> None:
        with ExitStack() as stack:
            container = stack.enter_context(open_media(source))
            self._packets = _packets(container, index, self._output, self._start, self._format)
            # reading a first packet also adds the stream, so a dead source leaves no empty track
            self._ahead = next(self._packets, None)
            if self._ahead is None:
                raise ValueError("there is no sound after the first frame")
            self._source = stack.pop_all()

    def advance(self, until: Fraction) -> None:
        """Write the sound up to `until`, in seconds on the source's clock.

        Raises av.FFmpegError or ValueError if that fails.
        """
        while self._ahead and (self._ahead.pts or 0) * self._ahead.time_base < until - self._start:
            self._output.mux(self._ahead)
            self._ahead = next(self._packets, None)

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def describe(error: Exception) -> str:
    """Return what went wrong, without FFmpeg's code and file name."""
    return getattr(error, "strerror", None) or str(error)


def _packets(
    source: InputContainer,
    index: int,
    output: OutputContainer,
    start: Fraction,
    format: SoundFormat,
) -> Iterator["Packet[AudioStream]"]:
    """Yield packets ready for `output`, to which the stream is added with the first of them."""
    stream = source.streams[index]
    assert isinstance(stream, AudioStream)
    if stream.codec_context.name in format.copied:
        return _copied(source, stream, output, start, format)
    return _encoded(source, stream, output, start, format)


def _start_clock(source: InputContainer, stream: AudioStream) -> Clock:
    context = stream.codec_context
    period = Fraction(context.frame_size or USUAL_FRAME, context.sample_rate or SAMPLE_RATE)
    return Clock(period, may_break(source))


def _copied(
    source: InputContainer,
    stream: AudioStream,
    output: OutputContainer,
    start: Fraction,
    format: SoundFormat,
) -> Iterator["Packet[AudioStream]"]:
    target: AudioStream | None = None
    unit = as_fraction(stream.time_base) or Fraction(1, SAMPLE_RATE)
    latest: int | None = None
    for packet, time in _heard_from(start, source, stream, unit):
        ticks = round((time - start) / unit)
        if latest is not None and ticks <= latest:  # would not be let into an MP4
            continue
        if ticks < 0 and not format.before_start:  # all that follows would be moved for it
            continue
        if target is None:
            target = output.add_stream_from_template(stream)
            # that of transport streams says in each packet what an MP4 says once
            filter = "aac_adtstoasc" if stream.codec_context.name == "aac" else "null"
            unpacker = BitStreamFilterContext(filter, stream)
        packet.pts = packet.dts = latest = ticks
        for ready in unpacker.filter(packet):
            ready.stream = target
            yield ready


def _heard_from(
    start: Fraction, source: InputContainer, stream: AudioStream, unit: Fraction
) -> Iterator[tuple["Packet[AudioStream]", Fraction]]:
    """Yield the packets heard after `start`, and the one before them, with their times."""
    before: tuple[Packet[AudioStream], Fraction] | None = None
    packets = (packet for packet in source.demux(stream) if packet.size)  # the last is empty
    stored = ((packet, None if packet.pts is None else packet.pts * unit) for packet in packets)
    for packet, time in _start_clock(source, stream).read(stored):
        if time + (packet.duration or 0) * unit <= start:
            before = packet, time
            continue
        if before:
            yield before
            before = None
        yield packet, time


def _encoded(
    source: InputContainer,
    stream: AudioStream,
    output: OutputContainer,
    start: Fraction,
    format: SoundFormat,
) -> Iterator["Packet[AudioStream]"]:
    target: AudioStream | None = None
    resampler = AudioResampler(format.samples, "stereo", SAMPLE_RATE, frame_size=format.frame)
    for frame in _decoded_from(start, source, stream):
        if frame.pts is not None and frame.pts < 0 and not format.before_start:
            continue
        pieces = resampler.resample(frame)
        target = target or _add_encoder(output, format)
        for piece in pieces:
            yield from target.encode(piece)
    if target:
        for piece in resampler.resample(None):
            yield from target.encode(piece)
        yield from target.encode(None)


def _add_encoder(output: OutputContainer, format: SoundFormat) -> AudioStream:
    stream = output.add_stream(format.encoder, rate=SAMPLE_RATE)
    assert isinstance(stream, AudioStream)
    if format.bit_rate is not None:
        stream.bit_rate = format.bit_rate
    return stream


def _decoded_from(
    start: Fraction, source: InputContainer, stream: AudioStream
) -> Iterator[AudioFrame]:
    """Yield the decoded sound heard after `start`, which becomes time 0; skips what is damaged."""
    stored = (
        (frame, None if frame.pts is None or unit is None else frame.pts * unit)
        for frame in _decoded(source, stream)
        for unit in [as_fraction(frame.time_base)]
    )
    for frame, time in _start_clock(source, stream).read(stored):
        unit = Fraction(1, frame.sample_rate)
        begin = time - start
        if begin + frame.samples * unit > 0:
            frame.pts, frame.time_base = round(begin / unit), unit
            yield frame


def _decoded(source: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    for packet in source.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        for frame in frames:
            if frame.sample_rate:
                yield frame
