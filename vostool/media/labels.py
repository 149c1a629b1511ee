"""Which pixels of a mask image belong to which object: the rules, and the doubt.

Masks come in many dialects; each is read by one explicit rule (see `to_labels`). What no rule
can read safely is refused: above all smoothed masks, whose blurred edges would otherwise turn
into dozens of thin objects.

Shapes: values and labels (H, W), colours (H, W, 3).
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vostool.errors import MaskError

LabelMap = NDArray[np.uint8]  # (H, W): 0 background, 1..254 objects, never 255

MAX_OBJECTS = 254
VOID = 255  # DAVIS: "not annotated"
WHITE_16 = 65535
NEARLY_WHITE = 240  # no data set numbers its objects this high; beside 255 it is noise
ADVICE = "threshold it, or save it as an indexed PNG (and scale it only by nearest neighbour)"

# On 435 crisp masks of several objects (COCO, DAVIS 2017, ...) edge labels cover at most 1 % of
# the edge pixels; on resized, anti-aliased, blurred and JPEG ones 11 % to 92 %.
EDGE_LABEL = 0.8  # a label is an edge label if this share of it lies between other values
EDGE_SHARE = 0.1  # the share of the edge pixels from which edge labels give a smoothed mask away
EDGE_PIXELS = 16  # fewer than this may be one tiny object between two others


COLOUR_CODE = (1 << 16, 1 << 8, 1)  # one number for r, g, b, ascending with (r, g, b)


def _davis_palette() -> bytes:
    """Return the 256 colours of DAVIS and PASCAL VOC as r, g, b, r, g, b, ..."""
    index = np.arange(256)
    colours = np.zeros((256, 3), int)
    for level in range(8):  # three bits of the index at a time give the next lower bit of r, g, b
        for channel in range(3):
            colours[:, channel] |= (index >> (3 * level + channel) & 1) << (7 - level)
    return colours.astype(np.uint8).tobytes()


PALETTE = _davis_palette()


def to_labels(image: Image.Image, doubt: bool = True) -> LabelMap:
    """Return the objects in a mask image, (H, W).

    - white on black, in whatever mode (also 1 bit, RGB): one object, number 1
    - indexed: the index is the object; but if black is in use, and not as index 0, the colours
      count
    - grey, 8 or 16 bits, also grey stored as RGB: the value is the object
    - colours: black is background; if all are DAVIS colours their palette index is the object,
      else objects are numbered from 1 in ascending order of (r, g, b)
    - alpha below one half is background; black alone on a transparent ground is object 1
    - 255 beside other objects is DAVIS "void" (not annotated) and becomes background
    - JPEG: only if clean, white on black

    With `doubt`, masks that look smoothed are refused, except indexed ones in colours: those
    cannot be smoothed by accident, and the results of networks have thin rims at times.
    Raises MaskError for a doubtful mask and for more than 254 objects.
    """
    values = _values(image)
    present = _present(values)
    if any(np.isin(present, (0, white)).all() for white in (VOID, WHITE_16)):
        return (values > 0).astype(np.uint8)
    if image.format == "JPEG":
        raise MaskError(f"{len(present)} values in a JPEG, which blurs edges; {ADVICE}")
    if present[0] < 0 or present[-1] > VOID:
        raise MaskError(
            f"values {present[0]} to {present[-1]}, expected objects 1 to {MAX_OBJECTS}"
        )
    labels: LabelMap = values.astype(np.uint8)
    if doubt and len(present) > 2 and not _coloured(image):
        _refuse_smoothed(labels, len(present))
    if present[-1] == VOID and present[-2] >= NEARLY_WHITE:
        raise MaskError(f"values {present[-2]} and 255 side by side, a noisy white; {ADVICE}")
    labels[labels == VOID] = 0
    return labels


def _values(image: Image.Image) -> NDArray[np.integer]:
    """Return one number for each pixel: as stored, or standing for its colour; 0 if transparent."""
    visible = np.ones((image.height, image.width), bool)
    if image.has_transparency_data:
        visible = np.asarray(image.convert("RGBA").getchannel("A")) >= 128
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8) * VOID
    if image.mode == "L" or image.mode.startswith("I") or _indexed(image):
        return np.where(visible, np.asarray(image), 0)
    colours = np.where(visible[..., np.newaxis], np.asarray(image.convert("RGB")), 0)
    if not visible.all() and not colours.any():
        return visible.astype(np.uint8)
    if (colours == colours[..., :1]).all():
        return colours[..., 0]
    return _numbered(colours)


def _present(values: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the values that occur, ascending; np.unique would sort every pixel."""
    if values.dtype == np.uint8:
        return np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    return np.unique(values)


def _indexed(image: Image.Image) -> bool:
    """Return whether the pixels are indices, with 0 for the background."""
    black = [index for index, colour in _used_palette(image).items() if not any(colour)]
    return image.mode == "P" and (not black or 0 in black)


def _coloured(image: Image.Image) -> bool:
    """Return whether the pixels are indices of colours, not merely of greys."""
    return any(len(set(colour)) > 1 for colour in _used_palette(image).values())


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
    davis = np.frombuffer(PALETTE, np.uint8).reshape(-1, 3).astype(np.int32) @ COLOUR_CODE
    if np.isin(present, davis).all():
        order = np.argsort(davis)
        return order[np.searchsorted(davis, codes, sorter=order)].astype(np.uint8)
    ranks = np.searchsorted(present, codes)
    return (ranks if present[0] == 0 else ranks + 1).astype(np.uint8)


def _refuse_smoothed(labels: LabelMap, count: int) -> None:
    """Raise MaskError if some labels are but the blurred edges between others.

    Smoothing fills every edge with values between those on its two sides. In a crisp mask a
    pixel lies between its neighbours only where three objects meet.
    """
    total = np.bincount(labels.ravel(), minlength=256)
    for radius in (1, 2):  # the second for smoothed masks enlarged by repeating pixels
        low, high = (
            _neighbourhood(labels, radius, np.minimum),
            _neighbourhood(labels, radius, np.maximum),
        )
        between = np.bincount(labels[(low < labels) & (labels < high)], minlength=256)
        on_edges = between[between > EDGE_LABEL * total].sum()
        if on_edges > max(EDGE_SHARE * np.count_nonzero(low < high), EDGE_PIXELS):
            raise MaskError(
                f"{count} values, most of them only on the edges between others, as in a resized"
                f" or anti-aliased mask; expected one value for each object; {ADVICE}"
            )


def _neighbourhood(labels: LabelMap, radius: int, pick: np.ufunc) -> LabelMap:
    """Return the least or greatest label (`pick`) within `radius` pixels of each, (H, W)."""
    height, width = labels.shape
    padded = np.pad(labels, radius, mode="edge")
    rows = padded[:height]
    for step in range(1, 2 * radius + 1):
        rows = pick(rows, padded[step : step + height])
    found: LabelMap = rows[:, :width]
    for step in range(1, 2 * radius + 1):
        found = pick(found, rows[:, step : step + width])
    return found
