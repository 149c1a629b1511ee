"""The objects of a label map as regions: boxes, areas, outlines.

Shapes: labels (H, W), uint8; a region's mask (height, width) lies within its box.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vostool.media.labels import BoolMask, LabelMap


@dataclass(frozen=True)
class Region:
    """The pixels of one object; columns and rows count from 0, from the top left corner."""

    id: int
    left: int  # column
    top: int  # row
    mask: BoolMask  # (height, width), touches all sides

    @property
    def width(self) -> int:
        """The width of the box, in pixels."""
        return self.mask.shape[1]

    @property
    def height(self) -> int:
        """The height of the box, in pixels."""
        return self.mask.shape[0]

    @property
    def area(self) -> int:
        """How many pixels there are."""
        return int(np.count_nonzero(self.mask))

    @property
    def centroid(self) -> tuple[float, float]:
        """The mean column and row of the pixels."""
        rows, columns = np.nonzero(self.mask)
        return self.left + float(columns.mean()), self.top + float(rows.mean())

    def outlines(self) -> list[NDArray[np.int32]]:
        """Return the outline of each connected part, (K, 2) columns and rows; holes have none."""
        import cv2

        found, _ = cv2.findContours(
            self.mask.astype(np.uint8),
            cv2.RETR_EXTERNAL,
            cv2.CHAIN_APPROX_SIMPLE,
            offset=(self.left, self.top),
        )
        return [points[:, 0].astype(np.int32, copy=False) for points in found]


def regions_of(labels: LabelMap) -> Iterator[Region]:
    """Yield the objects that a label map shows, by ascending id."""
    import cv2

    for id_ in np.flatnonzero(np.bincount(labels.ravel(), minlength=1)):
        if id_:
            mask = labels == id_
            left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
            yield Region(int(id_), left, top, mask[top : top + height, left : left + width])
