from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from vostool.errors import InputError
from vostool.media.frame import Frame
from vostool.media.scene_cuts import AHEAD, with_scenes

Picture = NDArray[np.uint8]


def picture(seed: int, shift: int) -> Picture:
    """Blocks of random colours that move to the right."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return np.roll(blocks.repeat(16, axis=0).repeat(16, axis=1), shift, axis=1)


def frames(*scenes: tuple[int, int], start: int = 0) -> list[Frame]:
    """Return the frames of scenes, each with its seed and how many frames it has."""
    pictures = [picture(seed, 2 * n) for seed, count in scenes for n in range(count)]
    return [
        Frame(index, Fraction(index, 25), rgb, f"{index:05d}")
        for index, rgb in enumerate(pictures, start=start)
    ]


def cuts(shown: list[Frame]) -> list[int]:
    return [frame.index for frame in with_scenes(iter(shown)) if frame.begins_scene]


def test_a_cut_is_found_before_the_first_frame_of_each_new_scene() -> None:
    assert cuts(frames((1, 10), (2, 7), (1, 9))) == [10, 17]


def test_every_frame_knows_the_first_frame_of_its_scene() -> None:
    marked = list(with_scenes(iter(frames((1, 6), (2, 5), (3, 4), start=100))))
    assert [frame.scene for frame in marked] == [0] * 6 + [106] * 5 + [111] * 4
    assert [frame.index for frame in marked] == list(range(100, 115))


def test_a_scene_that_moves_has_no_cut() -> None:
    assert cuts(frames((1, 30))) == []


def test_a_flash_is_no_cut() -> None:
    shown = frames((1, 20))
    shown[9] = Frame(9, shown[9].time, np.full_like(shown[9].rgb, 255), "00009")
    assert cuts(shown) == []


@pytest.mark.parametrize(("before", "after"), [(1, 12), (12, 2)])
def test_a_cut_within_two_frames_of_an_end_is_not_found(before: int, after: int) -> None:
    assert cuts(frames((1, before), (2, after))) == []
    assert cuts(frames((1, max(before, 2)), (2, max(after, 3)))) != []


@pytest.mark.parametrize("size", [(1, 1), (2, 500), (2160, 3840)])
def test_frames_of_any_size_are_compared(size: tuple[int, int]) -> None:
    dark, bright = (np.full((*size, 3), value, np.uint8) for value in (10, 200))
    shown = [Frame(n, Fraction(n), dark if n < 4 else bright, "") for n in range(8)]
    assert cuts(shown) == [4]


def test_no_more_than_a_few_frames_are_read_ahead() -> None:
    read = 0

    def counted() -> Iterator[Frame]:
        nonlocal read
        for frame in frames((1, 8), (2, 8)):
            read += 1
            yield frame

    for given, _ in enumerate(with_scenes(counted()), start=1):
        assert read <= given + AHEAD
    assert read == 16


def test_the_frames_before_a_break_come_before_its_error() -> None:
    def broken() -> Iterator[Frame]:
        yield from frames((1, 5))
        raise InputError("breaks off after frame 4")

    marked = with_scenes(broken())
    assert [next(marked).index for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="breaks off"):
        next(marked)
