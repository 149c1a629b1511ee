"""The colours of an object for a cut-out with a soft edge.

Along a soft edge the pixels of a frame mix the object with what is behind it. On another
background that would show as a fringe, so that there the colours come from further inside the
object: a mean over the neighbourhood, weighted by how surely each pixel belongs to it. It is a
normalised convolution (Knutsson and Westin, 1993), over wider neighbourhoods where nothing sure
is near. What such means of object and background, mixed by alpha, leave unexplained of a pixel is
detail of the object's own and is put back (blur fusion: Forte, ICIP 2021), the less the less
sure the pixel is: alpha that is too high would else bring the background back.

Shapes: rgb (H, W, 3), uint8; alpha (H, W), float32 from 0 to 1, straight (not premultiplied).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vostool.media.boxes import boxes_around
from vostool.media.frame import Rgb

Alpha = NDArray[np.float32]
Samples = NDArray[np.unsignedinteger[Any]]  # of 8 or 16 bits

SQUARINGS = 4  # of alpha, for the weight of a pixel: the surest of a neighbourhood count
WIDTH = 60  # the sides of a frame are so many neighbourhoods wide: a soft edge and a bit more
WIDER = (1, 4)  # sides of neighbourhoods, in the usual one
DETAIL = 5  # a neighbourhood's side, where means are taken
LEAST = 1e-6  # mean weight of a neighbourhood that tells colours
FAINT = 1 / 512  # an alpha below this shows nothing in 8 bits


def object_colours(rgb: Rgb, alpha: Alpha) -> Rgb:
    """Return a frame in which pixels that are partly the object have the object's own colour.

    It goes on a little beyond the edge, so that neither a codec nor scaling draws another colour
    in; farther out all is black, and nothing is left of the background.
    """
    out = np.zeros_like(rgb)
    side = max(3, round(min(alpha.shape) / WIDTH) | 1)
    for box in boxes_around((alpha > FAINT).view(np.uint8), side):
        out[box] = _colours_in_box(np.ascontiguousarray(rgb[box]), alpha[box], side)
    return out


def with_alpha(rgb: Rgb, alpha: Alpha, bits: int = 8) -> Samples:
    """Return a cut-out (H, W, 4) with straight alpha, its colours by `object_colours`."""
    import cv2

    colours: Samples = object_colours(rgb, alpha)
    if bits == 16:
        colours = np.multiply(colours, 257, dtype=np.uint16)
    cut = np.asarray(cv2.cvtColor(colours, cv2.COLOR_RGB2RGBA), colours.dtype)
    cv2.insertChannel(in_bits(alpha, bits), cut, 3)
    return cut


def in_bits(alpha: Alpha, bits: int) -> Samples:
    """Return alpha as whole numbers of 8 or 16 bits."""
    samples = alpha * np.float32(2**bits - 1)
    samples += 0.5  # in place: frames are large
    return samples.astype(np.uint8) if bits == 8 else samples.astype(np.uint16)


def _colours_in_box(rgb: Rgb, alpha: Alpha, side: int) -> Rgb:
    """Return what `object_colours` does of a part of a frame that holds an object.

    `side` of a neighbourhood in pixels.
    """
    import cv2

    inner, known = _mean_colours(rgb, alpha, side)
    outer, there = _mean_colours(rgb, 1 - alpha, side)
    # a thin part, of which the network is nowhere sure, keeps the colours where it is surest
    most = cv2.dilate(alpha, np.ones((2 * side + 1,) * 2, np.uint8))
    shown = alpha > FAINT
    sure = (alpha >= most) | ~known
    edge = np.flatnonzero(shown & ~sure)
    pixels, front, back = (each.reshape(-1, 3)[edge] for each in (rgb, inner, outer))
    share = (alpha.ravel()[edge] / most.ravel()[edge])[:, np.newaxis]
    mixed = share * front + (1 - share) * np.where(there.ravel()[edge, np.newaxis], back, pixels)
    # where alpha is exact, share
    inner.reshape(-1, 3)[edge] = front + share * share * share * (pixels - mixed)
    colours = np.asarray(cv2.convertScaleAbs(np.maximum(inner, 0, out=inner)), np.uint8)
    cv2.copyTo(rgb, (shown & sure).view(np.uint8), colours)
    return np.asarray(cv2.copyTo(colours, (known | shown).view(np.uint8)), np.uint8)


def _mean_colours(
    rgb: Rgb, alpha: Alpha, side: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the mean colours of what is sure by alpha around each pixel, and where any is.

    `side` of a neighbourhood in pixels.
    """
    import cv2

    height, width = alpha.shape
    shrink = max(1, side // DETAIL)  # means are smooth: fewer of them do
    small = max(1, width // shrink), max(1, height // shrink)
    weight = cv2.pow(alpha, 2**SQUARINGS)
    weighted = cv2.multiply(rgb, cv2.merge([weight] * 3), dtype=cv2.CV_32F)
    sums = np.dstack(
        [cv2.resize(each, small, interpolation=cv2.INTER_AREA) for each in (weighted, weight)]
    )
    inner = np.zeros_like(sums)
    for wider in WIDER:
        size = (side * wider // shrink | 1,) * 2
        # twice: nearly a Gaussian, without the edges that a box draws
        near = cv2.blur(cv2.blur(sums, size), size)
        inner = np.where((inner[..., 3:] > LEAST), inner, near)
    means = inner[..., :3] / np.maximum(inner[..., 3:], LEAST)
    large = cv2.resize(means, (width, height), interpolation=cv2.INTER_LINEAR)
    known = cv2.resize(inner[..., 3], (width, height), interpolation=cv2.INTER_LINEAR) > LEAST
    return large.astype(np.float32, copy=False), known
