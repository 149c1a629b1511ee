import pytest
import torch
from torch import Tensor

from vostool.model.borders import (
    Bordered,
    Padding,
    pad_masks,
    pad_with_mean,
    padding_to,
    to_multiples,
    to_proportions,
)
from vostool.model.check import check_segmenter
from vostool.model.encoders import normalize
from vostool.model.interface import prepare_match


class Recorder:
    """A `Segmenter` of stride 16 whose log-odds are the masks and the image that it was handed."""

    stride = 16

    def encode(self, image: Tensor) -> Tensor:
        assert image.shape[2] % 16 == image.shape[3] % 16 == 0
        return image

    def memorize(
        self,
        features: Tensor,
        masks: Tensor,
        memory: Tensor | None = None,
        annotated: bool = False,
    ) -> Tensor:
        assert masks.shape[2:] == features.shape[2:]
        return masks if memory is None else memory + masks

    def segment(self, features: Tensor, memory: Tensor) -> Tensor:
        return memory[:, 1:] + features.mean(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("size", "padding"),
    [
        ((96, 128), (0, 0, 0, 0)),
        ((100, 150), (5, 5, 6, 6)),
        ((97, 127), (0, 1, 7, 8)),
        ((1, 16), (0, 0, 7, 8)),
    ],
)
def test_a_border_up_to_multiples_has_its_odd_pixel_right_and_below(
    size: tuple[int, int], padding: tuple[int, int, int, int]
) -> None:
    assert to_multiples(size, 16) == padding


@pytest.mark.parametrize(
    ("size", "full"),
    [
        ((240, 427), (240, 427)),
        ((240, 320), (240, 427)),
        ((240, 135), (240, 427)),
        ((200, 427), (240, 427)),
        ((120, 160), (120, 214)),
    ],
)
def test_a_border_gives_the_proportions_of_a_box(
    size: tuple[int, int], full: tuple[int, int]
) -> None:
    assert to_proportions(size, (240, 427)) == padding_to(size, full)


def test_a_border_of_the_mean_colour_is_nothing_once_it_is_normalised() -> None:
    image = torch.rand(2, 3, 5, 7)
    padded = pad_with_mean(image, Padding(1, 2, 3, 4))
    assert padded.shape == (2, 3, 12, 10)
    assert torch.equal(Padding(1, 2, 3, 4).crop(padded), image)
    normalised = normalize(padded, torch.float32)
    assert not normalised[:, :, :3].any()
    assert not normalised[:, :, :, -2:].any()


def test_a_border_of_masks_is_background() -> None:
    masks = torch.rand(1, 3, 4, 6).softmax(dim=1)
    padded = pad_masks(masks, Padding(2, 2, 1, 1))
    torch.testing.assert_close(padded.sum(dim=1), torch.ones(1, 6, 10))
    assert (padded[:, 0, 0] == 1).all()
    assert (padded[:, 0, :, :2] == 1).all()


class TestBordered:
    def test_a_bordered_network_is_given_multiples_and_returns_the_size_of_the_frame(self) -> None:
        segmenter = Bordered(Recorder())
        image, masks = torch.rand(2, 3, 21, 35), torch.rand(2, 3, 21, 35).softmax(dim=1)
        features = segmenter.encode(image)
        logits = segmenter.segment(features, segmenter.memorize(features, masks))
        assert torch.equal(logits, masks[:, 1:] + image.mean(dim=1, keepdim=True))
        padded = features.features
        assert padded.shape[2:] == (32, 48)
        assert not padded[:, :, 0].any(), "the border is black"

    def test_a_bordered_network_remembers_background_in_the_border(self) -> None:
        segmenter = Bordered(Recorder())
        features = segmenter.encode(torch.rand(1, 3, 20, 20))
        memory = segmenter.memorize(features, torch.full((1, 3, 20, 20), 1 / 3))
        assert (memory[:, 0, :6] == 1).all()
        assert not memory[:, 1:, :6].any()

    def test_a_bordered_network_keeps_the_contract_of_a_segmenter(self) -> None:
        images = torch.rand(2, 2, 3, 21, 35)
        check_segmenter(Bordered(Recorder()), images, torch.rand(2, 3, 21, 35).softmax(dim=1))


def test_a_match_that_is_prepared_has_the_borders_of_both_frames() -> None:
    bordered = Bordered(Recorder())
    images = torch.rand(2, 1, 3, 40, 70)
    masks = torch.rand(1, 3, 40, 70).softmax(dim=1)
    features, query = (bordered.encode(image) for image in images)
    expected = bordered.segment(query, bordered.memorize(features, masks))
    assert torch.equal(prepare_match(bordered, features, query)(masks), expected)
    assert expected.shape == (1, 2, 40, 70)
