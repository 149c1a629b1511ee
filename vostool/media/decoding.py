"""Packets to decoded pictures, whatever is damaged among them.

A packet that cannot be decoded is skipped and decoding goes on, as in a player.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vostool.media.container import find_video, open_media, reason_of


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
    except (av.FFmpegError, OSError) as error:  # of a pipe Python's own
        cut_off = reason_of(error)
    progress.failure = cut_off or progress.failure
    yield None
