"""The scores of the DAVIS benchmarks: two masks to numbers. numpy and OpenCV alone.

Region similarity J is the intersection over union of two masks, contour accuracy F the
harmonic mean of precision and recall of their boundaries (Perazzi et al. 2016).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]  # (H, W)
LabelMap = NDArray[np.uint8]  # (H, W), as in vostool.media

TOLERANCE = 0.008  # boundaries match within this share of the frame's diagonal
GOOD = 0.5  # recall counts the frames above this
BINS = 4  # decay compares the first and the last quarter of a clip


@dataclass(frozen=True)
class Statistics:
    """An object's scores over the frames of a clip, summed up as DAVIS does."""

    mean: float
    recall: float  # share of frames above 0.5
    decay: float  # mean of the first quarter less that of the last; below 0: it improves


def statistics(values: Sequence[float]) -> Statistics:
    """Sum up the scores of one object, frame by frame; at least one.

    The quarters share their border frames, as in the official tool, whose 8-bit frame
    numbers give another decay for clips of more than 256 frames.
    """
    scores = np.asarray(values, dtype=float)
    ends = np.round(np.linspace(1, len(scores), BINS + 1) + 1e-10).astype(int) - 1
    quarters = [scores[a : b + 1] for a, b in pairwise(ends)]
    return Statistics(
        mean=float(scores.mean()),
        recall=float((scores > GOOD).mean()),
        decay=float(quarters[0].mean() - quarters[-1].mean()),
    )


def score_frame(
    truth: LabelMap, predicted: LabelMap, ids: Iterable[int]
) -> list[tuple[float, float]]:
    """Return J and F of each object in two label maps of one size."""
    reach = _reach(truth)
    scores = []
    for id_ in ids:
        pair = _surroundings(truth == id_, predicted == id_)
        scores.append((jaccard(*pair), _boundary_f(*pair, reach)))
    return scores


def jaccard(truth: Mask, predicted: Mask) -> float:
    """Region similarity J in [0, 1] of two masks (H, W); 1 where both are empty."""
    either = np.count_nonzero(truth | predicted)
    return float(np.count_nonzero(truth & predicted) / either) if either else 1.0


def boundary_f(truth: Mask, predicted: Mask) -> float:
    """Contour accuracy F in [0, 1] of two masks (H, W).

    Precision is the share of the predicted boundary that lies within 0.008 of the frame's
    diagonal, in whole pixels rounded up, of the true one; recall is the reverse. Where just
    one mask has a boundary F is 0, where none has it is 1 (a mask of all the frame has none).
    """
    return _boundary_f(*_surroundings(truth, predicted), _reach(truth))


def _reach(frame: NDArray[np.generic]) -> int:
    """Return how many pixels matching boundaries may lie apart."""
    return math.ceil(TOLERANCE * math.hypot(*frame.shape))


def _surroundings(truth: Mask, predicted: Mask) -> tuple[Mask, Mask]:
    """Cut both masks to what they cover and the pixels next to it.

    Neither score changes: all boundary pixels are kept, and they are matched with each other.
    """
    x, y, width, height = cv2.boundingRect((truth | predicted).view(np.uint8))
    part = np.s_[max(y - 1, 0) : y + height + 1, max(x - 1, 0) : x + width + 1]
    return truth[part], predicted[part]


# A boundary is one long integer, a bit for each pixel, row by row: a shift moves all pixels
# at once, many times faster than dilating an image. Rows are `stride` bits apart, which leaves
# so many zeros between them that no shift carries a pixel into the next row.


def _boundary_f(truth: Mask, predicted: Mask, reach: int) -> float:
    stride = -(-(truth.shape[1] + reach) // 8) * 8
    true, found = _boundary(truth, stride), _boundary(predicted, stride)
    if not true or not found:
        return float(true == found)
    precision = (found & _dilate(true, reach, stride)).bit_count() / found.bit_count()
    recall = (true & _dilate(found, reach, stride)).bit_count() / true.bit_count()
    return 2 * precision * recall / (precision + recall) if precision or recall else 0.0


def _boundary(mask: Mask, stride: int) -> int:
    """Return the pixels that differ from the one to the right, below, or right below."""
    height, width = mask.shape
    rows = np.zeros((height + 1, stride), bool)
    rows[:height, :width] = mask
    rows[height] = rows[height - 1]  # the frame ends as if its last pixels went on
    rows[:, width] = rows[:, width - 1]
    bits = _integer(np.packbits(rows, bitorder="little"))
    inside = np.packbits(np.arange(stride) < width, bitorder="little")
    differs = (bits ^ bits >> 1) | (bits ^ bits >> stride) | (bits ^ bits >> stride + 1)
    return differs & _integer(np.tile(inside, height))


def _integer(packed: NDArray[np.uint8]) -> int:
    return int.from_bytes(packed.tobytes(), "little")


def _dilate(bits: int, radius: int, stride: int) -> int:
    """Return the pixels within `radius` of those given: x^2 + y^2 <= radius^2."""
    disk, row, half = 0, bits, 0  # `row` is dilated by `half` to the left and to the right
    for y in range(radius, -1, -1):
        while half < (widest := math.isqrt(radius * radius - y * y)):
            step = min(widest - half, 2 * half + 1)  # leaves no gap
            row |= row << step | row >> step
            half += step
        disk |= row << y * stride | row >> y * stride
    return disk
