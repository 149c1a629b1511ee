"""Small repairs to the mask of one object, or of each object of a label map.

Shapes: masks (H, W), bool; labels (H, W), uint8.
"""

from collections.abc import Callable

import cv2
import numpy as np

from vostool.media.labels import BoolMask, LabelMap, ids_in


def grow(mask: BoolMask, pixels: float) -> BoolMask:
    """Return a mask with all that is at most so many pixels from it; a negative number shrinks it.

    Distances are Euclidean, between the middles of pixels. The edge of the frame is no outline:
    nothing is known beyond it, so that an object that it cuts off is not shrunk from there.
    """
    if pixels < 0:
        return ~grow(~mask, -pixels)
    if not mask.any():
        return mask.copy()
    distance = cv2.distanceTransform((~mask).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance <= pixels + 1e-3)  # 32-bit floats


def fill_holes(mask: BoolMask) -> BoolMask:
    """Return a mask with all background that it encloses.

    Background is connected across the sides of pixels, not their corners.
    """
    ground = np.pad((~mask).astype(np.uint8), 1, constant_values=1)  # so that all of it is one
    _, parts = cv2.connectedComponents(ground, connectivity=4)
    outside = parts == parts[0, 0]
    return ~outside[1:-1, 1:-1]


def largest(mask: BoolMask) -> BoolMask:
    """Return the largest connected part of a mask; pixels are connected across corners too."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 2:
        return mask.copy()
    return np.asarray(parts == 1 + stats[1:, cv2.CC_STAT_AREA].argmax())


def change_objects(labels: LabelMap, change: Callable[[BoolMask], BoolMask]) -> LabelMap:
    """Return labels with the mask of each object changed.

    An object gains only background: no pixel of another one, nor one that an object of a lower id
    gains too.
    """
    changed = np.zeros_like(labels)
    for id_ in ids_in(labels):
        own = labels == id_
        changed[change(own) & (own | (labels == 0)) & (changed == 0)] = id_
    return changed
