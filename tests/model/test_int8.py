import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import needs_int8
from vostool.model.int8 import (
    LEVELS,
    NARROWEST,
    PAIR_LEVELS,
    Int8Conv2d,
    can_be_int8,
    use_int8,
)
from vostool.model.stm import Stm
from vostool.model.stm_settings import StmSettings


def with_integers(inputs: int = 32, outputs: int = 16, side: int = 3, **options: Any) -> nn.Conv2d:
    """Return a convolution whose weights are integers, and its scales 1."""
    made = nn.Conv2d(inputs, outputs, side, **({"padding": 1} | options)).requires_grad_(False)
    made.weight.copy_(torch.randint(-PAIR_LEVELS // 2, PAIR_LEVELS // 2, made.weight.shape))
    made.weight[:, 0, 0, 0], made.weight[:, 1, 0, 0] = 100, PAIR_LEVELS - 100
    return made


def activations(low: int, channels: int, batch: int = 2) -> Tensor:
    """Return integers from `low` on, as many as there are levels; of scale 1."""
    x = torch.randint(low, low + LEVELS + 1, (batch, channels, 9, 11)).float()
    x[:, 0, 0, 0], x[:, 1, 4, 5] = low, low + LEVELS
    return x.contiguous(memory_format=torch.channels_last)


@needs_int8
class TestConvolution:
    @pytest.mark.parametrize("low", [0, -54, -LEVELS])
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"bias": False},
            {"stride": 2},
            {"side": 5, "padding": 0},
            {"side": 5, "padding": (2, 0), "stride": (1, 2)},
            {"padding": 2, "dilation": 2},
            {"inputs": 17, "outputs": 19},
            {"outputs": 32, "groups": 2},
            {"side": 1, "padding": 0},
        ],
        ids=str,
    )
    def test_of_integers_is_exact(self, options: dict[str, Any], low: int) -> None:
        exact = with_integers(**options)
        x = activations(low, exact.in_channels)
        found, expected = Int8Conv2d(exact)(x), exact(x)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.max()))

    def test_of_the_largest_numbers_does_not_overflow(self) -> None:
        exact = with_integers(64)
        exact.weight.copy_(torch.tensor([126.0, 1, 1, 126]).repeat(16)[:, None, None])
        x = activations(0, 64).fill_(LEVELS)
        torch.testing.assert_close(Int8Conv2d(exact)(x), exact(x), rtol=1e-5, atol=1.0)

    def test_of_other_numbers_is_near(self) -> None:
        exact = nn.Conv2d(64, 64, 3, padding=1).requires_grad_(False)
        x = torch.randn(1, 64, 20, 20).relu()
        assert (Int8Conv2d(exact)(x) - exact(x)).abs().max() < 0.02 * exact(x).abs().max()

    @pytest.mark.parametrize("low", [0.0, -1.5, -1.49, -100.25])
    def test_rounds_activations_to_the_nearest_level(self, low: float) -> None:
        copies = nn.Conv2d(32, 32, 1, bias=False).requires_grad_(False)
        copies.weight.copy_(torch.eye(32)[..., None, None])
        x = torch.linspace(low, low + 254, 32 * 64).reshape(1, 32, 8, 8)  # a scale of 1
        found = Int8Conv2d(copies)(x)
        assert (found - x).abs().max() < 1.01  # half a level, and half of the zero point's
        assert torch.equal(found, found.round())
        assert abs((found - x).mean()) < 0.02 + abs(low - round(low))

    def test_of_one_entry_of_a_batch_does_not_depend_on_the_others(self) -> None:
        layer, x = Int8Conv2d(with_integers()), torch.randn(3, 32, 9, 11)
        x[1] *= 1000
        assert torch.equal(layer(x), torch.cat([layer(x[:1]), layer(x[1:2]), layer(x[2:])]))
        assert layer(x[:0]).shape == (0, 16, 9, 11)

    def test_survives_copying_and_pickling(self) -> None:
        layer, x = Int8Conv2d(with_integers()), torch.randn(1, 32, 9, 11)
        for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
            assert torch.equal(other(x), layer(x))
            assert other.weight.data_ptr() != layer.weight.data_ptr()

    def test_does_not_depend_on_the_memory_format(self) -> None:
        layer, x = Int8Conv2d(with_integers()), torch.randn(2, 32, 9, 11)
        assert torch.equal(layer(x), layer(x.to(memory_format=torch.channels_last)))

    @pytest.mark.parametrize("value", [0.0, 1e-38, 1e30])
    def test_of_extreme_activations_is_no_larger_than_the_exact_one(self, value: float) -> None:
        exact = with_integers(bias=False)
        found = Int8Conv2d(exact)(torch.full((1, 32, 4, 4), value))
        assert (found.abs() <= 1.01 * exact(torch.full((1, 32, 4, 4), value)).abs() + 1e-30).all()

    def test_of_weights_that_are_zero_is_the_bias(self) -> None:
        exact = with_integers()
        exact.weight.zero_()
        x, layer = torch.randn(1, 32, 4, 4), Int8Conv2d(exact)
        assert torch.equal(layer(x), exact(x))
        assert (layer.scales > 0).all()

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_of_what_is_not_finite_is_exact(self, value: float) -> None:
        exact, x = with_integers(), torch.randn(1, 32, 4, 4)
        x[0, 3, 2, 2] = value
        found, expected = Int8Conv2d(exact)(x), exact(x)
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)

    def test_is_exact_where_a_gradient_is_asked_for(self) -> None:
        exact, x = with_integers(), torch.randn(1, 32, 4, 4)
        one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        found, expected = Int8Conv2d(exact)(one), exact(other)
        assert torch.equal(found, expected)
        for each in (found, expected):
            each.square().sum().backward()
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)


class TestChoice:
    @pytest.mark.parametrize(
        ("layer", "expected"),
        [
            (nn.Conv2d(NARROWEST, NARROWEST, 3), True),
            (nn.Conv2d(NARROWEST - 1, NARROWEST, 3), False),
            (nn.Conv2d(NARROWEST, NARROWEST - 1, 3), False),
            (nn.Conv2d(64, 64, 1), False),
            (nn.Conv2d(64, 64, 3, groups=4), True),
            (nn.Conv2d(64, 64, 3, groups=8), False),
            (nn.Conv2d(64, 64, 3, padding=1, padding_mode="reflect"), False),
            (nn.Conv2d(64, 64, 3, padding="same"), False),
        ],
        ids=str,
    )
    def test_is_of_wide_convolutions_padded_with_zeros(
        self, layer: nn.Conv2d, expected: bool
    ) -> None:
        assert can_be_int8(layer) == expected

    @needs_int8
    def test_in_a_network_is_of_those_and_leaves_the_others(self) -> None:
        network = Stm(StmSettings()).requires_grad_(False)
        wide = {
            name
            for name, layer in network.named_modules()
            if isinstance(layer, nn.Conv2d) and can_be_int8(layer)
        }
        use_int8(network)
        found = {name for name, each in network.named_modules() if isinstance(each, Int8Conv2d)}
        assert found == wide
        assert {"query_key", "decoder.fuse", "query_body.layer1.0.conv1"} <= found
        assert not {"query_stem", "mask_stem", "decoder.head"} & found
