from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import ColourNetwork, draw
from vostool.errors import MaskError
from vostool.first_mask.snap import snap
from vostool.inference.predictor import Predictor
from vostool.model.stm import Stm


def predictor(network: object = None) -> Predictor:
    model = ColourNetwork() if network is None else network
    return Predictor(model, Path("none"), torch.device("cpu"), torch.float32, size=48)  # type: ignore[arg-type]


def rough(labels: np.ndarray) -> np.ndarray:
    """Return labels two pixels too far to the left and above."""
    return np.roll(labels, (-2, -2), axis=(0, 1))


def test_a_rough_mask_becomes_the_object_that_the_network_sees() -> None:
    rgb, labels = draw(1)
    snapped = snap(predictor(), rgb, rough(labels))
    assert snapped.dtype == np.uint8
    assert (snapped == labels).all()


def test_every_object_keeps_its_id() -> None:
    rgb, labels = draw(4, two=True)
    given = np.choose(labels, [0, 9, 4]).astype(np.uint8)
    assert (snap(predictor(), rgb, rough(given)) == given).all()


def test_the_mask_and_the_frame_are_left_as_they_are() -> None:
    rgb, labels = draw(1)
    rgb.setflags(write=False)
    given = rough(labels)
    before = given.copy()
    snap(predictor(), rgb, given)
    assert (given == before).all()


def test_an_object_that_the_network_does_not_see_stays_as_it_was_drawn() -> None:
    class Blind(ColourNetwork):
        def segment(self, features: torch.Tensor, memory: object) -> torch.Tensor:
            return torch.full_like(features[:, :1], -9)

    rgb, labels = draw(1)
    assert (snap(predictor(Blind()), rgb, labels) == labels).all()


def test_a_real_network_gives_a_mask_of_the_size_of_the_frame(network: Stm) -> None:
    rgb, labels = draw(1)
    snapped = snap(predictor(network), rgb, labels)
    assert snapped.shape == labels.shape
    assert set(np.unique(snapped)) <= {0, 1}


def test_a_mask_of_another_size_is_refused() -> None:
    rgb, labels = draw(1)
    with pytest.raises(MaskError, match="mask is 64x40, its frame is 64x48"):
        snap(predictor(), rgb, labels[:40])


def test_a_mask_without_an_object_is_refused() -> None:
    rgb, labels = draw(1)
    with pytest.raises(MaskError, match="expected at least one object"):
        snap(predictor(), rgb, np.zeros_like(labels))
