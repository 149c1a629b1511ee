"""Where objects were on a frame, by their masks: what tells where to look on the next one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from vostool.inference.placement import Placement
from vostool.inference.region import Box, Region, seen_box
from vostool.preprocess import Size
from vostool.propagation.frames import MaskedFrame


@dataclass(frozen=True)
class Sighting:
    """Where each object of a frame was."""

    boxes: Mapping[int, Box | None]  # by id; None: it was sought but not seen
    absent: frozenset[int] = frozenset()  # those not sought; they have no box
    areas: Mapping[int, float] = field(default_factory=dict)  # by id, in pixels of the frame
    region: Region | None = None  # in which they were sought; None: the whole frame

    @property
    def share(self) -> float:
        """The share of the frame's sides in which they were sought."""
        return 1.0 if self.region is None else self.region.share


NOTHING = Sighting({})  # before the first frame


def sighting(latest: MaskedFrame | None, frame: Size) -> Sighting:
    """Return where the objects of the latest frame, H x W, were."""
    if latest is None or not latest.ids:
        return NOTHING
    if latest.ends_scene:  # they may be anywhere
        return Sighting({}, frozenset(latest.ids))
    region, masks = None, latest.masks
    if latest.placements:
        place: Placement = latest.placements[-1]
        region, masks = place.region, place.padding.crop(masks)
    there = masks[0, 1:] > masks[0, :1]
    # how many pixels each object has in every row and column, in one transfer
    counts = torch.cat([there.sum(dim=2), there.sum(dim=1)], dim=1).cpu().numpy()
    size = there.shape[1], there.shape[2]
    seen = seen_box(region, frame)
    scale = seen.area / (size[0] * size[1])
    boxes, areas = {}, {}
    for id_, own in zip(latest.ids, counts, strict=True):
        if id_ not in latest.absent:
            rows, columns = np.split(own, [size[0]])
            boxes[id_] = in_frame(box_of_sides(rows > 0, columns > 0), size, seen)
            areas[id_] = scale * float(rows.sum())
    return Sighting(boxes, frozenset(latest.absent), areas, region)


def in_frame(box: Box | None, size: Size, seen: Box) -> Box | None:
    """Return a box in masks of this size, of what is seen of a frame, in the frame's pixels."""
    if box is None:
        return None
    down, across = seen.height / size[0], seen.width / size[1]
    return Box(
        seen.top + down * box.top,
        seen.left + across * box.left,
        seen.top + down * box.bottom,
        seen.left + across * box.right,
    )


def box_of(there: NDArray[np.bool_]) -> Box | None:
    """Return the box around what is there (H, W)."""
    return box_of_sides(np.any(there, axis=1), np.any(there, axis=0))


def box_of_sides(rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> Box | None:
    """Return the box around what is in these rows (H,) and columns (W,)."""
    down, across = np.flatnonzero(rows), np.flatnonzero(columns)
    if not len(down):
        return None
    return Box(int(down[0]), int(across[0]), int(down[-1]) + 1, int(across[-1]) + 1)
