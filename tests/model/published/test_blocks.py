"""The arithmetic of STCN and XMem, from the formulas and the weights by name."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from tests.model.published.making import STCN, XMEM, small
from vostool.model.decoder import ResidualBlock
from vostool.model.published.blocks import (
    WIDTH,
    AttentionBlock,
    Fusion,
    UpBlock,
    Upsampling,
    ValueEncoder,
)
from vostool.model.published.sensory import Decoded, HiddenUpdate, Recurrence
from vostool.model.published.stcn import Stcn
from vostool.model.published.xmem import Xmem

H, W = 2, 3


@pytest.fixture(autouse=True)
def weights_of_one_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def stcn() -> Any:
    return small(STCN).requires_grad_(False)


@pytest.fixture(scope="module")
def xmem() -> Any:
    return small(XMEM).requires_grad_(False)


class Recorder(nn.Module):
    """A layer that keeps what it is given."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.given = layer, torch.empty(0)

    def forward(self, x: Tensor) -> Any:
        self.given = x
        return self.layer(x)


Record = Callable[[nn.Module, str], Recorder]


@pytest.fixture
def recorded() -> Iterator[Record]:
    """Put recorders around layers of networks, by name, and take them away again."""
    changed: list[tuple[nn.Module, str, nn.Module]] = []

    def record(module: nn.Module, name: str) -> Recorder:
        layer = module.get_submodule(name)
        changed.append((module, name, layer))
        recorder = Recorder(layer)
        setattr(module, name, recorder)
        return recorder

    yield record
    for module, name, layer in changed:
        setattr(module, name, layer)


def layer(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Return a convolution by its weights, its sizes kept."""
    padding = convolution.weight.shape[2] // 2
    return conv2d(x, convolution.weight, convolution.bias, padding=padding)


def residual(block: ResidualBlock, x: Tensor) -> Tensor:
    """Return a residual block, whose shortcut is of the input before the activation."""
    projected = isinstance(block.downsample, nn.Conv2d)
    shortcut = layer(block.downsample, x) if projected else x
    return shortcut + layer(block.conv2, layer(block.conv1, x.relu()).relu())


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_attention_weights_channels_by_mean_and_maximum_and_then_positions() -> None:
    block, x = AttentionBlock(8, reduction=4), torch.randn(2, 8, 5, 6)
    inner, outer = block.mlp[0], block.mlp[2]

    def importance(channels: Tensor) -> Tensor:
        hidden = (channels @ inner.weight.T + inner.bias).clamp(min=0)
        return hidden @ outer.weight.T + outer.bias

    pixels = x.flatten(2)
    gate = torch.sigmoid(importance(pixels.mean(2)) + importance(pixels.max(2).values))
    weighted = x * gate[:, :, None, None]
    summary = torch.stack([weighted.max(1).values, weighted.mean(1)], dim=1)
    same(block(x), weighted * torch.sigmoid(layer(block.spatial, summary)))


def test_a_fusion_adds_its_attention_between_two_residual_blocks() -> None:
    fusion, x = Fusion(6, 32), torch.randn(2, 6, H, W)
    first = residual(fusion.block1, x)
    same(fusion(x), residual(fusion.block2, first + fusion.attention(first)))


def test_the_state_is_forgotten_and_renewed_by_gates_of_features_and_state() -> None:
    unit, x, state = Recurrence(5, 4), torch.randn(2, 5, H, W), torch.randn(2, 4, H, W)
    gates = layer(unit.transform, torch.cat([x, state], dim=1))
    forget, update, new = gates[:, :4], gates[:, 4:8], gates[:, 8:]
    forget, update = torch.sigmoid(forget), torch.sigmoid(update)
    same(unit(x, state), forget * state * (1 - update) + update * torch.tanh(new))


def test_the_decoder_updates_the_state_by_all_its_sizes_and_the_log_odds() -> None:
    update, state = HiddenUpdate(12, 4), torch.randn(2, 4, H, W)
    decoded = Decoded(
        sixteenth=torch.randn(2, 12, H, W),
        eighth=torch.randn(2, WIDTH, 2 * H, 2 * W),
        quarter=torch.randn(2, WIDTH, 4 * H, 4 * W),
        logits=torch.randn(2, 1, 4 * H, 4 * W),
    )

    def mean(grid: Tensor, size: int) -> Tensor:
        return grid.unflatten(3, (W, size)).unflatten(2, (H, size)).mean(dim=(3, 5))

    fine = torch.cat([mean(decoded.quarter, 4), mean(decoded.logits, 4)], dim=1)
    x = layer(update.g16_conv, decoded.sixteenth)
    x = x + layer(update.g8_conv, mean(decoded.eighth, 2)) + layer(update.g4_conv, fine)
    same(update(decoded, state), update.recurrence(x, state))


def test_a_step_of_the_decoder_adds_the_features_of_the_frame_to_each_object() -> None:
    step, skip = UpBlock(7, 6, 5), torch.randn(1, 6, 2 * H, 2 * W)
    x = torch.randn(2, 6, H, W)
    larger = torch.nn.functional.interpolate(x, scale_factor=2, mode="bilinear")
    same(step(x, skip), residual(step.out_conv, larger + skip))


def test_the_log_odds_are_a_projection_of_the_finest_features() -> None:
    decoder, x = Upsampling(6), torch.randn(2, 6, H, W)
    skips = torch.randn(1, 6, 2 * H, 2 * W), torch.randn(1, WIDTH, 4 * H, 4 * W)
    eighth, quarter, logits = decoder(x, skips)
    same(eighth, decoder.up_16_8(x, skips[0]))
    same(quarter, decoder.up_8_4(eighth, skips[1]))
    same(logits, layer(decoder.pred, quarter.clamp(min=0)))


def test_the_value_encoder_is_given_each_object_and_then_the_others(
    recorded: Record,
) -> None:
    encoder = ValueEncoder(32)
    masks = torch.rand(1, 3, 32, 32).softmax(dim=1)
    stem = recorded(encoder, "mask_stem")
    encoder.features(torch.randn(1, 64, 16, 16), masks)
    own = masks[0, 1:]
    same(stem.given, torch.stack([own, own.flip(0)], dim=1))


@pytest.fixture
def masks() -> Tensor:
    return torch.rand(1, 3, 32, 48).softmax(dim=1)


@pytest.mark.parametrize("kind", ["stcn", "xmem"])
def test_a_value_is_made_of_object_and_image_with_stcn_and_of_image_and_object_with_xmem(
    kind: str,
    masks: Tensor,
    recorded: Record,
    request: pytest.FixtureRequest,
) -> None:
    network: Stcn | Xmem = request.getfixturevalue(kind)
    fuser = recorded(network.value_encoder, "fuser")
    features: Any = network.encode(torch.rand(1, 3, 32, 48))
    network.memorize(features, masks)
    found = network.value_encoder.features(features.scene, masks)
    top = features.top.expand(2, -1, -1, -1)
    same(fuser.given, torch.cat([found, top] if kind == "stcn" else [top, found], dim=1))


@torch.no_grad()
def test_the_decoder_of_stcn_is_given_the_readout_and_then_the_frame(
    stcn: Stcn, masks: Tensor, recorded: Record
) -> None:
    compress = recorded(stcn, "compress")
    first, later = (stcn.encode(torch.rand(1, 3, 32, 48)) for _ in range(2))
    memory = stcn.memorize(first, masks)
    stcn.segment(later, memory)
    readout = memory.read(later.key[:, None])[0, 0].unflatten(0, (2, -1))
    same(compress.given, torch.cat([readout, later.thin.expand(2, -1, -1, -1)], dim=1))


@torch.no_grad()
def test_the_decoder_of_xmem_is_given_the_frame_then_the_readout_then_the_state(
    xmem: Xmem, masks: Tensor, recorded: Record
) -> None:
    fuser = recorded(xmem, "fuser")
    first, later = (xmem.encode(torch.rand(1, 3, 32, 48)) for _ in range(2))
    memory = xmem.memorize(first, masks)
    xmem.segment(later, memory)
    readout = memory.bank.read(later.query)[0][0].unflatten(0, (2, -1))
    top = later.top.expand(2, -1, -1, -1)
    same(fuser.given, torch.cat([top, readout, memory.hidden], dim=1))


@torch.no_grad()
def test_a_kept_frame_updates_the_state_by_its_value_and_another_by_the_decoder(
    xmem: Xmem, masks: Tensor
) -> None:
    frames = [xmem.encode(torch.rand(1, 3, 32, 48)) for _ in range(2)]
    kept = xmem.memorize(frames[0], masks)
    same(kept.hidden, xmem.reinforce(xmem.value(frames[0], masks), torch.zeros_like(kept.hidden)))
    readout, _ = kept.bank.read(frames[1].query)
    decoded = xmem.decode(frames[1], readout, kept.hidden)
    passed = xmem.memorize(frames[1], masks, kept)
    same(passed.hidden, xmem.hidden_update(decoded, kept.hidden))


@torch.no_grad()
def test_shrinkage_is_1_or_more_and_selection_between_0_and_1(xmem: Xmem) -> None:
    features = xmem.encode(torch.rand(1, 3, 32, 48))
    shrinkage = layer(xmem.shrinkage, features.top)
    assert shrinkage.min() < 0 < shrinkage.max()
    same(features.shrinkage, shrinkage * shrinkage + 1)
    same(features.selection, 1 / (1 + torch.exp(-layer(xmem.selection, features.top))))
    same(features.key, layer(xmem.key, features.top))
