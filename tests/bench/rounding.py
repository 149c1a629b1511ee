"""Run vostool in bf16 on a CPU that lacks bf16 units: to the same rounding, without the wait.

    python -m tests.bench.rounding eval davis16 DAVIS --precision bf16 -o FOLDER

The command line is vostool's own. Convolutions and matrix products of 16-bit numbers are computed
in 32 bits and rounded to 16, as such units do, which multiply exactly, add in 32 bits and round
once; here PyTorch would imitate them thirty times slower. All else runs in 16 bits as it is.
Accuracy can be told so, speed cannot.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from vostool.cli import main

aten = torch.ops.aten
PRODUCTS = {
    aten.convolution.default,
    aten.convolution_backward.default,
    aten.mm.default,
    aten.bmm.default,
    aten.addmm.default,
    aten.baddbmm.default,
}


class RoundedOnce(TorchDispatchMode):
    """Computes products of 16-bit numbers in 32 bits and rounds what comes out."""

    def __torch_dispatch__(
        self,
        operator: Callable[..., Any],
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one of PyTorch's operators."""
        options = options or {}
        first = next((each for each in arguments if isinstance(each, Tensor)), None)
        if operator not in PRODUCTS or first is None or first.dtype != torch.bfloat16:
            return operator(*arguments, **options)
        wide = tree_map_only(Tensor, Tensor.float, tuple(arguments))
        return tree_map_only(Tensor, Tensor.bfloat16, operator(*wide, **options))


if __name__ == "__main__":
    with RoundedOnce():  # type: ignore[no-untyped-call]
        main()
