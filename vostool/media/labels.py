"""Which pixels of a mask image belong to which object: the rules, and which are refused.

Masks come in many dialects; each is read by one explicit rule (see `to_labels`). What no rule
can read safely is refused: above all smoothed masks, whose blurred edges would otherwise turn
into dozens of thin objects.

Shapes: values and labels (H, W), colours (H, W, 3).
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vostool.errors import MaskError
from vostool.media.image import without_alpha
from vostool.media.mask_checks import (
    ADVICE,
    HIGHEST_BESIDE_VOID,
    MOST_PAINTS,
    background_warnings,
    refuse_greys_beside_white,
    refuse_picture,
    refuse_smoothed,
)

LabelMap = NDArray[np.uint8]  # (H, W): 0 background, 1..254 objects, never 255
BoolMask = NDArray[np.bool_]  # (H, W): where one object is

MAX_OBJECTS = 254
VOID = 255  # DAVIS: "not annotated"
WHITE_16 = 65535
NEARLY_WHITE = 240  # no data set numbers its objects this high; beside 255 it is noise
SLACK = 1e-3  # of a float mask beyond 0 to 1
MOST_SOFT = 0.1  # of what is visible; the anti-aliased edge of a larger object is less
ALIKE = 16  # colours closer than that in every channel are shades of one

COLOUR_CODE = (1 << 16, 1 << 8, 1)  # one number for r, g, b, ascending with (r, g, b)
WHITE = 0xFFFFFF  # by that code

Values = NDArray[np.integer[Any]]
Kind = Literal["grey", "indexed", "colours"]  # what the values are; greys are not indexed


def _davis_palette() -> bytes:
    """Return the 256 colours of DAVIS and PASCAL VOC as r, g, b, r, g, b, ..."""
    index = np.arange(256)
    colours = np.zeros((256, 3), int)
    for level in range(8):  # three bits of the index at a time give the next lower bit of r, g, b
        for channel in range(3):
            colours[:, channel] |= (index >> (3 * level + channel) & 1) << (7 - level)
    return colours.astype(np.uint8).tobytes()


PALETTE = _davis_palette()
_DAVIS_CODES = np.frombuffer(PALETTE, np.uint8).reshape(-1, 3).astype(np.int32) @ COLOUR_CODE


def to_labels(
    image: Image.Image, strict: bool = True, warnings: list[str] | None = None
) -> LabelMap:
    """Return the objects in a mask image, (H, W).

    - white on black, in whatever mode (also 1 bit, RGB): one object, number 1
    - indexed: the index is the object; but the colours count if index 0 is not the background:
      if black is in use and has another index, or transparent pixels have, and 0 is a colour
    - grey, also grey stored as RGB: the value is the object, of 8 or 16 bits, or a float that
      is whole
    - colours: black is background; if all are DAVIS colours their palette index is the object,
      else objects are numbered from 1 in ascending order of (r, g, b)
    - alpha below one half is background; black alone on a transparent ground is object 1, and
      so is a cut-out: a picture, in colours that are many or nearly alike, on such a ground
    - 255 beside other objects is DAVIS "void" (not annotated) and becomes background
    - JPEG and other lossy files: only if clean, white on black

    With `strict`, masks that look smoothed are refused, except indexed ones in colours: those
    cannot be smoothed by accident, and the results of networks have thin rims at times. So are
    greys beside 255 that are no small ids, and colours on white. What is taken in spite of a
    doubt adds a line to `warnings`.
    Raises MaskError for an ambiguous mask and for more than 254 objects.
    """
    warnings = [] if warnings is None else warnings
    values, kind = _values(image, warnings)
    labels = _objects(image, values, kind, strict, warnings)
    if strict:
        warnings += background_warnings(labels)
    return labels


def ids_in(labels: LabelMap) -> tuple[int, ...]:
    """Return the objects of a label map, in ascending order."""
    return tuple(int(id_) for id_ in np.unique(labels) if id_)


def threshold_labels(image: Image.Image, threshold: float) -> LabelMap:
    """Return one object, number 1, where a soft mask is at or above a threshold, (H, W).

    The mask's values count from 0, black, to 1, white (of 8 or 16 bits, or floats); of colours
    the brightest channel, and of an image with transparent pixels its alpha.
    Raises MaskError for values that are not in this range.
    """
    if _has_alpha(image):
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        if alpha.min() < VOID:
            return (alpha >= threshold * VOID).astype(np.uint8)
    if image.mode == "F":
        values, white = np.asarray(image), 1.0
    elif image.mode.startswith("I"):
        values, white = np.asarray(image), float(WHITE_16)
    else:
        values, white = np.asarray(without_alpha(image)).max(axis=2), float(VOID)
    if not (np.isfinite(values).all() and values.min() >= -SLACK and values.max() <= white + SLACK):
        raise MaskError(f"values {values.min():.5g} to {values.max():.5g}, expected 0 to {white:g}")
    return (values >= threshold * white).astype(np.uint8)


def _objects(
    image: Image.Image, values: Values, kind: Kind, strict: bool, warnings: list[str]
) -> LabelMap:
    """Return the objects (H, W) that values stand for; adds to `warnings`."""
    present = _present(values)
    if any(np.isin(present, (0, white)).all() for white in (VOID, WHITE_16)):
        return (values > 0).astype(np.uint8)
    if _is_lossy(image):
        raise MaskError(f"{len(present)} values in a {image.format}, which blurs edges; {ADVICE}")
    if present[0] < 0 or present[-1] > VOID:
        raise MaskError(
            f"values {present[0]} to {present[-1]}, expected objects 1 to {MAX_OBJECTS}; {ADVICE}"
        )
    labels: LabelMap = values.astype(np.uint8)
    if strict and kind == "indexed":
        if not _has_davis_palette(image):
            refuse_picture(labels, len(present))
    elif strict and len(present) > 2:
        refuse_smoothed(labels, len(present))
    if present[-1] == VOID:
        if len(present) > 1 and present[-2] >= NEARLY_WHITE:
            raise MaskError(f"values {present[-2]} and 255 side by side, a noisy white; {ADVICE}")
        if strict and kind == "grey":
            refuse_greys_beside_white(present)
        void = labels == VOID
        warnings.append(
            f"255 counts as void (not annotated) beside other objects: {np.count_nonzero(void)} "
            "of its pixels become background; if it is an object, give it a number below 255"
        )
        labels[void] = 0
    return labels


def _values(image: Image.Image, warnings: list[str]) -> tuple[Values, Kind]:
    """Return one number for each pixel: as stored, or standing for its colour; 0 if transparent."""
    if image.mode == "P" and image.palette is None:
        raise MaskError("indices without a palette of colours; save it as an indexed PNG again")
    visible = np.ones((image.height, image.width), bool)
    if _has_alpha(image):
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        visible = alpha >= 128
        partly = np.count_nonzero((alpha > 0) & (alpha < VOID))
        if partly > MOST_SOFT * np.count_nonzero(alpha):
            warnings.append(
                f"{partly} pixels are partly transparent; from one half of opacity on they count "
                "as visible, for one object --threshold chooses another bound"
            )
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8) * VOID, "grey"
    if image.mode == "F":
        return _whole(np.asarray(image)), "grey"
    if image.mode == "L" or image.mode.startswith("I") or _indexed(image, visible):
        kind: Kind = "indexed" if _coloured(image) else "grey"
        if kind == "grey" or not _is_cut_out(image, visible, warnings):
            return np.where(visible, np.asarray(image), 0), kind
        return visible.astype(np.uint8), "grey"
    colours = np.where(visible[..., np.newaxis], np.asarray(without_alpha(image)), 0)
    if not visible.all() and (not colours.any() or _is_cut_out(image, visible, warnings)):
        return visible.astype(np.uint8), "grey"
    if (colours == colours[..., :1]).all():
        return colours[..., 0], "grey"
    return _numbered(colours), "colours"


def _has_alpha(image: Image.Image) -> bool:
    """Return whether some pixels may be transparent; of 16 bits and floats none are."""
    return image.has_transparency_data and image.mode[0] not in "IF"


def _whole(values: NDArray[np.floating[Any]]) -> Values:
    """Return floats that are whole numbers as such; raises MaskError for others."""
    if not np.isfinite(values).all():
        raise MaskError("values that are no numbers (NaN or infinite), expected objects 1, 2, ...")
    if (values != np.round(values)).any():
        raise MaskError(
            f"values between whole numbers, {values.min():.4g} to {values.max():.4g}, as in a soft "
            f"mask; {ADVICE}"
        )
    return values.clip(-1, WHITE_16 + 1).astype(np.int64)


def _is_lossy(image: Image.Image) -> bool:
    """Return whether an image comes from a file that does not keep values as they were."""
    compression = str(image.info.get("compression", ""))
    return image.format in ("JPEG", "MPO") or (image.format == "TIFF" and "jpeg" in compression)


def _is_cut_out(image: Image.Image, visible: NDArray[np.bool_], warnings: list[str]) -> bool:
    """Return whether what is visible is a picture and not paint, one colour for each object."""
    if visible.all() or not visible.any():
        return False
    colours = np.unique(np.asarray(without_alpha(image))[visible], axis=0).astype(np.int16)
    if len(colours) > VOID:
        return True
    grey = (colours == colours[:, :1]).all()
    if len(colours) == 1 or (grey and colours.max() <= HIGHEST_BESIDE_VOID):
        return False
    if np.isin(colours.astype(np.int32) @ COLOUR_CODE, _DAVIS_CODES).all():
        return False
    apart = np.abs(colours[:, np.newaxis] - colours).max(axis=2)
    alike = (apart < ALIKE).sum(axis=1).max()  # of any colour, with itself
    if alike < 2 or (image.mode == "P" and len(colours) <= MOST_PAINTS):
        return False
    warnings.append(
        f"{len(colours)} colours, some nearly alike, on a transparent ground are taken for a "
        f"cut-out of one object, its alpha ({np.count_nonzero(visible)} pixels) for the mask; for "
        "several objects save an indexed PNG"
    )
    return True


def _present(values: Values) -> Values:
    """Return the values that occur, ascending; np.unique would sort every pixel."""
    if values.dtype == np.uint8:
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    return np.unique(values)


def _indexed(image: Image.Image, visible: NDArray[np.bool_]) -> bool:
    """Return whether the pixels are indices, with 0 for the background."""
    if image.mode != "P":
        return False
    palette = _used_palette(image)
    black = [index for index, colour in palette.items() if colour and not any(colour)]
    if black:
        return 0 in black
    # beside transparent pixels a visible 0 is an object's colour
    return bool(visible.all() or not visible[np.asarray(image) == 0].any())


def _coloured(image: Image.Image) -> bool:
    """Return whether the pixels are indices of colours, not merely of greys."""
    return any(len(set(colour)) > 1 for colour in _used_palette(image).values())


def _has_davis_palette(image: Image.Image) -> bool:
    palette = bytes(image.getpalette("RGB") or ())
    return bool(palette) and PALETTE.startswith(palette)


def _used_palette(image: Image.Image) -> dict[int, tuple[int, ...]]:
    """Return the colours (r, g, b) of the indices in use; nothing unless the image has indices."""
    if image.mode != "P":
        return {}
    palette = image.getpalette("RGB") or []
    used = _present(np.asarray(image)).tolist()
    return {index: tuple(palette[3 * index : 3 * index + 3]) for index in used}


def _numbered(colours: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a number for each colour, 0 for black: its DAVIS index, or its rank."""
    codes = colours.astype(np.int32) @ COLOUR_CODE
    present = np.unique(codes)
    if len(present) > VOID:
        raise MaskError(
            f"{len(present)} colours, expected at most {MAX_OBJECTS} and black; {ADVICE}"
        )
    if np.isin(present, _DAVIS_CODES).all():
        order = np.argsort(_DAVIS_CODES)
        return order[np.searchsorted(_DAVIS_CODES, codes, sorter=order)].astype(np.uint8)
    if present[0] != 0 and present[-1] == WHITE:
        raise MaskError(
            f"{np.count_nonzero(codes == WHITE)} of {codes.size} pixels are white and none is "
            "black; black is the background, white an object like any colour: make the ground "
            "black, or save an indexed PNG with 0 for it"
        )
    ranks = np.searchsorted(present, codes)
    return (ranks if present[0] == 0 else ranks + 1).astype(np.uint8)
