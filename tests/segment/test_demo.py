from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from vostool.errors import OutputError
from vostool.media.masks import read_mask
from vostool.media.video import probe, read_frames
from vostool.segment.demo import BALL, HEIGHT, KITE, WIDTH, render_demo, render_frame


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> int:
    """A demo of a few frames, which is soon rendered."""
    monkeypatch.setattr("vostool.segment.demo.FRAMES", 3)
    return 3


def area(moment: float, id_: int) -> int:
    return int(np.count_nonzero(render_frame(moment)[1] == id_))


class TestTheScene:
    def test_is_a_picture_with_its_labels(self) -> None:
        rgb, labels = render_frame(0.0)
        assert rgb.shape == (HEIGHT, WIDTH, 3)
        assert labels.shape == (HEIGHT, WIDTH)
        assert rgb.dtype == labels.dtype == np.uint8
        assert np.unique(labels).tolist() == [0, BALL, KITE]

    def test_is_the_same_each_time(self) -> None:
        for one, other in zip(render_frame(0.3), render_frame(0.3), strict=True):
            assert (one == other).all()

    def test_shows_objects_in_colours_of_their_own(self) -> None:
        rgb, labels = render_frame(0.0)
        means = [rgb[labels == id_].mean(axis=0) for id_ in (0, BALL, KITE)]
        assert means[1][2] > means[1][1] + 50, "the ball is violet"
        assert means[2][0] > means[2][2] + 50, "the kite is yellow"

    def test_moves(self) -> None:
        places = [np.argwhere(render_frame(moment)[1] == BALL).mean(axis=0) for moment in (0, 0.5)]
        assert places[1][1] - places[0][1] > 100

    def test_has_the_ball_pass_behind_the_tree_and_come_out_again(self) -> None:
        areas = [area(moment, BALL) for moment in np.arange(0, 1, 0.1)]
        whole = max(areas)
        hidden = int(np.argmin(areas))
        assert areas[hidden] < 0.8 * whole
        assert areas[0] > 0.95 * whole
        assert areas[-1] > 0.95 * whole


class TestFiles:
    def test_are_a_video_and_the_mask_of_its_first_frame(self, tmp_path: Path, short: int) -> None:
        video, masks = render_demo(tmp_path / "new" / "demo")
        info = probe(video)
        assert (info.width, info.height, info.rate) == (WIDTH, HEIGHT, Fraction(25))
        frames = list(read_frames(video))
        assert len(frames) == short
        rgb, labels = render_frame(0.0)
        assert (read_mask(Path(masks[0]), WIDTH, HEIGHT) == labels).all()
        assert np.abs(frames[0].rgb.astype(int) - rgb).mean() < 5

    def test_that_are_there_already_are_taken_as_they_are(self, tmp_path: Path, short: int) -> None:
        video, _ = render_demo(tmp_path)
        before = video.stat().st_mtime_ns
        assert render_demo(tmp_path)[0] == video
        assert video.stat().st_mtime_ns == before

    def test_need_a_folder_that_can_be_made(self, tmp_path: Path, short: int) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError, match="cannot be written"):
            render_demo(tmp_path / "file" / "demo")
