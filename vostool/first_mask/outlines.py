"""Shapes drawn on a frame to masks.

Points are in pixels of the frame, x to the right and y down; whole numbers are the middles of
pixels. A box x, y, width, height covers the pixels x to x + width - 1. What lies out of the frame
is cut off.

Shapes: masks (H, W), bool.
"""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from vostool.errors import UsageError
from vostool.media.labels import BoolMask

Box = tuple[float, float, float, float]  # x, y, width, height


def check_within(points: Iterable[tuple[float, float]], shape: tuple[int, int], what: str) -> None:
    """Raise UsageError for a point out of a frame of a shape (H, W), whose edges are in it."""
    height, width = shape
    for x, y in points:
        if not (-0.5 <= x <= width and -0.5 <= y <= height):  # or where a pixel more would be
            raise UsageError(f"{what}: {x:g},{y:g} lies out of the frame of {width}x{height}")


def fill_polygon(points: Sequence[tuple[float, float]], shape: tuple[int, int]) -> BoolMask:
    """Return the pixels in and on a closed polygon, (H, W), as `cv2.fillPoly` has them.

    Each corner (x, y) is rounded to the nearest pixel, halves up. Where the outline crosses itself
    the even-odd rule holds. `shape` is (H, W).
    """
    corners = np.floor(np.reshape(points, (-1, 2)).astype(float) + 0.5).astype(np.int32)
    canvas = np.zeros(shape, np.uint8)
    if len(corners):
        cv2.fillPoly(canvas, [corners], 1)
    return canvas > 0


def fill_ellipse(box: Box, shape: tuple[int, int], degrees: float = 0) -> BoolMask:
    """Return the pixels whose middles are in the ellipse that fills a box, (H, W).

    It is then turned about its middle by `degrees`, clockwise as seen. `shape` is (H, W).
    An ellipse without width or height is empty.
    """
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return np.zeros(shape, bool)
    # a box begins at the left edge of its first pixel, half a pixel before the middle of that
    right = np.arange(shape[1]) + 0.5 - (x + width / 2)
    down = (np.arange(shape[0]) + 0.5 - (y + height / 2))[:, np.newaxis]
    turn = np.radians(degrees)
    along = right * np.cos(turn) + down * np.sin(turn)
    across = down * np.cos(turn) - right * np.sin(turn)
    inside: BoolMask = (along / (width / 2)) ** 2 + (across / (height / 2)) ** 2 <= 1
    return inside
