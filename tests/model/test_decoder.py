import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from vostool.model.decoder import Decoder, OutputStride, enlarge
from vostool.model.encoders import STEM_CHANNELS, Pyramid, ResNetBody, normalize, resnet


def build(output_stride: OutputStride) -> Decoder:
    """Return a decoder; those of both strides have the weights that they share in common."""
    torch.manual_seed(0)
    return Decoder(read=6, skips=(5, 4), widths=(8, 6, 4), output_stride=output_stride)


@pytest.fixture(params=[4, 2])
def decoder(request: pytest.FixtureRequest) -> Decoder:
    """A decoder as it may be after training: no part of it is without effect."""
    decoder = build(request.param)
    if request.param == 2:
        torch.nn.init.normal_(decoder.head_half.weight)
    return decoder


@pytest.fixture
def pyramid() -> Pyramid:
    """Features of two images of 32 x 48 pixels."""
    torch.manual_seed(1)
    half = torch.randn(2, STEM_CHANNELS, 16, 24)
    coarser = torch.randn(2, 4, 8, 12), torch.randn(2, 5, 4, 6), torch.randn(2, 9, 2, 3)
    return Pyramid(half, *coarser)


@pytest.fixture
def read() -> Tensor:
    """What three objects of each image read from memory."""
    torch.manual_seed(2)
    return torch.randn(6, 6, 2, 3)


def test_every_object_gets_log_odds_in_float32_at_the_size_of_the_image(
    decoder: Decoder, pyramid: Pyramid, read: Tensor
) -> None:
    logits = decoder(read, decoder.skips(pyramid))
    assert logits.shape == (6, 1, 32, 48)
    assert logits.dtype == torch.float32


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


def test_the_stage_at_a_half_changes_no_bit_before_it_is_trained(
    pyramid: Pyramid, read: Tensor
) -> None:
    quarter, half = (build(stride) for stride in (4, 2))
    before = quarter(read, quarter.skips(pyramid))
    assert torch.equal(half(read, half.skips(pyramid)), before)


def test_the_residual_at_a_half_depends_on_object_and_edges_together(
    pyramid: Pyramid, read: Tensor
) -> None:
    """A sum of a term of the object and one of the frame cannot choose the object's edges."""
    quarter, half = (build(stride) for stride in (4, 2))
    torch.nn.init.normal_(half.head_half.weight)
    other_edges = pyramid._replace(half=pyramid.half.flip(3))

    def residual(read: Tensor, seen: Pyramid) -> Tensor:
        return half(read, half.skips(seen)) - quarter(read, quarter.skips(seen))

    change = residual(read, pyramid) - residual(read, other_edges)
    change_for_others = residual(-read, pyramid) - residual(-read, other_edges)
    assert change.abs().max() > 0.1
    assert (change - change_for_others).abs().max() > 0.1


def thin_bars() -> tuple[Tensor, Tensor, Tensor]:
    """Return an image of bright bars 2 pixels wide; the masks of two objects, which are those of
    its left half and those of its right one; and that half at 1/16, (2, 1, ., .)."""
    rows, columns = torch.arange(64), torch.arange(96)
    within = (rows >= 8) & (rows < 56)
    bars = ((columns % 8 < 2) & within[:, None]).float()
    halves = torch.stack([columns < 48, columns >= 48]).float()
    halves = halves[:, None, None].expand(2, 1, 64, 96)
    image = (0.2 + 0.6 * bars).expand(1, 3, 64, 96)
    return image, bars * halves, functional.avg_pool2d(halves, 16)


def test_the_stage_at_a_half_learns_outlines_too_fine_for_a_quarter() -> None:
    image, masks, read = thin_bars()
    torch.manual_seed(0)
    network = resnet("resnet18")
    with torch.no_grad():
        stem = network.conv1(normalize(image, torch.float32))
        pyramid = ResNetBody(network).pyramid(stem)

    def fit(decoder: Decoder, parameters: list[nn.Parameter]) -> float:
        """Train some weights; return the intersection over union of all masks."""
        optimizer = torch.optim.Adam(parameters, lr=3e-3)
        for _ in range(70):
            logits = decoder(read, decoder.skips(pyramid))
            loss = functional.binary_cross_entropy_with_logits(logits, masks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        found, true = logits.detach() > 0, masks > 0
        return float((found & true).sum() / (found | true).sum())

    quarter, half = (Decoder(1, (128, 64), (16, 8, 8), stride) for stride in (4, 2))
    assert fit(quarter, list(quarter.parameters())) < 0.5
    half.load_state_dict(quarter.state_dict(), strict=False)
    new = [weight for name, weight in half.named_parameters() if "half" in name]
    assert fit(half, new) > 0.8
    assert fit(quarter, list(quarter.parameters())) < 0.5  # as many steps more


@pytest.mark.parametrize("size", [(24, 36), (16, 16), (17, 9)])
def test_log_odds_are_enlarged_alike_with_and_without_a_gradient(size: tuple[int, int]) -> None:
    logits = torch.randn(3, 1, 6, 9).requires_grad_()
    found, expected = (
        enlarge(logits, size),
        functional.interpolate(logits, size=size, mode="bilinear"),
    )
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(enlarge(logits.detach(), size), expected)
    direction = torch.randn_like(expected)
    gradients = [
        torch.autograd.grad((each * direction).sum(), logits) for each in (found, expected)
    ]
    torch.testing.assert_close(*gradients)
