import numpy as np
import pytest
from numpy.typing import NDArray

from vostool.media.overlay import COLOURS, OUTLINES, paint

Array = NDArray[np.uint8]


@pytest.fixture
def rgb() -> Array:
    return np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)


@pytest.fixture
def labels() -> Array:
    labels = np.zeros((60, 80), np.uint8)
    labels[10:50, 10:40] = 1
    labels[10:50, 40:70] = 2
    return labels


class TestPaint:
    def test_leaves_the_background_and_its_arguments_alone(self, rgb: Array, labels: Array) -> None:
        before = rgb.copy()
        painted = paint(rgb, labels)
        assert (painted[labels == 0] == rgb[labels == 0]).all()
        assert (rgb == before).all()
        assert painted.flags.writeable

    def test_mixes_objects_with_their_colour(self, rgb: Array, labels: Array) -> None:
        inside = np.s_[13:47, 13:37]
        expected = rgb[inside] * 0.5 + COLOURS[1] * 0.5
        assert np.abs(paint(rgb, labels)[inside] - expected).max() <= 1
        expected = rgb[inside] * 0.8 + COLOURS[1] * 0.2
        assert np.abs(paint(rgb, labels, 0.2)[inside] - expected).max() <= 1

    def test_outlines_objects_within_and_against_each_other(
        self, rgb: Array, labels: Array
    ) -> None:
        painted = paint(rgb, labels)
        assert (painted[10, 10:40] == OUTLINES[1]).all()
        assert (painted[10:50, 39] == OUTLINES[1]).all()
        assert (painted[10:50, 40] == OUTLINES[2]).all()
        assert not (painted[30, 20] == OUTLINES[1]).all()

    def test_does_not_outline_the_border_of_the_picture(self, rgb: Array) -> None:
        everywhere = np.ones((60, 80), np.uint8)
        assert not (paint(rgb, everywhere) == OUTLINES[1]).all(axis=2).any()

    def test_outlines_thicker_in_larger_pictures(self) -> None:
        labels = np.zeros((900, 50), np.uint8)
        labels[:, 20:40] = 1
        row = paint(np.zeros((900, 50, 3), np.uint8), labels)[450]
        assert np.flatnonzero((row == OUTLINES[1]).all(axis=1)).tolist() == [
            *range(20, 23),
            *range(37, 40),
        ]

    @pytest.mark.parametrize("corner", [(0, 0), (1, 3), (7, 30), (40, 59), (50, 70)])
    def test_is_the_same_wherever_an_object_lies(self, rgb: Array, corner: tuple[int, int]) -> None:
        """What is painted of an object depends on its own pixels and those beside it alone."""
        top, left = corner
        near, far = np.zeros((2, 60, 80), np.uint8)
        near[top : top + 10, left : left + 10] = 7
        far[:] = near
        far[(top + 30) % 60, (left + 40) % 80] = 9  # has the whole picture looked at
        other = far != 9
        assert (paint(rgb, near)[other] == paint(rgb, far)[other]).all()

    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
    def test_takes_any_size(self, size: tuple[int, int]) -> None:
        assert paint(np.zeros((*size, 3), np.uint8), np.ones(size, np.uint8)).shape == (*size, 3)

    @pytest.mark.parametrize("seed", range(4))
    def test_is_what_a_look_at_every_neighbour_gives(self, seed: int) -> None:
        """Objects of any form, some of them far apart, some at the border."""
        random = np.random.default_rng(seed)
        labels = np.zeros((320, 400), np.uint8)
        for id_ in (1, 2, 3, 2):
            top, left = random.integers(-20, 320), random.integers(-20, 400)
            height, width = random.integers(1, 90, 2)
            labels[max(0, top) : top + height, max(0, left) : left + width] = id_
        labels[random.random(labels.shape) < 0.02 * (labels > 0)] = 0  # holes
        labels[-1, -1] = 3
        rgb = random.integers(0, 256, (320, 400, 3), np.uint8)
        expected = rgb.copy()
        for y, x in np.argwhere(labels):
            near = [
                labels[y, x],
                *labels[max(0, y - 1) : y + 2, x],
                *labels[y, max(0, x - 1) : x + 2],
            ]
            if any(each != labels[y, x] for each in near):
                expected[y, x] = OUTLINES[labels[y, x]]
            else:
                mixed = rgb[y, x] * (127 / 255) + COLOURS[labels[y, x]] * (128 / 255)
                expected[y, x] = np.round(mixed)
        painted = paint(rgb, labels)
        assert np.abs(painted.astype(int) - expected).max() <= 1
        edge = (expected == OUTLINES[labels]).all(axis=2) & (labels > 0)
        assert (painted[edge] == expected[edge]).all()
        assert (painted[labels == 0] == rgb[labels == 0]).all()
