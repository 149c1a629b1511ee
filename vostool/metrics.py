"""The scores of the DAVIS benchmarks: two masks to numbers. Pure numpy.

Region similarity J is the intersection over union of two masks (Perazzi et al. 2016).
"""

import numpy as np
from numpy.typing import NDArray


def jaccard(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """Region similarity J in [0, 1] of two masks (H, W); 1 where both are empty."""
    either = np.count_nonzero(truth | predicted)
    return float(np.count_nonzero(truth & predicted) / either) if either else 1.0
