import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from vostool.media.matting import Alpha, in_bits, object_colours, with_alpha

Array = NDArray[np.uint8]
OBJECT, GROUND = np.array([200, 60, 30]), np.array([240, 250, 255])
MAGENTA = np.array([255.0, 0, 255])


def soft_disc(side: int = 240, radius: float = 60, softness: float = 6) -> Alpha:
    """Return a disc whose edge goes from 1 to 0 within so many pixels."""
    rows, columns = np.mgrid[:side, :side] - side / 2
    distance = np.hypot(rows, columns)
    return ((radius - distance) / softness + 0.5).clip(0, 1).astype(np.float32)


def mix(alpha: Alpha, front: Array | NDArray[np.float64], back: NDArray[np.float64]) -> Array:
    return np.round(alpha[..., None] * front + (1 - alpha[..., None]) * back).astype(np.uint8)


class TestObjectColours:
    def test_at_half_transparent_pixels_are_the_object_s_and_leave_no_fringe(self) -> None:
        alpha = soft_disc()
        frame = mix(alpha, OBJECT.astype(float), GROUND.astype(float))
        ideal = mix(alpha, OBJECT.astype(float), MAGENTA)
        ours = mix(alpha, object_colours(frame, alpha), MAGENTA)
        naive = mix(alpha, frame, MAGENTA)
        fringe = np.abs(naive.astype(int) - ideal).max()
        assert fringe > 40
        assert np.abs(ours.astype(int) - ideal).max() < 0.2 * fringe

    def test_are_kept_where_the_object_is_certain(self) -> None:
        rng = np.random.default_rng(0)
        frame = rng.integers(0, 256, (60, 80, 3), np.uint8)
        alpha = np.zeros((60, 80), np.float32)
        alpha[20:40, 30:50] = 1
        assert (object_colours(frame, alpha)[20:40, 30:50] == frame[20:40, 30:50]).all()

    def test_leave_nothing_of_the_background(self) -> None:
        frame = np.full((120, 160, 3), GROUND, np.uint8)
        frame[50:70, 70:90] = OBJECT
        alpha = np.zeros((120, 160), np.float32)
        alpha[50:70, 70:90] = 1
        colours = object_colours(frame, alpha).reshape(-1, 3)
        shown = colours[colours.any(axis=1)]
        assert np.abs(shown.astype(int) - OBJECT).max() <= 1
        assert len(shown) < 3 * 400, "far from the object all is black"

    def test_of_a_thin_part_that_is_nowhere_certain_are_its_own(self) -> None:
        frame = np.full((120, 160, 3), GROUND, np.uint8)
        frame[10:110, 78:82] = OBJECT
        alpha = cv2.GaussianBlur((frame[..., 0] == OBJECT[0]).astype(np.float32), (0, 0), 3)
        assert alpha.max() < 0.6
        colours = object_colours(frame, alpha)[20:100, 79:81]
        assert np.abs(colours.astype(int) - OBJECT).max() < 25

    def test_of_a_part_that_is_unsure_beside_a_sure_one_keep_its_detail(self) -> None:
        """A light arm before a dark body, of which the network is only half sure."""
        rng = np.random.default_rng(0)
        frame = np.full((120, 160, 3), GROUND, np.uint8)
        alpha = np.zeros((120, 160), np.float32)
        frame[20:100, 40:80], alpha[20:100, 40:80] = (30, 30, 35), 1
        arm = np.s_[50:62, 80:110]
        frame[arm] = OBJECT + rng.integers(-20, 20, (12, 30, 1))
        alpha[arm] = 0.8
        colours = object_colours(frame, alpha)[arm][2:-2, 3:-3].astype(int)
        body = np.abs(frame[arm][2:-2, 3:-3].astype(int) - (30, 30, 35)).mean()
        assert np.abs(colours - frame[arm][2:-2, 3:-3]).mean() < 0.25 * body

    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 300)])
    @pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
    def test_take_any_size(self, size: tuple[int, int], value: float) -> None:
        frame = np.full((*size, 3), 77, np.uint8)
        colours = object_colours(frame, np.full(size, value, np.float32))
        assert (colours == (77 if value else 0)).all()


class TestBits:
    @pytest.mark.parametrize("bits", [8, 16])
    def test_cover_the_range_and_round(self, bits: int) -> None:
        alpha = np.array([[0, 0.25, 0.5, 1]], np.float32)
        white = 2**bits - 1
        assert in_bits(alpha, bits)[0].tolist() == [0, round(white / 4), (white + 1) // 2, white]

    def test_of_a_cut_out_are_the_same_colours_and_the_alpha(self) -> None:
        alpha = soft_disc()
        frame = mix(alpha, OBJECT.astype(float), GROUND.astype(float))
        eight, sixteen = with_alpha(frame, alpha), with_alpha(frame, alpha, 16)
        assert (eight[..., 3] == in_bits(alpha, 8)).all()
        assert (sixteen[..., 3] == in_bits(alpha, 16)).all()
        assert (sixteen[..., :3] == 257 * eight[..., :3].astype(int)).all()
