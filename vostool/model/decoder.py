"""The refinement decoder: from memory readout to mask.

Coarse to fine, each stage adds the frame's skip features. Those depend on the frame alone,
so `skips` is separate from `forward`: it runs once per frame, `forward` once per object.
Widths taper towards the fine end, where pixels are many.

With `output_stride` 2 one more stage refines the log-odds at 1/4 by a residual at 1/2, which
combines the object with the edges of the frame. It is initialised to zero: a decoder initialised
from weights without that stage gives the same log-odds as before. The same holds for
`location_cue`, a term for where the object was.

Shapes: BN = B N objects of B clips; h x w positions at 1/16 of the image.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from vostool.model.encoders import STEM_CHANNELS, Pyramid

OutputStride = Literal[2, 4]
HALF_CHANNELS = 16  # of the stage at 1/2


class ResidualBlock(nn.Module):
    """Two pre-activation 3x3 convolutions beside the identity, or beside a third one.

    The third is where the block changes the number of channels to `width`.
    """

    def __init__(self, channels: int, width: int | None = None) -> None:
        super().__init__()
        width = width or channels
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        same = width == channels
        self.downsample = nn.Identity() if same else nn.Conv2d(channels, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return x, or its convolution, plus its refinement; at the same size."""
        return self.downsample(x) + self.conv2(self.conv1(x.relu()).relu())


class Refine(nn.Module):
    """One step finer: double the size and add the frame's skip features."""

    def __init__(self, coarse: int, channels: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(coarse, channels, 1) if coarse != channels else nn.Identity()
        self.block = ResidualBlock(channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Refine x (BN, coarse, h, w) by skip (B, channels, 2h, 2w) to the size of skip."""
        x = functional.interpolate(self.narrow(x), size=skip.shape[2:], mode="bilinear")
        objects = x.unflatten(0, (skip.shape[0], -1)) + skip.unsqueeze(1)
        return self.block(objects.flatten(0, 1))


class Decoder(nn.Module):
    """From memory read-out to the log-odds of each object."""

    def __init__(
        self,
        read: int,
        skips: tuple[int, int],
        widths: tuple[int, int, int],
        output_stride: OutputStride = 4,
        location_cue: bool = False,
        skip_blocks: bool = False,
    ) -> None:
        super().__init__()
        coarse, middle, fine = widths
        self.output_stride = output_stride
        self.fuse = nn.Conv2d(read, coarse, 3, padding=1)
        self.block = ResidualBlock(coarse)
        self.skip_eighth = skip_layer(skips[0], middle, skip_blocks)
        self.skip_quarter = skip_layer(skips[1], fine, skip_blocks)
        self.refine_eighth = Refine(coarse, middle)
        self.refine_quarter = Refine(middle, fine)
        self.head = nn.Conv2d(fine, 1, 3, padding=1)
        if output_stride == 2:
            self.skip_half = nn.Conv2d(STEM_CHANNELS, HALF_CHANNELS, 3, padding=1)
            self.refine_half = Refine(fine, HALF_CHANNELS)
            self.head_half = zeroed(nn.Conv2d(HALF_CHANNELS, 1, 3, padding=1))
        if location_cue:
            # without a bias: an unknown location, which adds nothing, is zero in both channels
            self.locate = zeroed(nn.Conv2d(2, coarse, 3, padding=1, bias=False))

    def skips(self, pyramid: Pyramid) -> tuple[Tensor, ...]:
        """Return the frame's skip features at 1/8, 1/4 and, if used, 1/2."""
        skips = self.skip_eighth(pyramid.eighth), self.skip_quarter(pyramid.quarter)
        return (*skips, self.skip_half(pyramid.half)) if self.output_stride == 2 else skips

    def forward(
        self,
        read: Tensor,
        skips: tuple[Tensor, ...],
        location: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Return log-odds (BN, 1, H, W), float32, of a memory readout (BN, D, h, w).

        `size` is that of the image, H x W; None: 16h x 16w. `location` (BN, 2, h, w) is where the
        object was and where it was not, if that is known.
        """
        return self.refine(self.fuse(read), skips, location, size)

    def fuse_parts(self, query: Tensor) -> Callable[[Tensor], Tensor]:
        """Return `fuse` of a memory's answer (BN, D, h, w) beside the query's value (B, D, h, w).

        The share of the query is computed once.
        """
        ours, own = self.fuse.weight.chunk(2, dim=1)
        share = functional.conv2d(query, own, self.fuse.bias, padding=1)

        def fuse(answer: Tensor) -> Tensor:
            x = functional.conv2d(answer, ours, padding=1)
            return (x.unflatten(0, (len(share), -1)) + share.unsqueeze(1)).flatten(0, 1)

        return fuse

    def refine(
        self,
        x: Tensor,
        skips: tuple[Tensor, ...],
        location: Tensor | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Return the log-odds, as `forward`, of a readout that is fused (BN, ., h, w)."""
        size = size or (16 * x.shape[2], 16 * x.shape[3])
        if location is not None:
            x = x + self.locate(location)
        x = self.block(x)
        x = self.refine_eighth(x, skips[0])
        x = self.refine_quarter(x, skips[1]).relu()
        logits = enlarge(self.head(x), size)
        if self.output_stride == 2:
            x = self.refine_half(x, skips[2])
            # enlarged separately: a zero residual leaves the log-odds the same to the last bit
            logits = logits + enlarge(self.head_half(x.relu()), size)
        return logits


def skip_layer(channels: int, width: int, with_block: bool) -> nn.Module:
    """Return the layer between an encoder's features and the decoder."""
    layer = nn.Conv2d(channels, width, 3, padding=1)
    return nn.Sequential(layer, ResidualBlock(width)) if with_block else layer


def enlarge(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Return log-odds (BN, 1, h, w) bilinearly enlarged, in float32.

    Where they need a gradient, that is a product with the weights of each side: on a CPU PyTorch
    takes six times as long for the gradient of the interpolation.
    """
    logits = logits.float()
    if not logits.requires_grad or logits.device.type != "cpu":
        return functional.interpolate(logits, size=size, mode="bilinear")
    with torch.autocast("cpu", enabled=False):
        rows, columns = (
            side_weights(*sides, logits) for sides in zip(logits.shape[2:], size, strict=True)
        )
        return rows @ logits @ columns.mT


def side_weights(small: int, large: int, like: Tensor) -> Tensor:
    """Return the weights of each small position in each large one, (large, small)."""
    identity = torch.eye(small, dtype=like.dtype, device=like.device)
    enlarged = functional.interpolate(identity[None, None], (large, small), mode="bilinear")
    return enlarged[0, 0]


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """Return a convolution whose response is zero until it is trained."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
