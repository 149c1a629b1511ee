"""What every segmenter owes the rest of the program, checked for all that we have."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import ColourSegmenter, Scene, scene
from vostool.model.aggregate import aggregate
from vostool.model.interface import Segmenter
from vostool.model.stm import Stm


def check_segmenter(model: Segmenter[Any, Any], clip: Scene) -> None:
    """Assert the contract of `Segmenter` on the first two frames of a clip."""
    count, (height, width) = clip.masks.shape[2] - 1, clip.images.shape[3:]
    first, second = (model.encode(image) for image in clip.images[:2])
    masks = clip.masks[0].clone().requires_grad_()
    memory = model.memorize(first, masks)
    logits = model.segment(second, memory)
    assert logits.shape == (clip.images.shape[1], count, height, width)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    torch.testing.assert_close(aggregate(logits).sum(dim=1), torch.ones_like(logits[:, 0]))
    (gradient,) = torch.autograd.grad(logits.square().sum(), masks)
    assert gradient.abs().sum() > 0
    # features and memories are values: to add to a memory makes another one
    model.memorize(second, torch.rand_like(masks), memory)
    assert torch.equal(model.segment(second, memory), logits)
    assert torch.equal(masks, clip.masks[0])


@pytest.mark.parametrize("two", [False, True])
class TestTheContractHolds:
    def test_for_the_segmenter_by_colour(self, two: bool) -> None:
        check_segmenter(ColourSegmenter(), later(two))

    def test_for_the_network(self, network: Stm, two: bool) -> None:
        check_segmenter(network, later(two))


def later(two: bool) -> Scene:
    """Return the end of the scene, where all objects are there."""
    images, masks = scene(two=two)
    return Scene(images[-2:], masks[-2:])


def test_a_contract_broken_by_a_model_that_cuts_gradients_is_noticed(clip: Scene) -> None:
    class Hard(ColourSegmenter):
        def segment(self, features: Tensor, memory: tuple[Tensor, ...]) -> Tensor:
            return super().segment(features, memory).detach()

    with pytest.raises(RuntimeError, match="does not require grad"):
        check_segmenter(Hard(), clip)
