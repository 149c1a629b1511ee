"""Published weights by the makers' names: every tensor checked, batch norm folded.

A converter takes each tensor that its network needs, by name and expected shape, and closes the
layout: a tensor that is missing, of another shape, or left over is named in the error.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from vostool.errors import WeightsError

EPSILON = 1e-5  # of every batch norm
# PyTorch hardly computes with the others, of 8 bits and fewer
FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
UNUSED = ("num_batches_tracked", "mean", "std")  # last parts of the names of buffers without use


class Layout:
    """The tensors of a checkpoint by the makers' names."""

    def __init__(self, path: Path, state: Mapping[str, Tensor]) -> None:
        self.path, self.state = path, state
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.state

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor; raises WeightsError if it is missing."""
        if name not in self.state:
            raise WeightsError(f"{self.path}: {name} is missing: cut short, or of another network")
        return tuple(self.state[name].shape)

    def width(self, name: str) -> int:
        """Return how many channels a layer puts out; raises WeightsError."""
        shape = self.shape(name)
        if len(shape) != 4:
            raise WeightsError(f"{self.path}: {name}: expected 4 dimensions, found {shape}")
        return shape[0]

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """Return a tensor in float32; raises WeightsError if it is not there as expected."""
        found = self.shape(name)
        if found != shape:
            raise WeightsError(f"{self.path}: {name}: expected the shape {shape}, found {found}")
        value = self.state[name]
        if not is_plain(value):
            raise WeightsError(
                f"{self.path}: {name}: expected plain floating-point numbers, found {value.dtype}"
            )
        if not is_finite(value):
            raise WeightsError(f"{self.path}: {name} holds values that are not finite numbers")
        self._taken.add(name)
        return value.detach().float()

    def layer(self, name: str, weight: Tensor) -> dict[str, Tensor]:
        """Return weight and bias of a layer whose weight has the shape of `weight`."""
        shape = tuple(weight.shape)
        return {
            "weight": self.take(f"{name}.weight", shape),
            "bias": self.take(f"{name}.bias", shape[:1]),
        }

    def folded(
        self, name: str, norm: str, shape: tuple[int, ...], *, biased: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return weight and bias of a convolution with the batch norm behind it folded in.

        `biased`: it has a bias before the batch norm as well.
        """
        weight = self.take(f"{name}.weight", shape)
        bias = self.take(f"{name}.bias", shape[:1]) if biased else None
        scale, shift, mean, variance = (
            self.take(f"{norm}.{part}", shape[:1])
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        fused = fuse_conv_bn_weights(weight, bias, mean, variance, EPSILON, scale, shift)
        return fused[0].detach(), fused[1].detach()

    def body(
        self, module: nn.Module, names: Mapping[str, str], *, biased: bool = False
    ) -> dict[str, Tensor]:
        """Return the weights of a `ResNetBody`; `names` are the makers' of its stages."""
        weights: dict[str, Tensor] = {}
        for name, layer in convolutions(module):
            stage, rest = name.split(".", 1)
            theirs = f"{names[stage]}.{rest}"
            norm = theirs.replace(".conv", ".bn").replace("downsample.0", "downsample.1")
            shape = tuple(layer.weight.shape)
            folded = self.folded(theirs, norm, shape, biased=biased)
            weights |= {f"{name}.weight": folded[0], f"{name}.bias": folded[1]}
        return weights

    def layers(
        self, module: nn.Module, renamed: Callable[[str], str] = lambda name: name
    ) -> dict[str, Tensor]:
        """Return the weights of all layers in a module; `renamed` gives the makers' names."""
        return {
            f"{name}.{part}": value
            for name, layer in convolutions(module)
            for part, value in self.layer(renamed(name), layer.weight).items()
        }

    def close(self) -> None:
        """Raise WeightsError if there is a tensor that nobody took."""
        for name in self.state:
            if name not in self._taken and name.rsplit(".", 1)[-1] not in UNUSED:
                raise WeightsError(f"{self.path}: {name} is unexpected: of another network")


def convolutions(module: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    """Return the layers of a module that have weights, by name."""
    found = module.named_modules()
    return [(name, layer) for name, layer in found if isinstance(layer, (nn.Conv2d, nn.Linear))]


def renamed(names: Mapping[str, str], prefix: str = "") -> Callable[[str], str]:
    """Return the function from our names of layers to the makers', by how they begin."""

    def maker_name(name: str) -> str:
        start = next(each for each in names if f"{name}.".startswith(f"{each}."))
        return prefix + names[start] + name[len(start) :]

    return maker_name


def within(prefix: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with a prefix before their names."""
    return {f"{prefix}.{name}": value for name, value in weights.items()}


def is_finite(value: Tensor) -> bool:
    """Return whether all values are finite numbers."""
    # the sum of such numbers nearly always is one too, and takes far less time
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())


def is_plain(value: Tensor) -> bool:
    """Return whether a tensor is of `FLOATS` that are all there, on the CPU."""
    return (
        value.layout is torch.strided
        and value.device.type == "cpu"
        and value.dtype in FLOATS
        and value.untyped_storage().nbytes() >= value.numel() * value.element_size()
    )
