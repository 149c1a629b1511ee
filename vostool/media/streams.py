"""Streams opened for reading: a pipe, an address on the network, a camera.

A pipe is read through Python, so that what arrives can open neither files nor the network, as for
files. An address is read by FFmpeg itself, which may then use the network, but no files.
"""

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import av
from av.container import InputContainer

from vostool.errors import InputError, UsageError
from vostool.media.compat import OPEN_OPTIONS
from vostool.media.container import (
    COMPLETE,
    MAX_PIXELS,
    OPTIONS,
    START,
    reason_of,
    refusal,
    refuse_text,
)

# of addresses that are given
SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "srt", "udp", "rtp", "tcp", "ftp")
# what FFmpeg may use on the way, for a playlist's parts too: no file, no list of others
PROTOCOLS = (*SCHEMES, "tls", "srtp", "httpproxy", "crypto", "data", "rtmpt", "rtmpts")
# what lies in files or devices of this computer
LOCAL = frozenset({"concat", "image2", "alias_pix", "imf", "vobsub", "lavfi", "fbdev"})
SECONDS = (20.0, 30.0)  # to wait for an address: until it is open, and for more of it
# of cameras, by the system: FFmpeg's format, what it calls one, and options
DEVICES: dict[str, tuple[str, str, dict[str, str]]] = {
    "linux": ("v4l2", "/dev/video{number}", {}),
    "darwin": ("avfoundation", "{number}:none", {"framerate": "30"}),
    "win32": ("dshow", "video={name}", {}),
}


class Pipe:
    """A file to FFmpeg that cannot be sought in; knows how it began."""

    def __init__(self, descriptor: int) -> None:
        """Read from a descriptor, and wait for what is to come."""
        self._descriptor = descriptor
        if os.name == "posix":
            os.set_blocking(descriptor, True)  # programs that shared it may have left it otherwise
        self.start = b""
        self.size = 0  # bytes so far
        self.ended = False

    def read(self, size: int) -> bytes:
        """Return what has arrived, at most so many bytes; none at the end."""
        read = os.read(self._descriptor, size)
        self.size += len(read)
        self.ended = not read
        if len(self.start) < START:
            self.start += read[: START - len(self.start)]
        return read


@contextmanager
def open_stdin() -> Iterator[InputContainer]:
    """Give the video that arrives on stdin; raises InputError or UsageError."""
    name = Path("stdin")
    if sys.stdin is None or sys.stdin.isatty():
        found = "nothing" if sys.stdin is None else "a terminal"
        raise UsageError(f"-: expected a video on stdin (ffmpeg ... | vostool ...), found {found}")
    with ExitStack() as stack:
        pipe = Pipe(sys.stdin.fileno())
        try:
            container = stack.enter_context(av.open(pipe, "r", options=OPTIONS, **OPEN_OPTIONS))
        except av.FFmpegError as error:
            if not pipe.start:
                raise InputError(f"{name}: expected a video, found nothing (0 bytes)") from error
            raise InputError(f"{name}: {refusal(pipe.start, error, COMPLETE)}") from error
        except OSError as error:
            raise InputError(f"{name}: {error.strerror}") from error
        refuse_text(name, container)
        if has_index_last(pipe.start):
            raise InputError(
                f"{name}: an MP4 whose index comes last cannot be read from a pipe: give the file, "
                "or a pipe of mkv, mpegts or y4m"
            )
        yield container
        if pipe.ended and container.format.name == "yuv4mpegpipe" and is_cut_off(pipe, container):
            raise InputError(f"{name}: breaks off in the middle of a picture")


def has_index_last(start: bytes) -> bool:
    """Return whether a file that begins so is an MP4 with its pictures before its index."""
    place = 0
    while place + 8 <= len(start):
        size, kind = struct.unpack_from(">I4s", start, place)
        if kind in (b"moov", b"mdat") or size < 8:
            return kind == b"mdat"
        place += size
    return False


def is_cut_off(pipe: Pipe, container: InputContainer) -> bool:
    """Return whether a Y4M that came through a pipe ends within a picture; FFmpeg does not say."""
    header, first, *_ = pipe.start.split(b"\n", 2)  # each picture has a line before it
    format = container.streams.video[0].codec_context.format
    planes = () if format is None else format.components
    picture = sum(each.width * each.height * -(-each.bits // 8) for each in planes)
    return (pipe.size - len(header) - 1) % (len(first) + 1 + picture) != 0


@contextmanager
def open_address(address: str, name: str) -> Iterator[InputContainer]:
    """Give the video at an address on the network, called `name`; raises InputError."""
    options = {
        "protocol_whitelist": ",".join(PROTOCOLS),
        "format_whitelist": ",".join(sorted(av.formats_available - LOCAL - device_formats())),
        "max_pixels": str(MAX_PIXELS),
    }
    with _opened(name, address, options=options, timeout=SECONDS) as container:
        refuse_text(Path(name), container)
        yield container


def device_formats() -> frozenset[str]:
    """Return what FFmpeg calls the devices of any system."""
    names = {format for format, _, _ in DEVICES.values()}
    return frozenset(each for each in av.formats_available if names & set(each.split(",")))


@contextmanager
def open_camera(number: int, name: Path) -> Iterator[InputContainer]:
    """Give what a camera of this computer shows; raises InputError if there is none."""
    format, place, options = DEVICES.get(sys.platform, DEVICES["linux"])
    if not any(format in each.split(",") for each in av.formats_available):
        raise InputError(f"{name}: cannot be read: this FFmpeg has no {format}")
    place = place.format(number=number, name=device_name(number) if "{name}" in place else "")
    with _opened(f"{name}: {place}", place, format=format, options=options) as container:
        yield container


def device_name(number: int) -> str:
    """Return the name by which FFmpeg finds a camera on Windows; raises InputError."""
    found = [each for each in av.enumerate_input_devices("dshow") if "video" in each.media_types]
    if number >= len(found):
        raise InputError(f"camera-{number}: no such camera, {len(found)} found")
    return found[number].name


@contextmanager
def _opened(name: str, place: str, **opening: Any) -> Iterator[InputContainer]:
    with ExitStack() as stack:
        try:
            container = stack.enter_context(av.open(place, "r", **opening, **OPEN_OPTIONS))
        except (av.FFmpegError, OSError) as error:
            raise InputError(f"{name}: cannot be opened: {reason_of(error)}") from error
        yield container
