import pytest
import torch
from torch import Tensor

from vostool.model.decoder import Decoder
from vostool.model.encoders import Pyramid


@pytest.fixture
def decoder() -> Decoder:
    torch.manual_seed(0)
    return Decoder(read=6, skips=(5, 4), widths=(8, 6, 4))


@pytest.fixture
def pyramid() -> Pyramid:
    """Features of two images of 32 x 48 pixels."""
    torch.manual_seed(1)
    return Pyramid(torch.randn(2, 4, 8, 12), torch.randn(2, 5, 4, 6), torch.randn(2, 9, 2, 3))


@pytest.fixture
def read() -> Tensor:
    """What three objects of each image read from memory."""
    torch.manual_seed(2)
    return torch.randn(6, 6, 2, 3)


def test_every_object_gets_log_odds_at_a_quarter_of_the_image(
    decoder: Decoder, pyramid: Pyramid, read: Tensor
) -> None:
    assert decoder(read, decoder.skips(pyramid)).shape == (6, 1, 8, 12)


def test_objects_of_an_image_see_its_details_and_not_each_other(
    decoder: Decoder, pyramid: Pyramid, read: Tensor
) -> None:
    together = decoder(read, decoder.skips(pyramid))
    second = Pyramid(*(features[1:] for features in pyramid))
    alone = decoder(read[4:5], decoder.skips(second))  # the middle object of the second image
    torch.testing.assert_close(together[4:5], alone)


def test_an_object_looks_different_in_a_different_image(
    decoder: Decoder, pyramid: Pyramid, read: Tensor
) -> None:
    first, second = decoder(read[:1].repeat(2, 1, 1, 1), decoder.skips(pyramid))
    assert not torch.allclose(first, second)
