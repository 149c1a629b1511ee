"""Compile a network's parts by torch.compile.

Parts are methods whose work depends on nothing but the size of the frame and the number of objects:
for each of these they are compiled anew, at the first call. What is read of the memory is not
compiled, as its size changes, nor what needs a gradient.
"""

import logging
from collections.abc import Callable
from typing import Any

import torch

from vostool.model.interface import CompilableModel

log = logging.getLogger(__name__)

Part = Callable[..., Any]

VARIANTS = 64  # sizes and numbers of objects that PyTorch compiles a part for; its default is 8


class CompiledPart:
    """A part of a network, compiled.

    With gradients it is the part as it was; so it is from when compiling fails, which is logged.
    """

    def __init__(self, part: Part) -> None:
        """Take the part; it is compiled when it is called."""
        self.exact = part
        self.fast: Part | None = None
        self.failed = False

    def __call__(self, *arguments: Any) -> Any:
        """Return what the part returns."""
        if self.failed or torch.is_grad_enabled():
            return self.exact(*arguments)
        try:
            return self._run(arguments)
        except Exception as error:
            reason = " ".join(str(error).split("\n")[:2])  # the backend, and what it says
        result = self.exact(*arguments)  # raises what is not the compiler's fault
        self.failed = True
        log.warning("compiling failed, going on without: %s", reason)
        return result

    def _run(self, arguments: tuple[Any, ...]) -> Any:
        config = torch._dynamo.config  # that of this thread
        if config.recompile_limit < VARIANTS:
            config.recompile_limit = VARIANTS
        if self.fast is None:
            self.fast = torch.compile(self.exact, dynamic=False)
        return self.fast(*arguments)


def compile_parts(network: CompilableModel) -> None:
    """Have the parts of a network compiled, each when it is first called."""
    for name in network.compiled_parts:
        setattr(network, name, CompiledPart(getattr(network, name)))
