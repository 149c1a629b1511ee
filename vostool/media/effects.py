"""Effects on a part of a picture: unrecognisable, black, without colour, or one colour.

Shapes: rgb (H, W, 3), uint8; weight (H, W), float32 from 0, as it is, to 1, the effect alone.
"""

import re
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vostool.media.frame import Rgb

BLUR = 24  # the shorter side of a picture is so many times the width of the blur
BLOCKS = 32  # blocks along the shorter side
COLOUR = re.compile(r"colour:#([0-9a-fA-F]{6})")

Effect = Callable[[Rgb], Rgb]


def blur(rgb: Rgb) -> Rgb:
    """Return a picture too blurred to recognise a face in."""
    import cv2

    height, width = rgb.shape[:2]
    shrink = max(1, min(height, width) // (4 * BLUR))  # a blur needs no details
    small = cv2.resize(
        rgb, (max(1, width // shrink), max(1, height // shrink)), interpolation=cv2.INTER_AREA
    )
    blurred = cv2.GaussianBlur(small, (0, 0), max(1.0, min(small.shape[:2]) / BLUR))
    return as_rgb(cv2.resize(blurred, (width, height), interpolation=cv2.INTER_LINEAR))


def pixelate(rgb: Rgb) -> Rgb:
    """Return a picture in blocks."""
    import cv2

    height, width = rgb.shape[:2]
    side = max(2, round(min(height, width) / BLOCKS))
    blocks = (-(-width // side), -(-height // side))
    padded = cv2.copyMakeBorder(
        rgb,
        0,
        blocks[1] * side - height,
        0,
        blocks[0] * side - width,
        cv2.BORDER_REPLICATE,
    )
    small = cv2.resize(padded, blocks, interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, padded.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    return as_rgb(large[:height, :width])


def grey(rgb: Rgb) -> Rgb:
    """Return a picture without colour."""
    import cv2

    return as_rgb(cv2.cvtColor(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB))


def paint_over(rgb: Rgb, colour: tuple[int, ...]) -> Rgb:
    """Return a picture of one colour."""
    return np.full_like(rgb, colour)


EFFECTS: dict[str, Effect] = {
    "blur": blur,
    "pixelate": pixelate,
    "black": partial(paint_over, colour=(0, 0, 0)),
    "grey": grey,
}


def effect_of(name: str) -> Effect | None:
    """Return an effect by its name, "blur" or "colour:#00ff00"; None: there is none of it."""
    if match := COLOUR.fullmatch(name):
        return partial(paint_over, colour=tuple(bytes.fromhex(match[1])))
    return EFFECTS.get(name)


def apply(rgb: Rgb, effect: Effect, weight: NDArray[np.float32]) -> Rgb:
    """Return a picture with an effect where it has weight."""
    changed = effect(rgb)
    share = np.round(weight * 256).astype(np.uint16)[..., np.newaxis]
    mixed = changed * share + rgb * (256 - share) + np.uint16(128)
    return (mixed >> 8).astype(np.uint8)


def as_rgb(pixels: NDArray[np.generic]) -> Rgb:
    """Return pixels of OpenCV as what they are."""
    return np.ascontiguousarray(pixels, dtype=np.uint8)
