"""A part of a frame that the network gets instead of all of it.

Shapes: a frame is H x W pixels, the network's input h x w.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vostool.preprocess import Size, resize

MOST_PIXELS = 1920 * 1088  # of the masks of a whole frame: 8 MB of float32 for each object


@dataclass(frozen=True)
class Box:
    """A rectangle around objects, its sides in pixels of the frame."""

    top: float
    left: float
    bottom: float
    right: float

    @property
    def height(self) -> float:
        """Its height, in pixels of the frame."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """Its width, in pixels of the frame."""
        return self.right - self.left

    @property
    def area(self) -> float:
        """How many pixels it has."""
        return self.height * self.width

    def joined(self, other: "Box") -> "Box":
        """Return the smallest box around this one and another."""
        return Box(
            min(self.top, other.top),
            min(self.left, other.left),
            max(self.bottom, other.bottom),
            max(self.right, other.right),
        )

    def share(self, frame: Size) -> float:
        """Return the larger of its sides' shares of those of the frame."""
        return max(self.height / frame[0], self.width / frame[1])


@dataclass(frozen=True)
class Region:
    """A part of a frame, of nearly the same proportions; and how fine the whole frame's masks are.

    Its corner is at multiples of the grain, and so are its sides, unless they end with the frame:
    its masks lie among those of the whole frame pixel on pixel.
    """

    frame: Size  # H and W
    top: int
    left: int
    height: int
    width: int
    grain: int = 1  # pixels of the frame per pixel of the whole frame's masks, along each side

    @classmethod
    def around(cls, box: Box, share: float, frame: Size, input_height: int) -> Self | None:
        """Return the region with this share of a frame's sides around a box; None: all of it.

        The box is in its middle, or as near to that as the frame allows. The grain is the largest
        at which the whole frame's masks are as fine as the region's, of `input_height` rows; larger
        where they would have more than `MOST_PIXELS`.
        """
        if share >= 1:
            return None
        affordable = math.ceil(math.sqrt(frame[0] * frame[1] / MOST_PIXELS))
        grain = max(1, affordable, int(share * frame[0] / input_height))
        height, width = (min(side, max(1, round(share * side / grain)) * grain) for side in frame)
        top, height = stretch((box.top + box.bottom) / 2, height, frame[0], grain)
        left, width = stretch((box.left + box.right) / 2, width, frame[1], grain)
        if (height, width) == frame:
            return None
        return cls(frame, top, left, height, width, grain)

    @property
    def box(self) -> Box:
        """The region as a box, in pixels of the frame."""
        return Box(self.top, self.left, self.top + self.height, self.left + self.width)

    @property
    def share(self) -> float:
        """Its share of the frame's sides."""
        return max(self.height / self.frame[0], self.width / self.frame[1])

    def crop(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what is in the region of a frame or a label map (H, W, ...)."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]

    def whole(self, masks: Tensor) -> Tensor:
        """Return masks (B, N + 1, h, w) of the region as those of the whole frame.

        These have a pixel for every `grain` x `grain` of the frame; outside of the region all is
        background.
        """
        down, across = self._place
        whole = masks.new_zeros(*masks.shape[:2], *self._whole)
        whole[:, 0] = 1
        whole[:, :, down, across] = resize(masks, (length(down), length(across)))
        return whole

    def inside(self, masks: Tensor) -> Tensor:
        """Return of masks (B, N + 1, ...) of the whole frame, of any size, those of the region."""
        down, across = self._place
        if masks.shape[2:] != self._whole:
            masks = resize(masks, self._whole)
        return masks[:, :, down, across]

    @property
    def _whole(self) -> Size:
        """The size of the masks of the whole frame."""
        return -(-self.frame[0] // self.grain), -(-self.frame[1] // self.grain)

    @property
    def _place(self) -> tuple[slice, slice]:
        """Its rows and columns in the masks of the whole frame."""
        down, across = (
            slice(start // self.grain, -(-(start + side) // self.grain))
            for start, side in ((self.top, self.height), (self.left, self.width))
        )
        return down, across


def seen_box(region: Region | None, frame: Size) -> Box:
    """Return what is seen of a frame, H x W: the region, or all of it."""
    return Box(0, 0, *frame) if region is None else region.box


def stretch(middle: float, side: int, most: int, grain: int) -> tuple[int, int]:
    """Return start and length of a stretch of `side` of `most` pixels, around a middle.

    If less than a grain would remain to the end of the side, it is extended to that.
    """
    start = int(min(max(middle - side / 2, 0), most - side) // grain) * grain
    rest = most - start - side
    return start, side + rest if rest < grain else side


def length(part: slice) -> int:
    """Return how many rows or columns a slice has."""
    return int(part.stop - part.start)
