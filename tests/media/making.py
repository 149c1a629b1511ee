"""Small videos with known content, made with PyAV directly so that they test our own writer."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

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


def add_sound(output: OutputContainer, codec: str) -> None:
    output.add_stream(codec, rate=SOUND_RATE, layout="stereo")


def write_clicks(output: OutputContainer, seconds: Fraction) -> None:
    samples = np.zeros((2, round(seconds * SOUND_RATE)), np.float32)
    click = np.sin(2 * np.pi * 1000 * np.arange(200) / SOUND_RATE)
    for time in CLICKS:
        begin = round(time * SOUND_RATE)
        room = samples[:, begin : begin + 200]
        room += 0.8 * click[: room.shape[1]]
    stream = output.streams.audio[0]
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
