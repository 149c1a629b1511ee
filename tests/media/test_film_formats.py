"""Films with alpha and mattes, decoded again: what was written is there, at its time."""

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from tests.media.making import hear_clicks, make_video
from tests.media.test_matting import soft_disc
from vostool.media.film_formats import (
    FFV1_ALPHA,
    FFV1_GREY,
    FFV1_GREY_16,
    PRORES_4444,
    VP9,
    FilmFormat,
)
from vostool.media.matting import with_alpha
from vostool.media.video import read_frames
from vostool.media.writer import VideoWriter

RATE = Fraction(25)
SUFFIXES = {"mov": ".mov", "webm": ".webm", "matroska": ".mkv"}
WITH_ALPHA = (PRORES_4444, VP9, FFV1_ALPHA)
EVERY = (*WITH_ALPHA, FFV1_GREY, FFV1_GREY_16)
# the most that a decoded alpha differs from the soft mask, and the mean, in 1/255
ERRORS = {"ProRes 4444": (0.5, 0.03), "VP9": (12.0, 0.5), "FFV1": (0.52, 0.05)}


def names(film: FilmFormat) -> str:
    return f"{film.name} {film.pictures}"


def decode(path: Path) -> Iterator[av.VideoFrame]:
    """Yield the pictures of a film; FFmpeg's own decoder of VP9 passes over alpha."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        if stream.codec_context.name != "vp9":
            yield from file.decode(stream)
            return
        decoder = av.CodecContext.create("libvpx-vp9", "r")
        assert isinstance(decoder, av.VideoCodecContext)
        for packet in file.demux(stream):
            if packet.size:
                yield from decoder.decode(packet)


def alpha_of(picture: av.VideoFrame) -> NDArray[np.float64]:
    return picture.to_ndarray(format="rgba64le")[..., 3] / 65535


def write(
    path: Path,
    film: FilmFormat,
    pictures: list[NDArray[np.unsignedinteger[Any]]],
    times: list[Fraction] | None = None,
    audio_from: Path | None = None,
) -> None:
    height, width = pictures[0].shape[:2]
    with VideoWriter(
        path, width=width, height=height, rate=RATE, film=film, audio_from=audio_from
    ) as writer:
        for index, pixels in enumerate(pictures):
            writer.write(pixels, times[index] if times else Fraction(index) / RATE)
    assert writer.warnings == []


def pixels_of(
    film: FilmFormat, count: int = 5, side: int = 64
) -> list[NDArray[np.unsignedinteger[Any]]]:
    white = 65535 if film.is_16_bit else 255
    shape = film.shape(side, side)
    kind = np.uint16 if film.is_16_bit else np.uint8
    return [np.full(shape, white * index // count, kind) for index in range(count)]


@pytest.mark.parametrize("film", WITH_ALPHA, ids=names)
class TestAlpha:
    @pytest.mark.parametrize("side", [120, 121])
    def test_is_the_soft_mask_within_the_error_of_the_codec(
        self, film: FilmFormat, side: int, tmp_path: Path
    ) -> None:
        frame = np.full((side, side, 3), (200, 60, 30), np.uint8)
        masks = [soft_disc(side, 20 + 2 * index, 8) for index in range(10)]
        bits = 16 if film.is_16_bit else 8
        path = tmp_path / f"o{SUFFIXES[film.container]}"
        write(path, film, [with_alpha(frame, mask, bits) for mask in masks])
        found = [alpha_of(picture)[:side, :side] for picture in decode(path)]
        error = 255 * np.abs(np.array(found) - np.array(masks))
        most, mean = ERRORS[film.name]
        assert error.max() < most
        assert error.mean() < mean

    def test_is_straight_the_object_keeps_its_colour_along_the_edge(
        self, film: FilmFormat, tmp_path: Path
    ) -> None:
        colour = np.array([200, 60, 30])
        mask = soft_disc()[..., np.newaxis]
        frame = np.round(mask * colour + (1 - mask) * 255).astype(np.uint8)
        bits = 16 if film.is_16_bit else 8
        path = tmp_path / f"o{SUFFIXES[film.container]}"
        write(path, film, [with_alpha(frame, mask[..., 0], bits)] * 5)
        *_, last = decode(path)
        shown = last.to_ndarray(format="rgba").astype(float)
        half = np.abs(mask[..., 0] - 0.5) < 0.2
        assert np.abs(shown[half, :3].mean(axis=0) - colour).max() < 15


@pytest.mark.parametrize("film", EVERY, ids=names)
class TestEveryFormat:
    def test_shows_pictures_at_their_times(self, film: FilmFormat, tmp_path: Path) -> None:
        times = [Fraction(0), Fraction(1, 24), Fraction(1, 10), Fraction(2), Fraction(61, 30)]
        path = tmp_path / f"o{SUFFIXES[film.container]}"
        write(path, film, pixels_of(film), times)
        found = [frame.time for frame in read_frames(path)]
        exact = film.container == "mov"
        assert np.allclose(
            [float(time) for time in found], [float(t) for t in times], atol=0 if exact else 6e-4
        )
        assert found == times or not exact

    @pytest.mark.parametrize("sound", ["aac", "libopus", "pcm_s16le"])
    def test_keeps_the_sound_in_step(self, film: FilmFormat, sound: str, tmp_path: Path) -> None:
        source = make_video(tmp_path / "in.mkv", 50, sound=sound)
        expected = hear_clicks(source)
        path = tmp_path / f"o{SUFFIXES[film.container]}"
        write(path, film, pixels_of(film, 50), audio_from=source)
        assert np.allclose(hear_clicks(path), expected, atol=0.003)
        assert next(read_frames(path)).time == 0

    def test_cuts_the_sound_with_the_pictures(self, film: FilmFormat, tmp_path: Path) -> None:
        source = make_video(tmp_path / "in.mkv", 50, sound="aac")
        path = tmp_path / f"o{SUFFIXES[film.container]}"
        times = [frame.time for frame in read_frames(source, 13, 40)]
        write(path, film, pixels_of(film, len(times)), times, source)
        assert np.allclose(np.array(hear_clicks(path)) + float(times[0]), [0.75, 1.25], atol=0.003)
        assert next(read_frames(path)).time == 0

    def test_is_the_same_bytes_each_time(self, film: FilmFormat, tmp_path: Path) -> None:
        suffix = SUFFIXES[film.container]
        for name in "ab":
            write(tmp_path / f"{name}{suffix}", film, pixels_of(film))
        first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in "ab")
        assert first == second

    def test_that_is_stopped_plays_up_to_there(self, film: FilmFormat, tmp_path: Path) -> None:
        path = tmp_path / f"o{SUFFIXES[film.container]}"
        pictures = pixels_of(film)
        with (
            pytest.raises(KeyboardInterrupt),
            VideoWriter(path, width=64, height=64, rate=RATE, film=film) as writer,
        ):
            for index, pixels in enumerate(pictures):
                writer.write(pixels, Fraction(index) / RATE)
            raise KeyboardInterrupt
        assert not path.exists()
        assert len(list(decode(writer.part))) == len(pictures)


@pytest.mark.parametrize("film", [FFV1_GREY, FFV1_GREY_16], ids=names)
def test_a_grey_film_is_lossless(film: FilmFormat, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kind = np.uint16 if film.is_16_bit else np.uint8
    pictures = [rng.integers(0, np.iinfo(kind).max, (31, 65), kind) for _ in range(4)]
    write(tmp_path / "o.mkv", film, pictures)
    decoded = list(decode(tmp_path / "o.mkv"))
    found = [picture.to_ndarray() for picture in decoded]
    assert all((one == other).all() for one, other in zip(found, pictures, strict=True))
    assert {picture.color_range for picture in decoded} == {ColorRange.JPEG}


@pytest.mark.parametrize("film", [PRORES_4444, VP9, FFV1_ALPHA], ids=names)
def test_a_film_plays_as_far_as_it_goes_if_the_process_is_killed(
    film: FilmFormat, tmp_path: Path
) -> None:
    path = tmp_path / f"o{SUFFIXES[film.container]}"
    code = (
        "import os, sys; from fractions import Fraction; from pathlib import Path;"
        "from tests.media.test_film_formats import EVERY, RATE, VideoWriter, pixels_of;"
        "film, path = EVERY[int(sys.argv[1])], Path(sys.argv[2]);"
        "writer = VideoWriter(path, width=64, height=64, rate=RATE, film=film);"
        "[writer.write(p, Fraction(i) / RATE) for i, p in enumerate(pixels_of(film, 100))];"
        "os._exit(9)"
    )
    given = (str(EVERY.index(film)), str(path))
    assert subprocess.run([sys.executable, "-c", code, *given], check=False).returncode == 9
    assert not path.exists()
    part = path.with_name(f"o.part{path.suffix}")
    assert 40 < len(list(decode(part))) <= 100
