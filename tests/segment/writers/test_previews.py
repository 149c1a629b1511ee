from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import HEIGHT, WIDTH, Footage, draw, segmented
from tests.segment.writers.test_writers import source_of
from vostool.media.frame import Frame, frame_name
from vostool.media.overlay import OKABE_ITO
from vostool.media.video import read_frames
from vostool.segment.settings import Settings
from vostool.segment.writers import Source, writer_of
from vostool.segment.writers.previews import Preview, Sheet, Summary


def write(name: str, folder: Path, source: Source, count: int) -> Summary | Path:
    with writer_of(name, folder, source) as writer:
        writer.begin()
        for index in range(count):
            rgb, labels = draw(index % 8)
            frame = Frame(index, Fraction(index, 25), rgb, frame_name(index))
            writer.add(segmented(frame, labels))
    return writer if isinstance(writer, Summary) else writer.written


class TestSheet:
    @pytest.mark.parametrize(
        ("count", "numbers"),
        [
            (1, [0]),
            (24, list(range(24))),
            (25, list(range(0, 25, 2))),
            (200, list(range(0, 200, 16))),
        ],
    )
    def test_shows_frames_that_are_evenly_spaced(
        self, count: int, numbers: list[int], video: Footage, tmp_path: Path
    ) -> None:
        sheet = write("sheet", tmp_path, source_of(video), count)
        assert isinstance(sheet, Sheet)
        assert [number for number, _ in sheet._kept] == numbers
        with Image.open(tmp_path / "sheet.png") as picture:
            assert picture.width * picture.height >= len(numbers) * WIDTH * HEIGHT


class TestPreview:
    @pytest.mark.parametrize("kind", ["gif", "webp"])
    @pytest.mark.parametrize(("count", "shown"), [(1, 1), (8, 8), (100, 25)])
    def test_is_an_animation_of_the_whole_video(
        self, kind: str, count: int, shown: int, video: Footage, tmp_path: Path
    ) -> None:
        preview = write(f"preview={kind}", tmp_path, source_of(video), count)
        assert isinstance(preview, Preview)
        with Image.open(tmp_path / f"preview.{kind}") as picture:
            assert picture.size == (WIDTH, HEIGHT)
            assert picture.format == kind.upper()
            assert getattr(picture, "n_frames", 1) == shown


@pytest.mark.parametrize("name", ["sheet", "preview=webp"])
def test_pictures_of_a_video_without_square_pixels_are_shown_as_wide_as_it_is(
    name: str, video: Footage, tmp_path: Path
) -> None:
    source = source_of(video)
    wide = replace(source, info=replace(source.info, pixel_aspect=Fraction(2)))
    write(name, tmp_path, wide, 1)
    with Image.open(tmp_path / name.replace("=", ".").replace("sheet", "sheet.png")) as picture:
        assert picture.size == (2 * WIDTH, HEIGHT)


class TestSideBySide:
    def test_is_the_video_beside_its_overlay(self, video: Footage, tmp_path: Path) -> None:
        for name in ("side-by-side", "overlay"):
            with writer_of(name, tmp_path, source_of(video)) as writer:
                writer.begin()
                for frame in read_frames(video.path):
                    writer.add(segmented(frame, video.labels[frame.index]))
        films = [read_frames(tmp_path / f"{name}.mp4") for name in ("side-by-side", "overlay")]
        for both, overlay, plain in zip(*films, read_frames(video.path), strict=True):
            assert both.rgb.shape == (HEIGHT, 2 * WIDTH, 3)
            assert np.abs(both.rgb[:, :WIDTH].astype(int) - plain.rgb).mean() < 4
            assert np.abs(both.rgb[:, WIDTH:].astype(int) - overlay.rgb).mean() < 4
            assert both.time == overlay.time


class TestTheLook:
    @pytest.mark.parametrize(
        ("settings", "colour"),
        [
            (Settings(opacity=1, palette="colour-blind"), OKABE_ITO[0]),
            (Settings(opacity=1), (128, 0, 0)),
            (Settings(opacity=0), (250, 150, 40)),
        ],
    )
    def test_is_of_the_opacity_and_palette(
        self, settings: Settings, colour: tuple[int, ...], video: Footage, tmp_path: Path
    ) -> None:
        source = replace(source_of(video), settings=settings)
        path = write("overlay", tmp_path, source, 1)
        assert isinstance(path, Path)
        shown = next(read_frames(path)).rgb[30:38, 8:16].reshape(-1, 3).mean(axis=0)
        assert np.abs(shown - colour).max() < 12


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
class TestCodecs:
    def test_show_every_picture_at_its_time(
        self,
        codec: str,
        video: Footage,
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SVT_LOG", "1")  # as the command line does
        source = replace(source_of(video), settings=Settings(codec=codec))
        path = write("overlay", tmp_path, source, 8)
        assert isinstance(path, Path)
        shown = list(read_frames(path))
        assert [frame.time for frame in shown] == [Fraction(index, 25) for index in range(8)]
        for frame in shown:
            rgb, labels = draw(frame.index)
            assert np.abs(frame.rgb[labels == 0].astype(int) - rgb[labels == 0]).mean() < 8
        assert "Svt[info]" not in capfd.readouterr().err

    def test_are_smaller_with_a_higher_crf(
        self, codec: str, video: Footage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SVT_LOG", "1")
        sizes = []
        for crf in (5, 45):
            folder = tmp_path / str(crf)
            folder.mkdir()
            source = replace(source_of(video), settings=Settings(codec=codec, crf=crf))
            path = write("overlay", folder, source, 8)
            assert isinstance(path, Path)
            sizes.append(path.stat().st_size)
        assert sizes[1] < sizes[0]
