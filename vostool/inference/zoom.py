"""Where in a frame the network looks: at a region around the objects, so that they are larger.

Many objects fill a small part of a frame. Scaled to the network's input with all of it, they lose
outlines that the frame has. So the network gets a region around where they were on the frame
before, magnified at most so many times (`--zoom`).

Shapes: a frame is H x W pixels, the network's input h x w.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from vostool.inference.placement import Placement
from vostool.inference.region import Box, Region
from vostool.media.labels import LabelMap, ids_in
from vostool.preprocess import Size
from vostool.propagation.frames import MaskedFrame

# chosen on DAVIS-2016, see weights/README.md
AROUND = 2.5  # sides of the region, in sides of the box around all objects
INERTIA = 0.9  # how much of the last region's size stays, in logarithms
AT_LEAST = 1.15  # sides of the region, in sides of the box, however fast that grows
SEEKING = 1.25  # by how much the region grows with every frame on which an object is not seen


@dataclass(frozen=True)
class Sighting:
    """Where objects were on a frame, by their masks."""

    box: Box | None  # around all of them; None: none is seen
    all_seen: bool
    region: Region | None  # in which they were sought; None: the whole frame

    @property
    def share(self) -> float:
        """The share of the frame's sides that was seen."""
        return 1.0 if self.region is None else self.region.share


def place_next(
    whole: Placement,
    frame: Size,
    zoom: float,
    latest: MaskedFrame | None,
    given: LabelMap | None = None,
    absent: Collection[int] = (),
) -> Placement:
    """Return how the next frame, H x W, is placed: as `whole`, or a region of it instead.

    `latest` is the frame before, `given` the label map (H, W) of objects on the next one, and
    `absent` are objects that are not there. With a zoom of 1, or nothing to look for, it is
    `whole`.
    """
    if zoom == 1:
        return whole
    known = () if given is None else ids_in(given)
    entered = None if given is None else box_of(given > 0)
    ids = () if latest is None else tuple(set(latest.ids) - {*known, *absent})
    if latest is not None and ids:
        seen = sighting(latest, ids, frame)
        box, share = look_after(seen, entered, frame, zoom)
    elif entered is not None:
        box, share = entered, suitable_share(entered, frame, zoom)
    else:
        return whole
    if box is None:
        return whole
    return replace(whole, region=Region.around(box, share, frame, whole.frame[0]))


def look_after(
    seen: Sighting, entered: Box | None, frame: Size, zoom: float
) -> tuple[Box | None, float]:
    """Return around what the network looks next, and at which share of the frame's sides.

    The share follows the size of the objects slowly, as what is remembered is of the sizes before.
    It grows where one is not seen, and holds at once what has `entered` by a mask.
    """
    boxes = [box for box in (seen.box, entered) if box is not None]
    if not boxes:
        around = None if seen.region is None else seen.region.box
        return around, min(1.0, SEEKING * seen.share)
    box = boxes[0].joined(boxes[-1])
    wanted = suitable_share(box, frame, zoom)
    share = math.exp(INERTIA * math.log(seen.share) + (1 - INERTIA) * math.log(wanted))
    if entered is not None:
        share = max(share, wanted)
    if not seen.all_seen:
        share = max(share, SEEKING * seen.share)
    return box, min(1.0, max(share, AT_LEAST * box.share(frame)))


def suitable_share(box: Box, frame: Size, zoom: float) -> float:
    """Return the share of a frame's sides that suits a box, of 1 / zoom to 1."""
    return min(1.0, max(AROUND * box.share(frame), 1 / zoom))


def sighting(latest: MaskedFrame, ids: Collection[int], frame: Size) -> Sighting:
    """Return where some of the objects of a frame, H x W, were."""
    region, masks = None, latest.masks[0]
    if latest.placements:
        place: Placement = latest.placements[-1]
        region, masks = place.region, place.padding.crop(latest.masks)[0]
    channels = latest.channels(tuple(ids))
    there = masks[list(channels[1:])] > masks[0]
    # the rows and columns where each object is, in one transfer
    sides = torch.cat([there.any(dim=2), there.any(dim=1)], dim=1).cpu().numpy()
    box = box_of_sides(*np.split(sides.any(axis=0), [there.shape[1]]))
    if box is not None:
        box = in_frame(box, region, (there.shape[1], there.shape[2]), frame)
    return Sighting(box, bool(sides.any(axis=1).all()), region)


def in_frame(box: Box, region: Region | None, size: Size, frame: Size) -> Box:
    """Return a box in masks, of this size, of a region of a frame, H x W, in its pixels."""
    top, left, height, width = (0, 0, *frame)
    if region is not None:
        top, left, height, width = region.top, region.left, region.height, region.width
    down, across = height / size[0], width / size[1]
    return Box(
        top + down * box.top,
        left + across * box.left,
        top + down * box.bottom,
        left + across * box.right,
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
