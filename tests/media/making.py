"""Small videos with known content, made with PyAV directly so that they test our own writer."""

import io
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.bitstream import BitStreamFilterContext
from av.container import OutputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

SOUND_RATE = 48_000  # samples per second
CLICKS = (0.25, 0.75, 1.25, 1.75)  # seconds
TICK = Fraction(1, 90_000)


def picture(index: int, width: int = 64, height: int = 48) -> NDArray[np.uint8]:
    """Red left, blue right, a green top edge, and a white bar that moves with the index."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, : width // 2] = (200, 40, 40)
    rgb[:, width // 2 :] = (30, 60, 210)
    rgb[: height // 4] = (40, 180, 60)
    left = (4 * index) % (width - 4)
    rgb[height // 2 : height * 3 // 4, left : left + 4] = 255
    return rgb


def make_video(
    path: Path,
    count: int = 8,
    width: int = 64,
    height: int = 48,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    times: Sequence[Fraction] | None = None,
    rotation: float = 0,
    mirrored: bool = False,
    aspect: Fraction | None = None,
    sound: str | None = None,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    tagged: bool = False,
) -> Path:
    """Write `count` pictures at 25 per second (or at `times`), clicks as sound if asked."""
    with av.open(str(path), "w", options=options or {}) as output:
        stream = output.add_stream(
            codec, rate=25, options=codec_options or {}, width=width, height=height
        )
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = pixel_format
        stream.codec_context.time_base = TICK
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if tagged:  # as BT.601, which takes room in the file
            context = stream.codec_context
            context.color_range, context.colorspace = 1, 6
            context.color_primaries = context.color_trc = 6
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        if sound:
            add_sound(output, sound)
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(picture(index, width, height), format="rgb24")
            time = times[index] if times else Fraction(index, 25)
            frame.pts, frame.time_base = round(time / TICK), TICK
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
        if sound:
            write_clicks(output, Fraction(count, 25))
    return path


def delay_last_picture(path: Path, seconds: int = 300) -> None:
    """Write an MP4 without B-frames anew, the time of its last picture far off."""
    source = av.open(io.BytesIO(path.read_bytes()), "r")
    with source, av.open(str(path), "w", format="mp4") as output:
        stream = source.streams.video[0]
        copy = output.add_stream_from_template(stream)
        packets = [packet for packet in source.demux(stream) if packet.size]
        last = packets[-1]
        assert last.time_base is not None
        assert last.dts is not None
        last.pts = last.dts = last.dts + round(seconds / last.time_base)
        for packet in packets:
            packet.stream = copy
            output.mux(packet)


def make_cropped_matroska(path: Path, top: int, bottom: int, left: int, right: int) -> Path:
    """Write three pictures of 64x48 with PixelCrop elements in the place of the colour tags."""
    data = make_video(path, 3, tagged=True).read_bytes()
    begin = data.index(b"\x55\xb0\x90")  # Colour, of 16 bytes
    crops = zip((0xAA, 0xBB, 0xCC, 0xDD), (bottom, top, left, right), strict=True)
    elements = b"".join(bytes([0x54, kind, 0x81, pixels]) for kind, pixels in crops)
    path.write_bytes(data[:begin] + elements + b"\xec\x81\0" + data[begin + 19 :])
    return path


def make_cropped_mp4(path: Path, top: int, bottom: int, left: int, right: int) -> Path:
    """Write three pictures of 64x48 with a clean aperture in the place of less needed boxes."""
    data = make_video(path, 3, tagged=True, aspect=Fraction(16, 15)).read_bytes()
    begin = data.index(b"colr") - 4  # then come pasp and btrt: 55 bytes in all
    aperture = (64 - left - right, 1, 48 - top - bottom, 1, left - right, 2, top - bottom, 2)
    boxes = struct.pack(">I4s8i", 40, b"clap", *aperture) + struct.pack(">I4s7x", 15, b"free")
    path.write_bytes(data[:begin] + boxes + data[begin + len(boxes) :])
    return path


def make_motion_jpeg(path: Path, orientation: int) -> Path:
    """Write three pictures of 64x48 as a camera does, with EXIF orientation in each."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25, width=64, height=48, pix_fmt="yuvj420p")
        for index in range(3):
            buffer = io.BytesIO()
            Image.fromarray(picture(index)).save(buffer, "JPEG", exif=exif, quality=95)
            mux_bytes(output, stream, buffer.getvalue(), index)
    return path


def make_raw(path: Path, width: int, height: int, pixel_format: str, pictures: list[bytes]) -> Path:
    """Write pictures as they are given, byte by byte, 25 per second."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(
            "rawvideo", rate=25, width=width, height=height, pix_fmt=pixel_format
        )
        for index, data in enumerate(pictures):
            mux_bytes(output, stream, data, index)
    return path


def mux_bytes(output: OutputContainer, stream: Stream, data: bytes, index: int) -> None:
    packet = av.Packet(data)
    packet.stream = stream
    packet.pts = packet.dts = index
    packet.time_base = Fraction(1, 25)
    packet.is_keyframe = True
    output.mux(packet)


def make_two_streams(
    path: Path, sizes: Sequence[tuple[int, int]], default: int, cover: bool = False
) -> Path:
    """Write several video streams, one of them flagged as default; the first may be a cover."""
    with av.open(str(path), "w") as output:
        streams = []
        for index, (width, height) in enumerate(sizes):
            is_cover = cover and index == 0
            stream = output.add_stream(
                "mjpeg" if is_cover else "libx264", rate=25, width=width, height=height
            )
            stream.pix_fmt = "yuvj420p" if is_cover else "yuv420p"
            stream.disposition = Disposition.default if index == default else Disposition(0)
            if is_cover:
                stream.disposition = Disposition.attached_pic
            streams.append((stream, 1 if is_cover else 3))
        for (stream, count), (width, height) in zip(streams, sizes, strict=True):
            for index in range(count):
                frame = av.VideoFrame.from_ndarray(picture(index, width, height), format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
    return path


def crop_bitstream(source: Path, target: Path, crop: str) -> Path:
    """Copy a video with its H.264 header changed, for example "crop_left=20"."""
    with av.open(str(source)) as whole, av.open(str(target), "w") as output:
        stream = whole.streams.video[0]
        copy = output.add_stream_from_template(stream, opaque=True)
        editor = BitStreamFilterContext(f"h264_metadata={crop}", stream, copy)
        for packet in whole.demux(stream):
            for edited in editor.filter(packet) if packet.size else []:
                edited.stream = copy
                output.mux(edited)
    return target


def add_sound(output: OutputContainer, codec: str) -> None:
    output.add_stream(codec, rate=SOUND_RATE, layout="stereo")


def make_two_sounds(path: Path, default: int, codecs: Sequence[str] = ("aac", "aac")) -> Path:
    """Write two seconds of pictures with two audio streams: silence, then clicks."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
        for index, codec in enumerate(codecs):
            add_sound(output, codec)
            is_default = Disposition.default if index == default else Disposition(0)
            output.streams.audio[index].disposition = is_default
        for index in range(50):
            frame = av.VideoFrame.from_ndarray(picture(index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        write_clicks(output, Fraction(2), 0, volume=0)
        write_clicks(output, Fraction(2), 1)
    return path


def write_clicks(
    output: OutputContainer, seconds: Fraction, index: int = 0, volume: float = 0.8
) -> None:
    samples = np.zeros((2, round(seconds * SOUND_RATE)), np.float32)
    click = np.sin(2 * np.pi * 1000 * np.arange(200) / SOUND_RATE)
    for time in CLICKS:
        begin = round(time * SOUND_RATE)
        room = samples[:, begin : begin + 200]
        room += volume * click[: room.shape[1]]
    stream = output.streams.audio[index]
    resampler = av.AudioResampler(stream.format.name, "stereo", SOUND_RATE, frame_size=1024)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        output.mux(stream.encode(piece))
    output.mux(stream.encode(None))


def hear_clicks(path: Path) -> list[float]:
    """Return the times, in seconds, at which a file's sound clicks."""
    heard: list[float] = []
    with av.open(str(path)) as source:
        resampler = av.AudioResampler("flt", "mono", SOUND_RATE)
        for frame in source.decode(audio=0):
            for piece in resampler.resample(frame):
                loud = np.flatnonzero(np.abs(piece.to_ndarray().ravel()) > 0.2)
                for time in ((piece.pts or 0) + loud) / SOUND_RATE:
                    if not heard or time - heard[-1] > 0.1:
                        heard.append(float(time))
    return heard
