"""The object in a box, by its colours alone: GrabCut (Rother et al., SIGGRAPH 2004).

It takes seconds on a whole frame, and more the more pixels it gets; so it sees the surroundings of
the box only, scaled down, and its answer is scaled up.

Shapes: rgb (H, W, 3), uint8; masks (H, W), bool.
"""

import cv2
import numpy as np

from vostool.errors import MaskError
from vostool.media.frame import Rgb
from vostool.media.labels import BoolMask

MOST_PIXELS = 240 * 427  # of a crop: those of a picture of 240 lines at 16:9
MARGIN = 0.5  # of the box's side, on each side of it: what the background looks like
ITERATIONS = 5
LEAST, MOST = 0.02, 0.98  # of the box that an object covers; others are failures


def cut_box(rgb: Rgb, box: tuple[int, int, int, int], seed: int = 0) -> BoolMask:
    """Return the object that a box x, y, width, height is drawn around, (H, W).

    What lies out of the box is background. The same seed gives the same mask.
    Raises MaskError if the box holds no pixel of the frame or leaves none around it, or if
    GrabCut finds next to nothing in it, or nothing that is background.
    """
    x, y, width, height = box
    shape = rgb.shape[:2]
    left, top = max(0, x), max(0, y)
    right, bottom = min(shape[1], x + width), min(shape[0], y + height)
    named = f"box {x},{y},{width},{height}"
    if left >= right or top >= bottom:
        raise MaskError(f"{named}: expected a box in the frame of {shape[1]}x{shape[0]}")
    place = _around((left, top, right, bottom), shape)
    crop = rgb[place]
    start = np.full(crop.shape[:2], cv2.GC_BGD, np.uint8)
    inner = (
        slice(top - place[0].start, bottom - place[0].start),
        slice(left - place[1].start, right - place[1].start),
    )
    start[inner] = cv2.GC_PR_FGD
    found = _enlarge(_grabcut(*_shrink(crop, start), seed, named), crop.shape[:2])
    mask = np.zeros(shape, bool)
    mask[place] = found & (start == cv2.GC_PR_FGD)
    share = np.count_nonzero(mask) / ((right - left) * (bottom - top))
    if not LEAST <= share <= MOST:
        raise MaskError(
            f"{named}: GrabCut takes {share:.0%} of it for the object, as the colours in it and "
            "around it do not tell them apart; draw a --polygon instead"
        )
    return mask


def _around(sides: tuple[int, int, int, int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    """Return rows and columns of a box (left, top, right, bottom) and a margin around it."""
    left, top, right, bottom = sides
    beside, above = (max(8, round(MARGIN * side)) for side in (right - left, bottom - top))
    return (
        slice(max(0, top - above), min(shape[0], bottom + above)),
        slice(max(0, left - beside), min(shape[1], right + beside)),
    )


def _shrink(rgb: Rgb, start: Rgb) -> tuple[Rgb, Rgb]:
    """Return a crop and its start values, of at most MOST_PIXELS."""
    height, width = rgb.shape[:2]
    scale = min(1.0, (MOST_PIXELS / (height * width)) ** 0.5)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small), np.asarray(cv2.resize(start, size, interpolation=cv2.INTER_NEAREST))


def _grabcut(rgb: Rgb, start: Rgb, seed: int, named: str) -> BoolMask:
    """Return what GrabCut takes for the object."""
    possible = start == cv2.GC_PR_FGD
    if possible.all() or not possible.any():
        raise MaskError(
            f"{named}: GrabCut needs background around the object to compare with; draw a smaller "
            "box, or a --polygon instead"
        )
    mask = start.copy()
    background, object_ = np.zeros((1, 65)), np.zeros((1, 65))  # its mixtures of 5 colours
    cv2.setRNGSeed(seed)
    try:
        unused = (0, 0, 1, 1)  # the box, which the mask has already
        cv2.grabCut(rgb, mask, unused, background, object_, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    except cv2.error as error:
        raise MaskError(f"{named}: GrabCut fails ({error.err}); draw a --polygon") from error
    return np.asarray((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD))


def _enlarge(mask: BoolMask, shape: tuple[int, ...]) -> BoolMask:
    """Return a mask at a larger size (H, W), its outline smooth."""
    size = shape[1], shape[0]
    return np.asarray(cv2.resize(mask.astype(np.float32), size) >= 0.5)
