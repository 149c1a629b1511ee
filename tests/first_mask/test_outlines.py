import cv2
import numpy as np
import pytest

from vostool.errors import UsageError
from vostool.first_mask.outlines import check_within, fill_ellipse, fill_polygon


def test_a_polygon_is_what_opencv_fills() -> None:
    points = [(3, 2), (20, 5), (14, 17), (6, 12)]
    canvas = np.zeros((20, 30), np.uint8)
    cv2.fillPoly(canvas, [np.array(points, np.int32)], 1)
    mask = fill_polygon(points, (20, 30))
    assert mask.dtype == bool
    assert (mask == canvas).all()


def test_a_polygon_contains_its_outline() -> None:
    mask = fill_polygon([(2, 1), (5, 1), (5, 3), (2, 3)], (6, 8))
    expected = np.zeros((6, 8), bool)
    expected[1:4, 2:6] = True
    assert (mask == expected).all()


def test_corners_of_a_polygon_are_rounded_to_the_nearest_pixel_halves_up() -> None:
    rounded = fill_polygon([(1.5, 1.4), (5.49, 1), (5, 3.5)], (6, 8))
    assert (rounded == fill_polygon([(2, 1), (5, 1), (5, 4)], (6, 8))).all()


def test_a_polygon_that_crosses_itself_is_filled_by_the_even_odd_rule() -> None:
    star = [(15, 0), (24, 29), (0, 11), (30, 11), (6, 29)]
    mask = fill_polygon(star, (31, 31))
    assert not mask[15, 15]
    assert mask[4, 15]


def test_what_lies_out_of_the_frame_is_cut_off() -> None:
    assert fill_polygon([(-9, -9), (30, -9), (30, 30), (-9, 30)], (6, 8)).all()


def test_a_polygon_without_corners_is_empty() -> None:
    assert not fill_polygon([], (6, 8)).any()


@pytest.mark.parametrize("point", [(-0.5, -0.5), (8, 6), (7.5, 0)])
def test_the_edges_of_a_frame_are_in_it(point: tuple[float, float]) -> None:
    check_within([point], (6, 8), "polygon")


@pytest.mark.parametrize("point", [(-0.6, 0), (0, 6.1), (9, 0), (1e300, 0), (float("nan"), 0)])
def test_a_point_out_of_the_frame_is_a_usage_error(point: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="lies out of the frame of 8x6"):
        check_within([(1, 1), point], (6, 8), "polygon")


def test_an_ellipse_fills_its_box() -> None:
    mask = fill_ellipse((10, 4, 30, 20), (40, 60))
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    assert (rows[0], rows[-1]) == (4, 23)
    assert (columns[0], columns[-1]) == (10, 39)
    assert mask.sum() == pytest.approx(np.pi * 15 * 10, rel=0.02)
    assert (mask[4:24, 10:40] == mask[4:24, 10:40][::-1, ::-1]).all()


@pytest.mark.parametrize("box", [(3, 3, 0, 5), (3, 3, 5, 0)])
def test_an_ellipse_without_width_or_height_is_empty(box: tuple[int, int, int, int]) -> None:
    assert not fill_ellipse(box, (10, 10)).any()
