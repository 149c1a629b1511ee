"""When a mask may not mean what it says: what is refused, and what is taken with a warning.

A mask that is misread is followed through the whole video without an error, so these are
looked for: blurred edges, which would turn into dozens of thin objects; a trimap, whose rim
would be the object; a background that counts as an object.

Shapes: labels (H, W), uint8.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vostool.errors import MaskError

Labels = NDArray[np.uint8]

ADVICE = (
    "threshold it, or save it as an indexed PNG (and scale it only by nearest neighbour); "
    "a soft mask of one object is taken with --threshold 0.5"
)

# On 435 crisp masks of several objects (COCO, DAVIS 2017, ...) edge labels cover at most 1 % of
# the edge pixels; on resized, anti-aliased, blurred and JPEG ones 11 % to 92 %.
EDGE_LABEL = 0.8  # a label is an edge label if this share of it lies between other values
EDGE_SHARE = 0.1  # the share of the edge pixels from which edge labels give a smoothed mask away
EDGE_PIXELS = 16  # fewer than this may be one tiny object between two others

HIGHEST_BESIDE_VOID = 20  # greys up to it are taken for ids; DAVIS has at most 10 objects
MOST_PAINTS = 64  # indexed images of fewer colours are masks, even in shades
PICTURE = 0.3  # the share of pixels unlike their neighbour from which indices are a picture
GROUND_ON_BORDER = 0.6  # the share of the border from which an object may be the background


def background_warnings(labels: Labels) -> list[str]:
    """Return why a label map (H, W) may show its background as an object, if it may."""
    pixels = np.bincount(labels.ravel())
    largest = int(pixels.argmax())
    covers = f"object {largest} covers {pixels[largest]} of {labels.size} pixels"
    if pixels[0] == 0:
        return [
            f"no pixel is background, {covers}; what is black (index or value 0) or transparent "
            "is background"
        ]
    border = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    share = np.count_nonzero(border == largest) / border.size
    if largest and pixels[largest] > labels.size / 2 and share > GROUND_ON_BORDER:
        return [
            f"{covers}, and {share:.0%} of the picture's border; if that is the background, make "
            "it black (invert the mask)"
        ]
    return []


def refuse_picture(labels: Labels, count: int) -> None:
    """Raise MaskError for indices that change from pixel to pixel, as in a photograph of few
    colours."""
    changes = float((labels[:, 1:] != labels[:, :-1]).mean()) if labels.shape[1] > 1 else 0.0
    if count > MOST_PAINTS and changes > PICTURE:
        raise MaskError(
            f"{count} colours that change at {changes:.0%} of the pixels, as in a photograph; "
            "expected a mask, one colour for each object"
        )


def refuse_greys_beside_white(present: NDArray[np.integer[Any]]) -> None:
    """Raise MaskError for greys beside 255 that are no ids of objects, as in a trimap."""
    others = present[present < 255].tolist()
    if others[0] == 0 and others[-1] <= HIGHEST_BESIDE_VOID:
        return
    shown = ", ".join(str(value) for value in others[:4]) + (" ..." if len(others) > 4 else "")
    raise MaskError(
        f"values {shown} and 255: expected 0 for the background and objects 1, 2, ...; a trimap "
        "or soft mask of one object needs --threshold 0.5, say; greys that stand for objects "
        "need small numbers, or an indexed PNG"
    )


def refuse_smoothed(labels: Labels, count: int) -> None:
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


def _neighbourhood(labels: Labels, radius: int, pick: np.ufunc) -> Labels:
    """Return the least or greatest label (`pick`) within `radius` pixels of each, (H, W)."""
    height, width = labels.shape
    padded = np.pad(labels, radius, mode="edge")
    rows = padded[:height]
    for step in range(1, 2 * radius + 1):
        rows = pick(rows, padded[step : step + height])
    found: Labels = rows[:, :width]
    for step in range(1, 2 * radius + 1):
        found = pick(found, rows[:, step : step + width])
    return found
