"""The scores of the DAVIS benchmarks: two masks to numbers. numpy and OpenCV alone.

Region similarity J is the intersection over union of two masks, contour accuracy F the
harmonic mean of precision and recall of their boundaries (Perazzi et al. 2016).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    quarters = [scores[a : b + 1] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    return Statistics(
        mean=float(scores.mean()),
        recall=float((scores > GOOD).mean()),
        decay=float(quarters[0].mean() - quarters[-1].mean()),
    )


def jaccard(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Region similarity J in [0, 1] of two masks (H, W); 1 where both are empty."""
    either = np.count_nonzero(truth | predicted)
    return float(np.count_nonzero(truth & predicted) / either) if either else 1.0
