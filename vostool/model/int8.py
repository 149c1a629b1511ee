"""Convolutions in 8 bits, for CPUs without 16-bit arithmetic (speed: tests/bench/README.md).

Weights are quantized once, by the range of each output channel; activations by the range that each
image or object has at the time (dynamic quantization), so that nothing is calibrated. oneDNN adds
the products up as integers, and each response is float32 again: what lies between the convolutions
is not quantized. Where a gradient is asked for, as in the correction, the convolution is exact.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

# AVX2 adds the products of two neighbouring channels in 16 bits, into which they must fit
PAIR_LEVELS = 127  # of two weights together; rounding may make it 128
LEVELS = 254  # of activations, above the least: one fewer than fit, as the zero point is rounded
SMALLEST = 1e-30  # range: the scale of a smaller one is not a number in float32
NARROWEST = 16  # channels in or out: below, as for 1x1, quantizing costs what is gained


class Int8Conv2d(nn.Module):
    """A convolution of features (B, C, H, W), float32, in 8 bits unless a gradient is asked for.

    The entries of a batch are quantized one by one: none affects another.
    """

    def __init__(self, exact: nn.Conv2d) -> None:
        """Quantize the weights of a convolution that is padded with zeros."""
        super().__init__()
        self.exact = exact
        weight = exact.weight.detach()
        pairs = functional.pad(weight.abs(), (0, 0, 0, 0, 0, len(weight[0]) % 2))
        largest = pairs.unflatten(1, (-1, 2)).sum(dim=2).amax((1, 2, 3))
        self.scales = largest.clamp(min=SMALLEST) / PAIR_LEVELS  # of the weights, (C_out,)
        self.zero_points = torch.zeros_like(self.scales, dtype=torch.int32)
        self.shape = list(exact.stride), list(exact.padding), list(exact.dilation), exact.groups
        quantized = (weight / self.scales[:, None, None, None]).round().to(torch.int8)
        # the activations' scale and zero point have no effect here: each call gives its own
        self.packed = torch.ops.onednn.qconv_prepack(quantized, self.scales, 1.0, 0, *self.shape)

    def __reduce__(self) -> tuple[type["Int8Conv2d"], tuple[nn.Conv2d]]:
        """Have copies quantize anew, as packed weights cannot be copied."""
        return Int8Conv2d, (self.exact,)

    @property
    def weight(self) -> Tensor:
        """The exact weights."""
        return self.exact.weight

    @property
    def bias(self) -> Tensor | None:
        """The exact bias."""
        return self.exact.bias

    def forward(self, x: Tensor) -> Tensor:
        """Return the response, float32; exact where x requires a gradient or is not finite."""
        if x.requires_grad or len(x) == 0:
            return self.exact(x)
        if len(x) > 1:
            return torch.cat([self(each) for each in x.split(1)])
        # of channels_last features PyTorch would rearrange a copy, but for this view
        low, high = (float(each) for each in x.permute(0, 2, 3, 1).aminmax())
        if not math.isfinite(high - low):
            return self.exact(x)
        low, high = min(low, 0.0), max(high, SMALLEST)  # with the zeros of the padding
        scale = (high - low) / LEVELS
        zero_point = round(-low / scale)
        # by way of int16: PyTorch converts float32 to uint8 several times as slowly
        quantized = torch.add(zero_point + 0.5, x, alpha=1 / scale).to(torch.int16).to(torch.uint8)
        weights = self.packed, self.scales, self.zero_points, self.bias
        response: tuple[object, ...] = 1.0, 0, torch.float32, "none", [], ""
        return torch.ops.onednn.qconv2d_pointwise(
            quantized, scale, zero_point, *weights, *self.shape, *response
        )


def use_int8(network: nn.Module) -> None:
    """Have the wide convolutions of a network on the CPU, in float32, computed in 8 bits."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv2d and can_be_int8(child):
                setattr(module, name, Int8Conv2d(child))


def can_be_int8(layer: nn.Conv2d) -> bool:
    """Return whether a convolution may be in 8 bits, and is wide enough to be faster so."""
    outputs, inputs, *sides = layer.weight.shape
    wide = min(outputs // layer.groups, inputs) >= NARROWEST and max(sides) > 1
    return wide and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
