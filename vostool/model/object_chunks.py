"""A model that processes a few objects at a time, to bound RAM or GPU memory.

The activations of an object take far more memory than its mask and its memory bank. Objects meet
only in the aggregation, so that processing them in chunks gives the same result.

Shapes as in `vostool.model.interface`.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, TypeVar, TypeVarTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vostool.model.interface import Segmenter, prepare_match

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class InChunks:
    """A `Segmenter` that runs another one on at most `most` objects at a time.

    Its memory is a tuple of one memory per chunk. With gradients, several chunks are recomputed
    in the backward pass (activation checkpointing), which takes a third more time.
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
        keep: bool = False,
    ) -> tuple[Any, ...]:
        """See `RecurrentModel.memorize`; only such a model is given `keep`."""
        memorize: Callable[..., Any] = self._segmenter.memorize
        if keep:
            memorize = partial(memorize, keep=True)
        parts = self.chunks_of(masks)
        memories = (None,) * len(parts) if memory is None else memory
        return tuple(
            checkpointed(len(parts) > 1, memorize, features, part, remembered, annotated)
            for part, remembered in zip(parts, memories, strict=True)
        )

    def segment(self, features: Any, memory: tuple[Any, ...]) -> Tensor:
        """See `Segmenter.segment`."""
        several = len(memory) > 1
        logits = [
            checkpointed(several, self._segmenter.segment, features, chunk) for chunk in memory
        ]
        return torch.cat(logits, dim=1) if several else logits[0]

    def prepare_match(self, features: Any, query: Any) -> Callable[[Tensor], Tensor]:
        """See `MatchingModel.prepare_match`."""
        logits_of = prepare_match(self._segmenter, features, query)

        def all_logits(masks: Tensor) -> Tensor:
            parts = self.chunks_of(masks)
            several = len(parts) > 1
            logits = [checkpointed(several, logits_of, part) for part in parts]
            return torch.cat(logits, dim=1) if several else logits[0]

        return all_logits

    def chunks_of(self, masks: Tensor) -> list[Tensor]:
        """Return the masks of each chunk of the objects, (B, n + 1, H, W), in order."""
        count = masks.shape[1] - 1
        chunks = -(-count // (self._most or count))
        if chunks == 1:
            return [masks]
        return [masks[:, [0, *(1 + place for place in part)]] for part in parts_of(count, chunks)]


def parts_of(count: int, chunks: int) -> list[range]:
    """Return which of the objects, counted from 0, are in each chunk.

    They are of equal size where possible, which makes the largest as small as it can be.
    """
    size, longer = divmod(count, chunks)
    ends = [(number + 1) * size + min(number + 1, longer) for number in range(chunks)]
    return [range(start, end) for start, end in pairwise([0, *ends])]


def checkpointed(
    enabled: bool, call: Callable[[*Arguments], Result], *arguments: *Arguments
) -> Result:
    """Return the result of a call; with gradients and if `enabled`, checkpoint its activations."""
    if not enabled or not torch.is_grad_enabled():
        return call(*arguments)
    return checkpoint(call, *arguments, use_reentrant=False, preserve_rng_state=False)
