import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace

from vostool.media.picture import UNSPECIFIED_COLORSPACE, to_rgb

ORANGE = (230, 120, 20)


@pytest.mark.parametrize(("height", "meant"), [(480, Colorspace.ITU601), (720, Colorspace.ITU709)])
def test_untagged_colours_are_taken_as_players_take_them(height: int, meant: Colorspace) -> None:
    rgb = np.full((height, 32, 3), ORANGE, np.uint8)
    stored = VideoFrame.from_ndarray(rgb).reformat(format="yuv420p", dst_colorspace=meant)
    stored.colorspace = UNSPECIFIED_COLORSPACE
    shown = to_rgb(stored, 32, height)
    assert np.abs(shown.astype(int) - ORANGE).max() <= 3


def test_a_picture_of_another_size_is_scaled_to_that_asked_for() -> None:
    stored = VideoFrame.from_ndarray(np.full((20, 30, 3), ORANGE, np.uint8))
    assert to_rgb(stored, 60, 40).shape == (40, 60, 3)
