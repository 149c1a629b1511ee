import numpy as np
import torch

from vostool.inference.placement import Placement
from vostool.model.borders import Padding, pad_with_mean, to_multiples
from vostool.model.encoders import MEAN
from vostool.preprocess import resize, resized_frame, soft_masks, unit_range
from vostool.propagation.frames import Prediction

CPU = torch.device("cpu")
ODD = Placement((20, 30), to_multiples((20, 30), 16))


def test_a_placement_without_a_border_is_the_frame_at_its_size() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    place = Placement((20, 30))
    assert place.size == (20, 30)
    resized = resized_frame(rgb, (20, 30), CPU)
    assert resized.dtype == torch.uint8
    assert torch.equal(place.image(rgb, CPU), unit_range(resized))


def test_the_border_of_a_frame_has_the_mean_colour_and_no_object() -> None:
    rgb = np.zeros((40, 60, 3), np.uint8)
    assert ODD.size == (32, 32)
    image = ODD.image(rgb, CPU)
    assert image.shape == (1, 3, 32, 32)
    torch.testing.assert_close(image[0, :, 0, 0], torch.tensor(MEAN))
    assert not ODD.padding.crop(image).any()
    objects = ODD.objects(np.ones((40, 60), np.uint8), (1,), CPU)
    assert objects.shape == (1, 1, 32, 32)
    assert objects.sum() == 20 * 30


def test_predicted_masks_lose_the_border_of_their_placement() -> None:
    masks = torch.rand(1, 3, 32, 32).softmax(dim=1)
    inside = ODD.padding.crop(masks)
    prediction = ODD.whole(Prediction((1, 2), masks, None, uncorrected=masks))
    assert torch.equal(prediction.masks, inside)
    assert prediction.uncorrected is not None
    assert torch.equal(prediction.uncorrected, inside)
    assert prediction.corrected is None
    assert (ODD.soft_masks(masks, (40, 60)) == soft_masks(inside, (40, 60))).all()
    assert Placement((32, 32), Padding()).whole(prediction) is prediction


def test_an_image_of_another_placement_loses_its_border_and_gets_the_new_one() -> None:
    large, small = (
        Placement((21, 30), Padding(1, 1, 5, 6)),
        Placement((10, 14), Padding(1, 1, 3, 3)),
    )
    rgb = np.random.default_rng(0).integers(0, 255, (42, 60, 3), dtype=np.uint8)
    before = large.image(rgb, CPU)
    image = small.image_from(before, large)
    assert image.shape[2:] == small.size
    inside = resize(large.padding.crop(before), small.frame)
    assert torch.equal(small.padding.crop(image), inside)
    assert torch.equal(image, pad_with_mean(inside, small.padding))
    masks = torch.rand(1, 3, *large.size).softmax(dim=1)
    placed = small.masks_from(masks, large)
    assert torch.equal(small.padding.crop(placed), resize(large.padding.crop(masks), small.frame))
    assert (placed[:, 0, :3] == 1).all()
    assert (placed[:, 1:, :3] == 0).all()


def test_an_image_of_the_same_placement_is_not_changed() -> None:
    place = Placement((10, 14), Padding(1, 1, 3, 3))
    masks = torch.rand(1, 3, *place.size)
    assert place.masks_from(masks, place) is masks
    assert place.masks_from(masks) is masks, "of a placement unknown, but of the same size"
    moved = place.masks_from(masks, Placement((10, 14), Padding(0, 2, 3, 3)))
    assert torch.equal(place.padding.crop(moved), masks[:, :, 3:-3, :-2])
