"""An object is sought around where it was: what looks like it elsewhere is not taken for it."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.conftest import DARK, ORANGE, ColourNetwork, Picture
from tests.inference.test_oom import model_of
from vostool.inference.placement import Placement
from vostool.inference.reach import Reach, ReachFilter, Window
from vostool.inference.region import Box, Region
from vostool.inference.sighting import Sighting
from vostool.inference.tracker import Tracker
from vostool.model.borders import Padding
from vostool.propagation.correction import GradientCorrection

FRAME = (120, 160)
HALF = Placement((60, 80))
BOX = Box(40, 50, 80, 110)  # 40 x 60


def window(box: Box, reach: float, place: Placement) -> Window:
    return ReachFilter.of(Sighting({1: box}), reach, place, FRAME).reaches[1].window


def test_it_is_so_many_sides_around_where_the_object_was() -> None:
    before = Sighting({1: BOX}, areas={1: 1600})
    found = ReachFilter.of(before, 2, HALF, FRAME).reaches
    assert found == {1: Reach((slice(10, 50), slice(10, 70)), pixels=40)}, "a tenth of 400 in half"


def test_it_ends_with_the_frame() -> None:
    down, across = window(Box(0, 100, 40, 160), 2, HALF)
    assert (down.start, across.start) == (0, 35)
    assert torch.zeros(60, 80)[down, across].shape == (30, 45)


def test_a_small_object_gets_a_quarter_of_the_frame() -> None:
    down, across = window(Box(60, 80, 64, 84), 2, HALF)
    assert down.stop - down.start == pytest.approx(0.25 * 60, abs=1)
    assert across.stop - across.start == pytest.approx(0.25 * 80, abs=1)


def test_it_is_where_the_network_sees_it_in_a_region_with_a_border() -> None:
    region = Region(FRAME, top=30, left=40, height=60, width=80)
    place = Placement((60, 80), Padding(2, 0, 3, 0), region)
    down, across = window(Box(50, 60, 70, 90), 1.5, place)
    assert (down, across) == (slice(45 - 30 + 3, 75 - 30 + 3), slice(52 - 40 + 2, 98 - 40 + 2))
    assert window(Box(0, 0, 4, 4), 2, place)[0].stop <= 3


def test_what_was_not_seen_or_absent_may_be_anywhere_and_so_may_all_without_a_reach() -> None:
    before = Sighting({1: BOX, 2: None}, absent=frozenset({3}))
    assert set(ReachFilter.of(before, 2, HALF, FRAME).reaches) == {1}
    assert ReachFilter.of(before, 0, HALF, FRAME).reaches == {}


PLACE = np.s_[10:30, 10:30]


def masks_of(*parts: tuple[slice, slice]) -> torch.Tensor:
    """Return masks of objects 7 and 9, of which 9 has these parts, with soft edges."""
    objects = torch.zeros(1, 1, 60, 80)
    for part in parts:
        objects[(0, 0, *part)] = 1
    objects = functional.avg_pool2d(objects, 3, 1, 1)
    seven = torch.zeros(1, 1, 60, 80)
    seven[..., 50:55, 70:75] = 0.9
    return torch.cat([1 - objects - seven, seven, objects], dim=1)


def near(masks: torch.Tensor, least: float = 0) -> torch.Tensor:
    return ReachFilter({9: Reach(PLACE, least)})((7, 9), masks)


def test_a_part_out_of_reach_becomes_background_with_its_soft_edge() -> None:
    inside, outside = np.s_[15:25, 15:25], np.s_[40:50, 40:50]
    found = near(masks_of(inside, outside))
    torch.testing.assert_close(found, masks_of(inside))


def test_a_part_that_goes_on_out_of_reach_stays_whole() -> None:
    masks = masks_of(np.s_[15:25, 15:60], np.s_[28:33, 28:33])
    assert torch.equal(near(masks), masks)


def test_what_has_jumped_as_a_whole_is_left_alone() -> None:
    masks = masks_of(np.s_[40:50, 40:50])
    assert torch.equal(near(masks), masks)


def test_so_is_what_has_jumped_but_for_a_speck() -> None:
    masks = masks_of(np.s_[12:16, 12:16], np.s_[40:50, 40:50])
    assert torch.equal(near(masks, least=30), masks)
    assert not near(masks, least=10)[0, 2, 40:50, 40:50].any()


def test_an_object_without_a_pixel_and_one_that_may_be_anywhere_are_left_alone() -> None:
    masks = masks_of()
    assert torch.equal(near(masks), masks)
    parts = masks_of(np.s_[15:25, 15:25], np.s_[40:50, 40:50])
    assert ReachFilter({})((7, 9), parts) is parts


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


def test_an_object_that_jumps_is_followed() -> None:
    tracker = Tracker(predictor=model_of(ColourNetwork(), size=60, reach=2))
    elsewhere, there = np.full((*FRAME, 3), DARK, np.uint8), np.s_[90:110, 130:150]
    elsewhere[there] = ORANGE
    tracker.step(*draw(0))
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
    """Also where something in its look is at its former place."""
    tracker = Tracker(predictor=model_of(ColourNetwork(), size=60, reach=2))
    rgb, there = draw(1)[0], np.s_[90:110, 130:150]
    rgb[there] = ORANGE
    tracker.step(*draw(0))
    assert not tracker.step(rgb)[there].any()
    tracker.forget()
    assert (tracker.step(rgb)[there] == 1).mean() > 0.9
