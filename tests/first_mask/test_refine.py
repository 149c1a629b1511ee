import numpy as np
import pytest

from vostool.first_mask.refine import change_objects, fill_holes, grow, largest


def disc(radius: float, size: int = 41) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    return np.asarray(x * x + y * y <= radius * radius)


@pytest.mark.parametrize("pixels", [1, 2, 5])
def test_a_point_grows_to_a_disc(pixels: int) -> None:
    assert (grow(disc(0), pixels) == disc(pixels)).all()


def test_a_negative_number_shrinks_a_mask() -> None:
    square = np.zeros((20, 20), bool)
    square[4:16, 4:16] = True
    assert np.argwhere(grow(square, -2)).min(axis=0).tolist() == [6, 6]
    assert grow(square, -2).sum() == 8 * 8
    assert not grow(square, -9).any()


def test_an_object_is_not_shrunk_from_the_edge_of_the_frame() -> None:
    half = np.zeros((10, 10), bool)
    half[:, :5] = True
    assert (np.flatnonzero(grow(half, -2)[4]) == [0, 1, 2]).all()
    assert grow(np.ones((5, 5), bool), -3).all()


def test_growing_by_nothing_or_growing_nothing_changes_nothing() -> None:
    assert (grow(disc(3), 0) == disc(3)).all()
    assert not grow(np.zeros((5, 5), bool), 3).any()


def test_a_hole_is_filled_and_a_bay_is_not() -> None:
    ring = disc(12) & ~disc(8)
    assert (fill_holes(ring) == disc(12)).all()
    ring[20, 20:] = False  # a way out
    assert (fill_holes(ring) == ring).all()


def test_background_does_not_escape_between_two_pixels_that_touch_at_a_corner() -> None:
    diamond = np.zeros((5, 5), bool)
    diamond[[1, 2, 2, 3], [2, 1, 3, 2]] = True
    assert fill_holes(diamond)[2, 2]


def test_a_mask_that_covers_the_edge_of_the_frame_keeps_what_lies_beside_it() -> None:
    mask = np.zeros((6, 9), bool)
    mask[:, 4] = True
    assert (fill_holes(mask) == mask).all()
    assert fill_holes(np.ones((4, 4), bool)).all()


def test_the_largest_part_is_kept() -> None:
    mask = disc(3, 20) | np.pad(disc(1, 5), ((0, 15), (0, 15)))
    assert (largest(mask) == disc(3, 20)).all()


def test_parts_that_touch_at_a_corner_are_one() -> None:
    mask = np.zeros((6, 6), bool)
    mask[1:3, 1:3] = mask[3:5, 3:5] = True
    assert (largest(mask) == mask).all()


def test_of_nothing_the_largest_part_is_nothing() -> None:
    assert not largest(np.zeros((4, 4), bool)).any()


@pytest.mark.parametrize("change", [fill_holes, largest, lambda mask: grow(mask, 0)])
def test_the_mask_that_is_given_is_left_as_it_is(change: object) -> None:
    mask = disc(12) & ~disc(8)
    before = mask.copy()
    assert callable(change)
    change(mask)[:] = True
    assert (mask == before).all()


def test_objects_that_grow_take_background_but_not_each_other() -> None:
    labels = np.zeros((10, 20), np.uint8)
    labels[4:6, 2:8], labels[4:6, 8:14], labels[4:6, 17:19] = 5, 2, 9
    grown = change_objects(labels, lambda mask: grow(mask, 2))
    assert (grown[labels > 0] == labels[labels > 0]).all()
    assert (grown[4, 14:17] == [2, 2, 9]).all()  # of what both gain, the lower id has more
    assert np.unique(grown[2]).tolist() == [0, 2, 5, 9]


def test_an_object_that_shrinks_leaves_background() -> None:
    labels = np.zeros((10, 20), np.uint8)
    labels[2:8, 2:10], labels[2:8, 10:18] = 1, 2
    shrunk = change_objects(labels, lambda mask: grow(mask, -1))
    assert (shrunk[5, 8:12] == [1, 0, 0, 2]).all()
