"""Mask files: indexed PNG with the DAVIS palette out, many dialects in.

How an image becomes objects is documented in `vostool.media.labels`.
"""

import io
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from vostool.errors import MaskError
from vostool.files import write_bytes
from vostool.media.image import count_pictures, open_image, turn_upright
from vostool.media.labels import (
    PALETTE,
    LabelMap,
    threshold_labels,
    to_labels,
)
from vostool.media.mask_checks import background_warnings

__all__ = [
    "PALETTE",
    "LabelMap",
    "encode_mask",
    "read_mask",
    "read_values",
    "write_mask",
]


def read_mask(
    path: Path,
    width: int | None = None,
    height: int | None = None,
    allow_empty: bool = False,
    strict: bool = True,
    threshold: float | None = None,
    warnings: list[str] | None = None,
) -> LabelMap:
    """Return the objects of a mask file, (H, W); by the rules of `to_labels`.

    The mask is turned as its EXIF orientation says. `width` and `height` are those of the
    video, if the mask must fit one. For evaluation, `allow_empty` admits a mask without any
    object, and without `strict` thin objects are taken as they are. With a `threshold` from 0 to
    1 the mask is a soft one of one object, by `threshold_labels`. A line of what may be wrong,
    but taken, is added to `warnings`.
    Raises MaskError if the file is missing, not an image, of another size, empty or ambiguous.
    """
    if not path.exists():
        raise MaskError(f"{path}: no such mask file")
    found: list[str] = []
    with open_image(path, MaskError) as image:
        if (count := count_pictures(image)) > 1:
            found.append(f"holds {count} pictures, the first is taken")
        if (problem := _refusal_of_size(image, width, height)) is None:
            turn_upright(image)
            problem = _refusal_of_size(image, width, height, turned=True)
        try:
            if problem is not None:
                raise MaskError(problem)
            if threshold is None:
                labels = to_labels(image, strict, found)
            else:
                labels = threshold_labels(image, threshold)
                found += background_warnings(labels)
        except MaskError as error:
            raise MaskError(f"{path}: {error}") from error
    if warnings is not None:
        warnings += [f"{path}: {words}" for words in found]
    if not allow_empty and not labels.any():
        below = "" if threshold is None else f" (nothing reaches --threshold {threshold:g})"
        raise MaskError(f"{path}: expected at least one object, all is background{below}")
    return labels


def _refusal_of_size(
    image: Image.Image, width: int | None, height: int | None, turned: bool = False
) -> str | None:
    """Return why an image cannot be the mask of a video, if so; undecoded it may yet be turned."""
    expected = (width or image.width, height or image.height)
    if image.size == expected or (not turned and image.size == expected[::-1]):
        return None
    return "mask is {}x{}, video is {}x{}".format(*image.size, *expected)


def read_values(path: Path) -> LabelMap:
    """Return the values of a mask file as they are stored, (H, W), 255 included: for evaluation.

    Nothing is guessed: indices and 8-bit greys count as they are, also greys stored as RGB,
    and 1 bit is 0 or 255.
    Raises MaskError if the file is missing, not a whole PNG, or of another kind.
    """
    if not path.exists():
        raise MaskError(f"{path}: no such mask file")
    with open_image(path, MaskError, ("PNG",), "a PNG") as image:
        mode, values = image.mode, np.asarray(image)
    if mode in ("P", "L"):
        return values
    if mode == "1":
        return values.astype(np.uint8) * 255
    if mode == "RGB" and (values == values[..., :1]).all():
        return values[..., 0]
    found = "colours" if mode == "RGB" else f"mode {mode}"
    raise MaskError(f"{path}: expected an indexed or 8-bit grey PNG, found {found}")


def encode_mask(labels: LabelMap) -> bytes:
    """Return labels (H, W) as an indexed PNG with the DAVIS palette."""
    image = Image.fromarray(np.ascontiguousarray(labels, dtype=np.uint8))
    image.putpalette(PALETTE)
    buffer = io.BytesIO()
    # run lengths suit flat areas: a fifth of the time of the default, files hardly larger
    image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def write_mask(path: Path, labels: LabelMap) -> None:
    """Write labels (H, W) as `encode_mask` does, all or nothing; replaces an existing file.

    Raises OutputError if the file cannot be written.
    """
    write_bytes(path, encode_mask(labels), sync=False)
