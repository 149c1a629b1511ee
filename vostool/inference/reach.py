"""How far an object gets from one frame to the next: what lies farther away is not that object.

What looks like an object, another car or a spectator in the same colours, often lies apart from it.
So the parts of its mask that do not touch the box where it was on the frame before are removed. The
sides of that box are enlarged (`--reach`), to a quarter of the frame's at least. If little would
remain, the object has jumped, and its mask stays as it is.

Shapes: a frame is H x W pixels, the network's input h x w.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vostool.inference.placement import Placement
from vostool.inference.region import Box, seen_box
from vostool.inference.sighting import Sighting
from vostool.preprocess import Size

LEAST = 0.25  # of the sides of the frame, for small objects, which may be fast
LEFT = 0.1  # of its area: with less than that within its reach, an object has jumped
EDGE = 9  # pixels of the input: the kernel by which a part of a mask grows, for its soft edge

Window: TypeAlias = tuple[slice, slice]  # rows and columns of the network's input


@dataclass(frozen=True)
class Reach:
    """Where in the network's input an object may be, and what it has there if it has not jumped."""

    window: Window
    pixels: float  # the fewest of its mask in the window


@dataclass(frozen=True)
class ReachFilter:
    """Leaves out of the masks of a frame what the objects do not reach; others are anywhere."""

    reaches: Mapping[int, Reach]  # by id

    @classmethod
    def of(cls, before: Sighting, reach: float, place: Placement, frame: Size) -> Self:
        """Return the filter for a frame, H x W, placed so, upon the one `before`.

        Objects that were not seen there are anywhere, and all of them with a reach of 0.
        """
        seen = {id_: box for id_, box in before.boxes.items() if box is not None and reach > 0}
        shown = seen_box(place.region, frame)
        scale = place.frame[0] * place.frame[1] / shown.area
        return cls(
            {
                id_: Reach(
                    in_input(extended(box, reach, frame), place, shown),
                    LEFT * scale * before.areas.get(id_, 0),
                )
                for id_, box in seen.items()
            }
        )

    def __call__(self, ids: Sequence[int], masks: Tensor) -> Tensor:
        """Return masks (1, N + 1, h, w) without what is out of reach; that is background."""
        channels = [n for n, id_ in enumerate(ids, start=1) if id_ in self.reaches]
        if not channels:
            return masks
        there = (masks[0, channels] > masks[0, :1]).byte().cpu().numpy()  # one transfer
        shown = masks
        for channel, own in zip(channels, there, strict=True):
            far = out_of_reach(own, self.reaches[ids[channel - 1]])
            if far is not None:
                shown = made_background(shown, channel, torch.from_numpy(far).to(masks.device))
        return shown


def out_of_reach(mask: NDArray[np.uint8], reach: Reach) -> NDArray[np.bool_] | None:
    """Return where a mask (h, w), 0 or 1, has parts that do not touch a window; None: nowhere.

    Their soft edges are with them. If the others are too small, the object has jumped: none is.
    """
    inside = mask[reach.window]
    if cv2.countNonZero(inside) in (0, cv2.countNonZero(mask)):
        return None
    _, parts = cv2.connectedComponents(mask, connectivity=8)
    kept = np.isin(parts, np.unique(parts[reach.window][inside > 0])).astype(np.uint8)
    pixels = cv2.countNonZero(kept)
    if pixels < reach.pixels or pixels == cv2.countNonZero(mask):
        return None
    soft = np.ones((EDGE, EDGE), np.uint8)
    far: NDArray[np.bool_] = cv2.dilate(mask - kept, soft) > cv2.dilate(kept, soft)
    return far


def made_background(masks: Tensor, channel: int, far: Tensor) -> Tensor:
    """Return masks (1, N + 1, h, w) of which one has nothing where it is `far` (h, w)."""
    shown = masks.clone()
    gone = torch.where(far, masks[:, channel], 0)
    shown[:, channel] -= gone
    shown[:, 0] += gone
    return shown


def extended(box: Box, reach: float, frame: Size) -> Box:
    """Return a box with its sides so many times as long, or `LEAST` of the frame's, H x W."""
    down, across = (
        (max(reach * side, LEAST * whole) - side) / 2
        for side, whole in (
            (box.height, frame[0]),
            (box.width, frame[1]),
        )
    )
    return Box(box.top - down, box.left - across, box.bottom + down, box.right + across)


def in_input(box: Box, place: Placement, seen: Box) -> Window:
    """Return the rows and columns of the network's input that a box of the frame meets.

    `seen` is what of the frame the input shows.
    """
    tall, wide = place.frame
    down, across = tall / seen.height, wide / seen.width
    top, left = place.padding.top, place.padding.left
    return (
        pixel_range((box.top - seen.top) * down, (box.bottom - seen.top) * down, top),
        pixel_range((box.left - seen.left) * across, (box.right - seen.left) * across, left),
    )


def pixel_range(start: float, end: float, border: int) -> slice:
    """Return the pixels that a stretch meets, counted from a border on; none are before 0."""
    return slice(max(0, math.floor(start) + border), max(0, math.ceil(end) + border))
