"""Many objects in the memory of few: a model that works on some of them at a time.

What a network computes for an object takes far more memory than the object's mask and what is
remembered of it. Objects meet only in the aggregation, so that they can go through the
network in chunks, one after another, and come out the same.

Shapes as in `vostool.model.interface`.
"""

from collections.abc import Callable
from typing import Any, TypeVar, TypeVarTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vostool.model.interface import Segmenter

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class InChunks:
    """A `Segmenter` that has another one work on at most `most` objects at a time.

    What it remembers is one memory for each chunk. With gradients, several chunks are computed
    once more on the way back rather than kept, which takes a third more time.
    """

    def __init__(self, segmenter: Segmenter[Any, Any], most: int | None) -> None:
        """Take the model, and how many objects at a time: 1 or more, None for all."""
        self._segmenter, self._most = segmenter, most
        self.stride = segmenter.stride

    def encode(self, image: Tensor) -> Any:
        """See `Segmenter.encode`."""
        return self._segmenter.encode(image)

    def memorize(
        self,
        features: Any,
        masks: Tensor,
        memory: tuple[Any, ...] | None = None,
        annotated: bool = False,
    ) -> tuple[Any, ...]:
        """See `Segmenter.memorize`."""
        count = masks.shape[1] - 1
        chunks = -(-count // (self._most or count))
        # of like size, which makes the largest as small as it can be
        parts = torch.arange(1, count + 1).tensor_split(chunks)
        memories = (None,) * chunks if memory is None else memory
        return tuple(
            frugal(
                chunks > 1,
                self._segmenter.memorize,
                features,
                masks if chunks == 1 else masks[:, [0, *part.tolist()]],
                remembered,
                annotated,
            )
            for part, remembered in zip(parts, memories, strict=True)
        )

    def segment(self, features: Any, memory: tuple[Any, ...]) -> Tensor:
        """See `Segmenter.segment`."""
        several = len(memory) > 1
        logits = [frugal(several, self._segmenter.segment, features, chunk) for chunk in memory]
        return torch.cat(logits, dim=1) if several else logits[0]


def frugal(really: bool, call: Callable[[*Arguments], Result], *arguments: *Arguments) -> Result:
    """Call; where gradients are wanted, keep nothing for them but the arguments, if `really`."""
    if not really or not torch.is_grad_enabled():
        return call(*arguments)
    return checkpoint(call, *arguments, use_reentrant=False, preserve_rng_state=False)
