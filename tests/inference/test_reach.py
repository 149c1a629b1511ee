"""An object is sought around where it was: what looks like it elsewhere is not taken for it."""

import numpy as np
import pytest
import torch

from tests.conftest import DARK, ORANGE, ColourNetwork, Picture
from tests.inference.test_oom import model_of
from vostool.inference.placement import Placement
from vostool.inference.reach import places_within
from vostool.inference.region import Box, Region
from vostool.inference.sighting import Sighting
from vostool.inference.tracker import Tracker
from vostool.model.borders import Padding
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.frame_loop import confined

FRAME = (120, 160)
HALF = Placement((60, 80))
BOX = Box(40, 50, 80, 110)  # 40 x 60


def test_it_is_so_many_sides_around_where_the_object_was() -> None:
    found = places_within(2, Sighting({1: BOX}), HALF, FRAME)
    assert found == {1: (slice(10, 50), slice(10, 70))}


def test_it_ends_with_the_frame() -> None:
    down, across = places_within(2, Sighting({1: Box(0, 100, 40, 160)}), HALF, FRAME)[1]
    assert (down.start, across.start) == (0, 35)
    assert torch.zeros(60, 80)[down, across].shape == (30, 45)


def test_a_small_object_gets_a_quarter_of_the_frame() -> None:
    down, across = places_within(2, Sighting({1: Box(60, 80, 64, 84)}), HALF, FRAME)[1]
    assert down.stop - down.start == pytest.approx(0.25 * 60, abs=1)
    assert across.stop - across.start == pytest.approx(0.25 * 80, abs=1)


def test_it_is_where_the_network_sees_it_in_a_region_with_a_border() -> None:
    region = Region(FRAME, top=30, left=40, height=60, width=80)
    place = Placement((60, 80), Padding(2, 0, 3, 0), region)
    down, across = places_within(1.5, Sighting({1: Box(50, 60, 70, 90)}), place, FRAME)[1]
    assert (down, across) == (slice(45 - 30 + 3, 75 - 30 + 3), slice(52 - 40 + 2, 98 - 40 + 2))
    assert places_within(2, Sighting({1: Box(0, 0, 4, 4)}), place, FRAME)[1][0].stop <= 3


def test_what_was_not_seen_or_absent_may_be_anywhere_and_so_may_all_without_a_reach() -> None:
    before = Sighting({1: BOX, 2: None}, absent=frozenset({3}))
    assert set(places_within(2, before, HALF, FRAME)) == {1}
    assert places_within(0, before, HALF, FRAME) == {}


def test_what_is_outside_becomes_background() -> None:
    masks = torch.rand(1, 3, 6, 8).softmax(dim=1)
    place = np.s_[1:4, 2:6]
    found = confined((7, 9), masks, {9: place})
    torch.testing.assert_close(found.sum(dim=1), torch.ones(1, 6, 8))
    assert torch.equal(found[:, 1], masks[:, 1])
    torch.testing.assert_close(found[(0, 2, *place)], masks[(0, 2, *place)])
    outside = torch.ones(6, 8, dtype=torch.bool)
    outside[place] = False
    assert not found[0, 2][outside].any()
    torch.testing.assert_close(found[0, 0][outside], masks[0, 0][outside] + masks[0, 2][outside])
    torch.testing.assert_close(found[(0, 0, *place)], masks[(0, 0, *place)])


def draw(index: int) -> tuple[Picture, Picture]:
    """Draw a square; from frame 3 on another one of the same colour comes in far from it."""
    rgb, labels = np.full((*FRAME, 3), DARK, np.uint8), np.zeros(FRAME, np.uint8)
    place = np.s_[40:70, 20 + 2 * index : 50 + 2 * index]
    rgb[place], labels[place] = ORANGE, 1
    if index >= 3:
        rgb[80:110, 180 - 12 * index : 210 - 12 * index] = ORANGE
    return rgb, labels


def tracked(reach: float, correction: GradientCorrection | None = None) -> list[Picture]:
    predictor = model_of(ColourNetwork(), size=60, reach=reach, correction=correction)
    tracker = Tracker(predictor=predictor)
    return [tracker.step(draw(n)[0], draw(n)[1] if n == 0 else None) for n in range(6)]


@pytest.mark.parametrize("corrected", [False, True])
def test_another_one_of_the_same_look_that_comes_in_is_not_taken_for_it(corrected: bool) -> None:
    correction = GradientCorrection(1, steps=2, length=0.05) if corrected else None
    for index, labels in enumerate(tracked(2, correction)):
        assert (labels != draw(index)[1]).mean() < 0.01
    assert (tracked(0, correction)[5] != draw(5)[1]).mean() > 0.03


def test_an_object_that_is_lost_is_found_anywhere() -> None:
    tracker = Tracker(predictor=model_of(ColourNetwork(), size=60, reach=2))
    blank = np.full((*FRAME, 3), DARK, np.uint8)
    elsewhere, there = blank.copy(), np.s_[90:110, 130:150]
    elsewhere[there] = ORANGE
    tracker.step(*draw(0))
    assert not tracker.step(elsewhere).any(), "out of reach"
    assert (tracker.step(elsewhere)[there] == 1).mean() > 0.9


def test_a_mask_that_is_given_counts_wherever_it_is() -> None:
    tracker = Tracker(predictor=model_of(ColourNetwork(), size=60, reach=2))
    rgb, mask = np.full((*FRAME, 3), DARK, np.uint8), np.zeros(FRAME, np.uint8)
    there = np.s_[90:110, 130:150]
    rgb[there], mask[there] = ORANGE, 1
    tracker.step(*draw(0))
    assert np.array_equal(tracker.step(rgb, mask), mask)
    assert (tracker.step(rgb)[there] == 1).mean() > 0.9


def test_after_a_scene_cut_it_may_be_anywhere() -> None:
    tracker = Tracker(predictor=model_of(ColourNetwork(), size=60, reach=2))
    rgb, there = np.full((*FRAME, 3), DARK, np.uint8), np.s_[90:110, 130:150]
    rgb[there] = ORANGE
    tracker.step(*draw(0))
    tracker.step(draw(1)[0])
    tracker.forget()
    assert (tracker.step(rgb)[there] == 1).mean() > 0.9
