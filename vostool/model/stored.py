"""Tensors that a memory was written as, checked before they become its state again."""

from collections.abc import Collection, Mapping

from torch import Tensor


def stored_tensor(
    tensors: Mapping[str, Tensor], name: str, like: Tensor, free: Collection[int] = ()
) -> Tensor:
    """Return a stored tensor, on the device of another one that it is to be like.

    Like: of its dtype and, but for the `free` axes, of its shape, and all numbers finite. Raises
    ValueError, which says what was expected, for any other or none.
    """
    if name not in tensors:
        raise ValueError(f"{name} is missing")
    found = tensors[name]
    expected = tuple(None if axis in free else size for axis, size in enumerate(like.shape))
    fits = len(found.shape) == len(expected) and all(
        size in (None, actual) for size, actual in zip(expected, found.shape, strict=True)
    )
    if not fits or found.dtype != like.dtype:
        shape = " x ".join("any" if size is None else str(size) for size in expected) or "a number"
        actual = " x ".join(map(str, found.shape)) or "a number"
        raise ValueError(
            f"{name}: expected {shape} of {like.dtype}, found {actual} of {found.dtype}"
        )
    if not found.isfinite().all():
        raise ValueError(f"{name} holds values that are not finite numbers")
    return found.to(like.device)
