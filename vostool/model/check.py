"""A check of the contract of `Segmenter`, for authors of plug-in models.

    from vostool.model.check import check_segmenter
    check_segmenter(load(None))

Shapes as in `vostool.model.interface`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from vostool.errors import ContractError, VostoolError
from vostool.model.interface import MatchingModel, Segmenter


def check_segmenter(
    segmenter: Segmenter[Any, Any], images: Tensor | None = None, masks: Tensor | None = None
) -> None:
    """Raise ContractError, which names the violation, if a model breaks the contract on two frames.

    `images` (2, B, 3, H, W) and `masks` (B, N + 1, H, W), those of the first frame, are by
    default random, of two clips with two objects.
    """
    with exceptions_as_violations():
        if images is None or masks is None:
            images, masks = random_frames(segmenter.stride)
        check_frames(segmenter, images, masks)


@contextmanager
def exceptions_as_violations() -> Iterator[None]:
    """Turn an exception of a model into ContractError, unless it is out of memory."""
    try:
        yield
    except (VostoolError, torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise ContractError(
            f"segmenter: found an exception, {type(error).__name__}: {error}"
        ) from error


def check_frames(segmenter: Segmenter[Any, Any], images: Tensor, masks: Tensor) -> None:
    """Run a model on two frames, see `check_segmenter`."""
    clips, objects = masks.shape[0], masks.shape[1] - 1
    first, second = (segmenter.encode(image) for image in images)

    leaf = masks.clone().requires_grad_()
    with torch.enable_grad():
        memory = segmenter.memorize(first, leaf, None, True)
        logits = segmenter.segment(second, memory)
    expected = (clips, objects, *images.shape[3:])
    expect(tuple(logits.shape) == expected, f"logits {tuple(logits.shape)}, not {expected}")
    expect(logits.dtype == torch.float32, f"logits of {logits.dtype}, not float32")
    expect(bool(logits.isfinite().all()), "logits that are not finite")

    expect(logits.requires_grad, "no gradient from the logits to the masks: no correction, no ERF")
    (gradient,) = torch.autograd.grad(logits.square().sum(), leaf)
    expect(bool(gradient.isfinite().all()), "a gradient of the masks that is not finite")
    expect(bool(gradient.abs().sum() > 0), "a gradient of the masks that is 0 everywhere")
    expect(torch.equal(leaf, masks), "memorize changed the masks that it was given")

    with torch.no_grad():
        logits = logits.detach()
        again = segmenter.segment(second, memory)
        expect(same(again, logits), "other logits for the same input: the model keeps a state")
        if isinstance(segmenter, MatchingModel):
            again = segmenter.segment(second, segmenter.memorize(first, masks))
            check_match(segmenter.prepare_match(first, second), masks, again)
        more = segmenter.memorize(second, masks.flip(1), memory, False)
        again = segmenter.segment(second, memory)
        expect(same(again, logits), "memorize changed the memory that it was given")
        segmenter.segment(first, more)
        for part in (0, clips - 1):  # the clips of a batch are independent
            alone = segmenter.memorize(
                segmenter.encode(images[0, part : part + 1]), masks[part : part + 1], None, True
            )
            answer = segmenter.segment(segmenter.encode(images[1, part : part + 1]), alone)
            expect(
                torch.allclose(answer, logits[part : part + 1], rtol=1e-2, atol=1e-2),
                "other logits for a clip alone than for the same clip in a batch",
            )


def check_match(logits_of: Callable[[Tensor], Tensor], masks: Tensor, expected: Tensor) -> None:
    """Check a match that is prepared as the correction uses it: for the gradient, several times."""
    for _ in range(2):
        leaf = masks.clone().requires_grad_()
        with torch.enable_grad():
            found = logits_of(leaf)
            loss = found.square().sum()
        expect(
            torch.allclose(found.detach(), expected, rtol=1e-2, atol=1e-2),
            "other logits from a match that is prepared",
        )
        expect(loss.requires_grad, "no gradient through a match that is prepared")
        (gradient,) = torch.autograd.grad(loss, leaf)
        expect(bool(gradient.isfinite().all()), "a gradient of a match that is not finite")


def random_frames(stride: int) -> tuple[Tensor, Tensor]:
    """Return small random images (2, 2, 3, H, W) and masks (2, 3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    height, width = 4 * stride, 6 * stride
    images = torch.rand(2, 2, 3, height, width, generator=generator)
    masks = torch.rand(2, 3, height, width, generator=generator).softmax(dim=1)
    return images, masks


def same(one: Tensor, other: Tensor) -> bool:
    """Return whether two results are equal up to the order of summation."""
    return torch.allclose(one, other, rtol=1e-4, atol=1e-4)


def expect(kept: bool, broken: str) -> None:
    """Raise ContractError unless a part of the contract is fulfilled."""
    if not kept:
        raise ContractError(f"segmenter: found {broken}")
