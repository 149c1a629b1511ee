from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import HEIGHT, WIDTH, Footage, Picture, draw, segmented
from tests.segment.writers.test_writers import source_of
from vostool.inference.soft import WHITE, SegmentedFrame, SoftMasks
from vostool.media.frame import Frame, frame_name
from vostool.segment.writers import writer_of


def trimap_of(frame: SegmentedFrame, video: Footage, folder: Path) -> Picture:
    with writer_of("trimap", folder, source_of(video)) as writer:
        writer.begin()
        writer.add(frame)
    with Image.open(folder / "trimap" / f"{frame.frame.name}.png") as picture:
        assert picture.mode == "L"
        return np.asarray(picture)


@pytest.fixture
def frame() -> SegmentedFrame:
    rgb, labels = draw(3)
    return segmented(Frame(3, Fraction(3, 25), rgb, frame_name(3)), labels)


class TestATrimap:
    def test_is_white_inside_black_outside_and_grey_along_the_soft_edge(
        self, frame: SegmentedFrame, video: Footage, tmp_path: Path
    ) -> None:
        trimap = trimap_of(frame, video, tmp_path)
        assert set(np.unique(trimap)) == {0, 128, 255}
        assert frame.soft is not None
        soft = frame.soft.of_all()
        assert (trimap[(soft > 0.06) & (soft < 0.94)] == 128).all()
        assert (soft[trimap == 255] >= 0.95).all()
        assert (soft[trimap == 0] <= 0.05).all()
        inner = frame.labels[28:40, 18:30] > 0
        assert (trimap[28:40, 18:30][inner] == 255).mean() > 0.3
        assert (trimap[:20] == 0).all()

    def test_has_a_band_of_unknown_pixels_even_around_a_hard_edge(
        self, frame: SegmentedFrame, video: Footage, tmp_path: Path
    ) -> None:
        hard = np.zeros((2, HEIGHT, WIDTH), np.uint16)
        hard[1, 10:30, 20:50] = WHITE
        hard[0] = WHITE - hard[1]
        soft = SoftMasks((1,), hard, (HEIGHT, WIDTH))
        trimap = trimap_of(replace(frame, soft=soft), video, tmp_path)
        assert (trimap[20, 18:22] == (0, 128, 128, 255)).all()

    def test_of_a_frame_without_objects_is_black(
        self, frame: SegmentedFrame, video: Footage, tmp_path: Path
    ) -> None:
        nothing = segmented(frame.frame, np.zeros((HEIGHT, WIDTH), np.uint8))
        assert not trimap_of(nothing, video, tmp_path).any()
