import numpy as np
import torch

from vostool.inference.placement import Placement
from vostool.model.borders import Padding, to_multiples
from vostool.model.encoders import MEAN
from vostool.preprocess import image_tensor, soft_masks
from vostool.propagation.frames import Prediction

CPU = torch.device("cpu")
ODD = Placement((20, 30), to_multiples((20, 30), 16))


def test_without_a_border_it_is_the_frame_at_its_size() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    place = Placement((20, 30))
    assert place.size == (20, 30)
    assert torch.equal(place.image(rgb, CPU), image_tensor(rgb, (20, 30), CPU))


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


def test_masks_come_back_without_the_border() -> None:
    masks = torch.rand(1, 3, 32, 32).softmax(dim=1)
    inside = ODD.padding.crop(masks)
    prediction = ODD.crop(Prediction((1, 2), masks, None, uncorrected=masks))
    assert torch.equal(prediction.masks, inside)
    assert prediction.uncorrected is not None
    assert torch.equal(prediction.uncorrected, inside)
    assert prediction.corrected is None
    assert (ODD.soft_masks(masks, (40, 60)) == soft_masks(inside, (40, 60))).all()
    assert Placement((32, 32), Padding()).crop(prediction) is prediction
