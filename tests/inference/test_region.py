"""A region of a frame in the place of all of it: its geometry, and its masks in the frame's."""

import numpy as np
import pytest
import torch

from vostool.inference.placement import Placement
from vostool.inference.region import Box, Region
from vostool.model.borders import Padding
from vostool.preprocess import Size, object_tensor
from vostool.propagation.frames import Prediction

CPU = torch.device("cpu")


@pytest.mark.parametrize("frame", [(480, 854), (2160, 3840), (1080, 607), (33, 50)], ids=str)
def test_a_region_has_the_share_and_the_proportions_and_lies_in_the_frame(frame: Size) -> None:
    random = np.random.default_rng(3)
    for _ in range(200):
        share = random.uniform(0.05, 1)
        ends = np.sort(random.uniform(0, frame, (2, 2)), axis=0)
        box = Box(*ends[0], *ends[1])
        region = Region.around(box, share, frame, input_height=32)
        if region is None:
            assert share > 0.9
            continue
        sides, corner = (region.height, region.width), (region.top, region.left)
        for side, start, most, low, high in zip(sides, corner, frame, *ends, strict=True):
            assert abs(side - share * most) <= 2 * region.grain
            assert 0 <= start <= start + side <= most
            centre = min(max((low + high) / 2, side / 2), most - side / 2)
            assert abs(start + side / 2 - centre) <= region.grain
            assert start % region.grain == 0
            assert side % region.grain == 0 or start + side == most
            assert start + side == most or most - start - side >= region.grain


@pytest.mark.parametrize("share", [0.25, 0.5, 0.77])
def test_a_region_at_the_edge_ends_with_the_frame(share: float) -> None:
    frame = (2160, 3838)
    region = Region.around(Box(2100, 3800, 2160, 3838), share, frame, 100)
    assert region is not None
    assert region.grain > 1
    assert (region.box.bottom, region.box.right) == frame
    masks = torch.zeros(1, 2, 96, 176)
    masks[:, 1] = 1
    whole = region.whole(masks)
    assert whole[0, 1, -1, -1] == 1
    labels = np.zeros(frame, np.uint8)
    labels[-2:, -1] = 1
    place = Placement((96, 176), region=region)
    assert 0 < place.objects(labels, (1,), CPU).sum() <= 4


def test_an_object_that_is_not_in_the_region_has_no_pixel_there(region: Region) -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[:4, :4] = 1
    assert not Placement((15, 20), region=region).objects(labels, (1,), CPU).any()


@pytest.mark.parametrize("frame", [(480, 854), (2988, 5312), (1081, 1921)], ids=str)
def test_all_of_a_frame_is_no_region(frame: Size) -> None:
    for share in (1, 0.9999):
        assert Region.around(Box(0, 0, 10, 10), share, frame, 320) is None


def test_masks_of_very_large_frames_are_bounded() -> None:
    for frame in ((2160, 3840), (4320, 7680)):
        region = Region.around(Box(50, 50, 60, 60), 0.25, frame, 320)
        assert region is not None
        whole = region.whole(torch.rand(1, 2, 320, 576))
        assert whole.shape[2:] == (1080, 1920)


def test_masks_of_a_large_frame_are_as_fine_as_the_region_needs_but_no_finer() -> None:
    box = Box(1000, 1900, 1100, 2000)
    large = Region.around(box, 0.5, (2160, 3840), 320)
    assert large is not None
    assert large.grain == 3, "1080 rows in the 320 of the network's input"
    whole = large.whole(torch.rand(1, 2, 320, 576))
    assert whole.shape == (1, 2, 720, 1280)


@pytest.fixture
def region() -> Region:
    return Region((60, 80), top=12, left=30, height=30, width=40)


def test_masks_of_a_region_lie_where_it_lies_and_all_else_is_background(region: Region) -> None:
    masks = torch.rand(1, 3, 30, 40).softmax(dim=1)
    whole = region.whole(masks)
    assert whole.shape == (1, 3, 60, 80)
    assert torch.equal(whole[:, :, 12:42, 30:70], masks)
    outside = torch.ones(60, 80, dtype=torch.bool)
    outside[12:42, 30:70] = False
    assert (whole[0, 0][outside] == 1).all()
    assert (whole[0, 1:, outside] == 0).all()
    assert torch.equal(region.inside(whole), masks)


def test_resized_masks_of_a_region_still_sum_to_1(region: Region) -> None:
    whole = region.whole(torch.rand(1, 3, 48, 64).softmax(dim=1))
    torch.testing.assert_close(whole.sum(dim=1), torch.ones(1, 60, 80))


def test_the_network_sees_the_region_of_frame_and_mask(region: Region) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    labels = np.zeros((60, 80), np.uint8)
    labels[20:30, 40:50] = 1
    place = Placement((15, 20), Padding(1, 0, 0, 1), region)
    part = rgb[12:42, 30:70]
    assert torch.equal(place.image(rgb, CPU), Placement((15, 20), place.padding).image(part, CPU))
    seen = place.padding.crop(place.objects(labels, (1,), CPU))
    assert torch.equal(seen, object_tensor(labels[12:42, 30:70], (1,), (15, 20), CPU))


def test_a_prediction_of_a_region_becomes_one_of_the_frame_and_back(region: Region) -> None:
    place = Placement((30, 40), Padding(1, 1, 2, 0), region)
    masks = torch.zeros(1, 2, *place.size)
    masks[:, 0] = 1
    masks[:, 0, 10:20, 10:20], masks[:, 1, 10:20, 10:20] = 0, 1
    prediction = place.whole(Prediction((1,), masks, None, uncorrected=masks))
    assert prediction.uncorrected is not None
    assert torch.equal(prediction.masks, prediction.uncorrected)
    assert prediction.masks.shape[2:] == (60, 80)
    assert (prediction.masks[0, 1, 20:30, 39:49] == 1).all()
    assert prediction.masks[0, 1].sum() == 100
    assert torch.equal(place.from_whole(prediction.masks), masks)
    soft = place.soft_masks(masks, (60, 80))
    assert (soft[1, 20:30, 39:49] == 1).all()
    assert soft[1].sum() == 100
