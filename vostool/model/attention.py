"""Attention over a memory bank in blocks, with an online softmax (Milakov and Gimelshein 2018).

A matrix of similarities that is larger than the cache is never stored: a block of it is computed,
used while it lies in the cache, and dropped. The backward pass computes each block again, so that
neither keeps more than one (FlashAttention, Dao et al. 2022). Exact to rounding.

Shapes: P pairs of a clip and a key group, C key and D value channels, h x w positions of the
query frame, m positions of a block of the memory.
    keys (P, m, C)    values (P, m, D)    query (P, C, h, w)    similarities (P, m, h w)
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Item = TypeVar("Item")
# from a block of keys and the query to the logits of each memory position, a row, for each
# position of the query, in a tensor of their own; a block is independent of the others
Similarities = Callable[[Tensor, Tensor], Tensor]

CACHED = 2**19  # similarities in a block on a CPU: 2 MiB of float32, a share of its last cache
LAUNCHED = 2**26  # on a GPU, where few large blocks keep it busy: 256 MiB
# the lowest logit relative to the largest, exp(-80) = 2e-35: weights below 1e-38 would be
# subnormal numbers, with which a CPU computes many times as slowly
FAINTEST = -80.0


def attend(
    similarities: Similarities,
    query: Tensor,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    block: int | None = None,
) -> Tensor:
    """Return the values, weighted by the softmax of all similarities to the query, (P, h w, D).

    `keys` and `values` are given frame by frame. `block` is the most similarities at a time, by
    default as many as suit the device.
    """
    block = block or (CACHED if query.device.type == "cpu" else LAUNCHED)
    pairs, places = len(query), query[0, 0].numel()
    at_once = max(1, min(pairs, block // (places * rows_of(keys))))
    rows = max(1, block // (places * at_once))
    answers = [
        attend_together(similarities, query[part], keys, values, part, rows)
        for part in (slice(start, start + at_once) for start in range(0, pairs, at_once))
    ]
    return answers[0] if len(answers) == 1 else torch.cat(answers)


def attend_together(
    similarities: Similarities,
    query: Tensor,
    keys: Sequence[Tensor],
    values: Sequence[Tensor],
    part: slice,
    rows: int,
) -> Tensor:
    """Return what `attend` does for a part of the pairs, in blocks of at most `rows` positions."""
    key_blocks = blocks([key[part] for key in keys], rows)
    value_blocks = blocks([value[part] for value in values], rows)
    if len(key_blocks) == 1 and len(query) * rows_of(key_blocks) * query[0, 0].numel() <= CACHED:
        # the formula itself: the backward pass needs no more room than a block, and less time
        weights = similarities(key_blocks[0], query).softmax(dim=1)
        return weights.to(value_blocks[0].dtype).mT @ value_blocks[0]
    answer: Tensor = BlockwiseAttention.apply(similarities, query, *key_blocks, *value_blocks)
    return answer


def rows_of(frames: Sequence[Tensor]) -> int:
    """Return how many positions frames (P, m, .) have together."""
    return sum(frame.shape[1] for frame in frames)


def blocks(frames: Sequence[Tensor], rows: int) -> list[Tensor]:
    """Return frames (P, m, .) in parts of at most `rows` positions, or several of them in one."""
    length = max(frame.shape[1] for frame in frames)
    if length > rows:
        return [part for frame in frames for part in frame.chunk(-(-length // rows), dim=1)]
    several = rows // length
    groups = (frames[start : start + several] for start in range(0, len(frames), several))
    return [group[0] if len(group) == 1 else torch.cat(tuple(group), dim=1) for group in groups]


class BlockwiseAttention(torch.autograd.Function):
    """`attend` for blocks of keys, and of values, with its first derivative."""

    @staticmethod
    def forward(
        ctx: Any, similarities: Similarities, query: Tensor, *keys_and_values: Tensor
    ) -> Tensor:
        """Return the weighted values, (P, h w, D)."""
        shape = len(query), 1, query[0, 0].numel()
        # the largest logit so far; finite, so that a block whose logits are all -inf counts nothing
        peak = query.new_full(shape, torch.finfo(query.dtype).min)
        total = query.new_zeros(shape)  # of the weights, relative to the peak
        answer = query.new_zeros(shape[0], shape[2], keys_and_values[-1].shape[2])
        for keys, values in zip(*halves(keys_and_values), strict=True):
            weights = similarities(keys, query)
            before, peak = peak, torch.maximum(peak, weights.amax(dim=1, keepdim=True))
            weights.sub_(peak).clamp_(min=FAINTEST).exp_()
            sums, shrunk = weights.sum(dim=1, keepdim=True), before.sub_(peak).exp_()
            total.mul_(shrunk).add_(sums)
            add_product(answer.mul_(shrunk.mT), weights, values, sums)
        answer /= total.mT
        ctx.similarities = similarities
        ctx.save_for_backward(query, peak + total.log(), answer, *keys_and_values)
        return answer.to(keys_and_values[-1].dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of what needs one, each block computed again."""
        query, log_total, answer, *keys_and_values = ctx.saved_tensors
        _, of_query, *of_blocks = ctx.needs_input_grad
        of_keys, of_values = map(any, halves(of_blocks))
        query_gradient = torch.zeros_like(query) if of_query else None
        key_gradients: list[Tensor | None] = []
        value_gradients: list[Tensor | None] = []
        mean = (gradient * answer).sum(dim=2).unsqueeze(1)  # of the gradients of the weights
        with torch.autocast(query.device.type, enabled=False):
            for keys, values in zip(*halves(keys_and_values), strict=True):
                own_keys = keys.detach().requires_grad_(of_keys)
                own_query = query.detach().requires_grad_(of_query)
                with torch.enable_grad():
                    logits = ctx.similarities(own_keys, own_query)
                weights = (logits.detach() - log_total).clamp_(min=FAINTEST).exp_()
                value_gradients.append(
                    torch.bmm(weights.to(values.dtype), gradient) if of_values else None
                )
                found: tuple[Tensor, ...] = ()
                if leaves := [leaf for leaf in (own_keys, own_query) if leaf.requires_grad]:
                    slope = torch.bmm(values, gradient.mT).to(weights.dtype)
                    slope.sub_(mean).mul_(weights)
                    found = torch.autograd.grad(logits, leaves, slope)
                key_gradients.append(found[0] if of_keys else None)
                if query_gradient is not None:
                    query_gradient += found[-1]
        return None, query_gradient, *key_gradients, *value_gradients


def add_product(answer: Tensor, weights: Tensor, values: Tensor, sums: Tensor) -> None:
    """Add the weighted values of a block to an answer (P, h w, D); `sums` (P, 1, h w) of weights.

    Sums of many values can exceed the range of fp16; means, weighted by the sums, cannot.
    """
    if values.dtype == torch.float16:
        shares = weights / sums.clamp(min=torch.finfo(sums.dtype).tiny)
        answer.addcmul_(torch.bmm(shares.to(values.dtype).mT, values), sums.mT)
    elif values.dtype == weights.dtype:
        answer.baddbmm_(weights.mT, values)
    else:
        answer.add_(torch.bmm(weights.to(values.dtype).mT, values))


def halves(items: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
    """Return the first and the second half."""
    middle = len(items) // 2
    return items[:middle], items[middle:]
