"""The sound of a source video carried into a file being written, in step with its pictures.

Packets are copied where browsers play the codec from an MP4; other sound becomes stereo AAC.
Never is more read than the pictures written so far call for.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet

COPIED_CODECS = frozenset({"aac", "mp3", "mp3float", "opus", "libopus", "flac"})
AAC_RATE = 48_000  # samples per second
AAC_FRAME = 1024  # samples
AAC_BIT_RATE = 192_000


class AudioTrack:
    """The first audio stream of a source on its way into an output.

    Time 0 of the output is `start`, in seconds on the source's clock. A packet or two from
    before it come along, with negative times: decoders need them, players do not play them.
    """

    def __init__(self, source: Path, output: OutputContainer, start: Fraction) -> None:
        """Add the track; to be called before anything is written to `output`.

        Raises LookupError if the source has no audio; av.FFmpegError or ValueError if it cannot
        be read or carried, or ends before `start`.
        """
        self._output = output
        self._start = start
        self._container = av.open(f"file:{source}")
        try:
            self._packets = _packets(self._container, output, start)
            # reading a first packet also adds the stream, so a dead source leaves no empty track
            self._ahead = next(self._packets, None)
        except BaseException:
            self.close()
            raise
        if self._ahead is None:
            self.close()
            raise ValueError("there is no sound after the first frame")

    def advance(self, until: Fraction) -> None:
        """Write the sound up to `until`, in seconds on the source's clock.

        Raises av.FFmpegError or ValueError if that fails.
        """
        while self._ahead and (self._ahead.pts or 0) * self._ahead.time_base < until - self._start:
            self._output.mux(self._ahead)
            self._ahead = next(self._packets, None)

    def close(self) -> None:
        """Let go of the source."""
        self._container.close()


def _packets(
    source: InputContainer, output: OutputContainer, start: Fraction
) -> Iterator["Packet[AudioStream]"]:
    """Yield packets ready for `output`, to which the stream is added with the first of them."""
    stream = source.streams.audio[0]
    if stream.codec_context.name in COPIED_CODECS:
        return _copied(source, stream, output, start)
    return _encoded(source, stream, output, start)


def _copied(
    source: InputContainer, stream: AudioStream, output: OutputContainer, start: Fraction
) -> Iterator["Packet[AudioStream]"]:
    target: AudioStream | None = None
    for packet in _heard_from(start, source, stream):
        target = target or output.add_stream_from_template(stream)
        shift = round(start / packet.time_base)
        packet.pts = (packet.pts or 0) - shift
        packet.dts = (packet.dts or 0) - shift
        packet.stream = target
        yield packet


def _heard_from(
    start: Fraction, source: InputContainer, stream: AudioStream
) -> Iterator["Packet[AudioStream]"]:
    """Yield the packets heard after `start`, and the one before them."""
    before: Packet[AudioStream] | None = None
    latest: int | None = None
    for packet in source.demux(stream):
        if packet.pts is None or packet.dts is None:  # the last, empty one
            continue
        if latest is not None and packet.dts <= latest:  # would not be let into an MP4
            continue
        latest = packet.dts
        if (packet.pts + (packet.duration or 0)) * packet.time_base <= start:
            before = packet
            continue
        if before:
            yield before
            before = None
        yield packet


def _encoded(
    source: InputContainer, stream: AudioStream, output: OutputContainer, start: Fraction
) -> Iterator["Packet[AudioStream]"]:
    target: AudioStream | None = None
    resampler = AudioResampler("fltp", "stereo", AAC_RATE, frame_size=AAC_FRAME)
    for frame in _decoded_from(start, source, stream):
        target = target or output.add_stream("aac", rate=AAC_RATE, bit_rate=AAC_BIT_RATE)
        for piece in resampler.resample(frame):
            yield from target.encode(piece)
    if target:
        for piece in resampler.resample(None):
            yield from target.encode(piece)
        yield from target.encode(None)


def _decoded_from(
    start: Fraction, source: InputContainer, stream: AudioStream
) -> Iterator[AudioFrame]:
    """Yield the decoded sound heard after `start`, which becomes time 0; skips what is damaged."""
    for packet in source.demux(stream):
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        for frame in frames:
            unit = Fraction(1, frame.sample_rate)
            if frame.pts is None or frame.time_base is None:
                continue
            begin = frame.pts * frame.time_base - start
            if begin + frame.samples * unit > 0:
                frame.pts, frame.time_base = round(begin / unit), unit
                yield frame
