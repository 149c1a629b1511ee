import time

import numpy as np
import pytest
from numpy.typing import NDArray

from vostool.errors import MaskError
from vostool.first_mask.grabcut import cut_box


def scene(height: int = 120, width: int = 160) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw an orange disc on grey noise, and return where it is."""
    random = np.random.default_rng(0)
    rgb = random.integers(40, 90, (height, width, 3)).astype(np.uint8)
    y, x = np.mgrid[:height, :width]
    disc = (x - width / 2) ** 2 + (y - height / 2) ** 2 <= (height / 4) ** 2
    orange = np.array((220, 130, 40))
    rgb[disc] = random.integers(-20, 20, (int(disc.sum()), 3)) + orange
    return rgb, disc


def iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_the_object_in_a_box_is_found_by_its_colours() -> None:
    rgb, disc = scene()
    mask = cut_box(rgb, (45, 25, 70, 70))
    assert mask.shape == disc.shape
    assert mask.dtype == bool
    assert iou(mask, disc) > 0.98


def test_the_same_seed_gives_the_same_mask() -> None:
    rgb, _ = scene()
    rgb = (rgb // 2 + np.random.default_rng(1).integers(0, 90, rgb.shape)).astype(np.uint8)
    first = cut_box(rgb, (40, 20, 80, 80), seed=3)
    cut_box(rgb, (50, 30, 60, 60), seed=4)
    assert (cut_box(rgb, (40, 20, 80, 80), seed=3) == first).all()


def test_a_large_frame_takes_no_longer_than_its_share_and_keeps_its_size() -> None:
    rgb, disc = scene(1080, 1920)
    started = time.process_time()
    mask = cut_box(rgb, (600, 200, 720, 680))
    assert time.process_time() - started < 10  # half a minute and more at the full size
    assert iou(mask, disc) > 0.97


def test_nothing_is_found_out_of_the_box() -> None:
    rgb, disc = scene()
    mask = cut_box(rgb, (54, 25, 60, 70))
    assert disc[:, :54].any()
    assert not mask[:, :54].any()
    assert iou(mask, disc & (np.arange(160) >= 54)) > 0.95


def test_a_box_may_reach_out_of_the_frame() -> None:
    rgb, _ = scene()
    rgb[30:80, :30] = (20, 200, 60)
    mask = cut_box(rgb, (-10, 20, 60, 70))
    assert mask[50, 5]
    assert iou(mask, (rgb == (20, 200, 60)).all(axis=2)) > 0.95


@pytest.mark.parametrize("box", [(200, 10, 20, 20), (10, 10, 0, 20), (-30, 0, 20, 20)])
def test_a_box_without_a_pixel_of_the_frame_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(MaskError, match="expected a box in the frame of 160x120"):
        cut_box(scene()[0], box)


def test_a_box_around_the_whole_frame_is_refused() -> None:
    with pytest.raises(MaskError, match=r"needs background around the object.*--polygon"):
        cut_box(scene()[0], (0, 0, 160, 120))


def test_colours_that_tell_nothing_apart_make_it_collapse() -> None:
    flat = np.full((120, 160, 3), 90, np.uint8)
    with pytest.raises(MaskError, match=r"GrabCut takes \d+% of it .* draw a --polygon"):
        cut_box(flat, (40, 30, 60, 50))
