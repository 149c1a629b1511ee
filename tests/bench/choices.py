"""Which way each unit of a network goes: recorded in one run, imposed on another.

A gradient jumps where a rectified unit or a maximum switches. Where one is within rounding of that,
two programs that agree on every value may still differ in the gradient: by as much as its path
carries, in as many pixels as it reaches.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class Choices(TorchFunctionMode):
    """Records which units pass and which position is a maximum, call by call; or imposes that.

    What is in float64 stays so, where a network would go on in float32.
    """

    def __init__(self, imposed: Iterable[Tensor] | None = None) -> None:
        """Take the choices that another run of the same calls recorded, if any."""
        super().__init__()
        self.made: list[Tensor] = []
        self._imposed = None if imposed is None else iter(imposed)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Take the place of a function of PyTorch."""
        name, options = func.__name__, dict(kwargs or {})
        if name == "relu":
            return self._relu(args[0])
        if name == "max_pool2d":
            return self._pool(args, options)
        if name == "float" and args[0].dtype == torch.float64:
            return args[0]
        return func(*args, **options)

    def _relu(self, x: Tensor) -> Tensor:
        passes = self._choose(x > 0)
        return x * passes.to(x.dtype)

    def _pool(self, args: tuple[Any, ...], options: dict[str, Any]) -> Tensor:
        _, places = functional.max_pool2d(*args, **{**options, "return_indices": True})
        places = self._choose(places)
        return args[0].flatten(2).gather(2, places.flatten(2)).view(places.shape)

    def _choose(self, own: Tensor) -> Tensor:
        self.made.append(own.detach())
        return self.made[-1] if self._imposed is None else next(self._imposed)


def differing(one: Iterable[Tensor], other: Iterable[Tensor]) -> tuple[int, int]:
    """Return how many choices differ between two runs, and how many there are."""
    pairs = list(zip(one, other, strict=True))
    return sum(int((a != b).sum()) for a, b in pairs), sum(a.numel() for a, _ in pairs)
