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

from vostool.media.frame import Rgb

Alpha = NDArray[np.float32]
Samples = NDArray[np.unsignedinteger[Any]]  # of 8 or 16 bits

DETAIL_POWER = 3  # detail counts by this power of alpha; Forte has 1, with alpha that is exact
SHARPNESS = 16  # the weight of a pixel is alpha to this power: the surest of a neighbourhood count
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
    import cv2

    out = np.zeros_like(rgb)
    side = max(3, round(min(alpha.shape) / WIDTH) | 1)
    box = _around(alpha > FAINT, side)
    alpha, rgb = alpha[box], rgb[box]
    if alpha.size == 0:
        return out
    inner, known = _mean_colours(rgb, alpha, side)
    outer, there = _mean_colours(rgb, 1 - alpha, side)
    outer[~there] = rgb[~there]
    # a thin part, of which the network is nowhere sure, keeps the colours where it is surest
    most = cv2.dilate(alpha, np.ones((2 * side + 1,) * 2, np.uint8))
    share = (alpha / np.maximum(most, FAINT))[..., np.newaxis]
    inner += share**DETAIL_POWER * (rgb - share * inner - (1 - share) * outer)
    inner[~known] = rgb[~known]
    shown = (known | (alpha > FAINT))[..., np.newaxis]
    out[box] = (inner.clip(0, 255) + 0.5) * shown
    return out


def with_alpha(rgb: Rgb, alpha: Alpha, bits: int = 8) -> Samples:
    """Return a cut-out (H, W, 4) with straight alpha, its colours by `object_colours`."""
    cut: Samples = np.empty((*alpha.shape, 4), np.uint8 if bits == 8 else np.uint16)
    cut[..., :3] = object_colours(rgb, alpha)
    if bits == 16:
        cut[..., :3] *= 257
    cut[..., 3] = in_bits(alpha, bits)
    return cut


def in_bits(alpha: Alpha, bits: int) -> Samples:
    """Return alpha as whole numbers of 8 or 16 bits."""
    samples = alpha * np.float32(2**bits - 1) + np.float32(0.5)
    return samples.astype(np.uint8) if bits == 8 else samples.astype(np.uint16)


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
    weight = np.float_power(alpha, SHARPNESS).astype(np.float32)
    premultiplied = rgb * weight[..., np.newaxis]
    sums = cv2.resize(np.dstack([premultiplied, weight]), small, interpolation=cv2.INTER_AREA)
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


def _around(there: NDArray[np.bool_], margin: int) -> tuple[slice, slice]:
    """Return the rows and columns of what is there and `margin` pixels around; else none."""
    rows, columns = (
        slice(max(0, found[0] - margin), found[-1] + margin + 1) if len(found) else slice(0)
        for found in (np.flatnonzero(there.any(axis=axis)) for axis in (1, 0))
    )
    return rows, columns
