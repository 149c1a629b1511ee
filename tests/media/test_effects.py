import numpy as np
import pytest
from numpy.typing import NDArray

from vostool.media.effects import apply, effect_of

NAMES = ["blur", "pixelate", "black", "grey", "colour:#00ff80"]
Array = NDArray[np.uint8]


def picture(height: int = 90, width: int = 160) -> Array:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def changed(name: str, rgb: Array) -> Array:
    effect = effect_of(name)
    assert effect is not None
    return effect(rgb)


class TestEffects:
    @pytest.mark.parametrize("name", NAMES)
    def test_change_only_where_they_have_weight(self, name: str) -> None:
        rgb, weight = picture(), np.zeros((90, 160), np.float32)
        weight[30:60, 40:80] = 1
        effect = effect_of(name)
        assert effect is not None
        found = apply(rgb, effect, weight)
        assert (found[weight == 0] == rgb[weight == 0]).all()
        assert (found[weight == 1] == effect(rgb)[weight == 1]).all()
        half = apply(rgb, effect, np.full((90, 160), 0.5, np.float32)).astype(int)
        assert np.abs(2 * half - effect(rgb) - rgb).max() <= 2

    @pytest.mark.parametrize("name", ["blur", "pixelate"])
    @pytest.mark.parametrize("size", [(96, 128), (1080, 1920)])
    def test_leave_no_details(self, name: str, size: tuple[int, int]) -> None:
        """Stripes as wide as an eye of a face that fills the picture are gone."""
        rgb = np.zeros((*size, 3), np.uint8)
        period = min(size) // 48
        rgb[:, np.arange(size[1]) // period % 2 == 0] = 255
        inner = changed(name, rgb)[size[0] // 3 : -size[0] // 3, size[1] // 3 : -size[1] // 3]
        assert inner.std() < 0.4 * rgb.std()

    def test_have_the_colour_that_is_asked_for(self) -> None:
        assert (changed("colour:#00ff80", picture()) == (0, 255, 128)).all()
        assert (changed("black", picture()) == 0).all()
        grey = changed("grey", picture())
        assert (grey == grey[..., :1]).all()

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (33, 47)])
    def test_take_any_size(self, name: str, size: tuple[int, int]) -> None:
        assert changed(name, picture(*size)).shape == (*size, 3)

    @pytest.mark.parametrize("name", ["", "sepia", "colour", "colour:red", "colour:#12345"])
    def test_that_do_not_exist_are_none(self, name: str) -> None:
        assert effect_of(name) is None
