"""Where in a frame the network looks: at a region around the objects, so that they are larger.

Many objects fill a small part of a frame. Scaled to the network's input with all of it, they lose
outlines that the frame has. So the network gets a region around where they were on the frame
before, magnified at most so many times (`--zoom`).

Shapes: a frame is H x W pixels, the network's input h x w.
"""

import math
from collections.abc import Collection
from dataclasses import replace
from functools import reduce

from vostool.inference.placement import Placement
from vostool.inference.region import Box, Region
from vostool.inference.sighting import Sighting, box_of
from vostool.media.labels import LabelMap, ids_in
from vostool.preprocess import Size

# chosen on DAVIS-2016, see weights/README.md
AROUND = 2.5  # sides of the region, in sides of the box around all objects
INERTIA = 0.9  # how much of the last region's size stays, in logarithms
AT_LEAST = 1.15  # sides of the region, in sides of the box, however fast that grows
SEEKING = 1.25  # by how much the region grows with every frame on which an object is not seen


def place_next(
    whole: Placement,
    frame: Size,
    zoom: float,
    before: Sighting,
    given: LabelMap | None = None,
    absent: Collection[int] = (),
) -> Placement:
    """Return how the next frame, H x W, is placed: as `whole`, or a region of it instead.

    `before` is where objects were on the frame before, `given` the label map (H, W) of those known
    on the next one, and `absent` are objects that are not there. It is `whole` with a zoom of 1,
    where there is nothing to look for, and for an object that was absent and may be anywhere.
    """
    if zoom == 1:
        return whole
    entered = None if given is None else box_of(given > 0)
    known = {*absent, *(() if given is None else ids_in(given))}
    if before.absent - known:
        return whole
    boxes = [box for id_, box in before.boxes.items() if id_ not in known]
    if boxes:
        box, share = region_target(boxes, before, entered, frame, zoom)
    elif entered is not None:
        box, share = entered, suitable_share(entered, frame, zoom)
    else:
        return whole
    if box is None:
        return whole
    return replace(whole, region=Region.around(box, share, frame, whole.frame[0]))


def region_target(
    boxes: Collection[Box | None],
    before: Sighting,
    entered: Box | None,
    frame: Size,
    zoom: float,
) -> tuple[Box | None, float]:
    """Return around what the network looks next, and at which share of the frame's sides.

    The share follows the size of the objects slowly, as what is remembered is of the sizes before.
    It grows where one is not seen, and holds at once what has `entered` by a mask.
    """
    found = [box for box in (*boxes, entered) if box is not None]
    if not found:
        around = None if before.region is None else before.region.box
        return around, min(1.0, SEEKING * before.share)
    box = reduce(Box.joined, found)
    wanted = suitable_share(box, frame, zoom)
    share = math.exp(INERTIA * math.log(before.share) + (1 - INERTIA) * math.log(wanted))
    if entered is not None:
        share = max(share, wanted)
    if None in boxes:
        share = max(share, SEEKING * before.share)
    return box, min(1.0, max(share, AT_LEAST * box.share(frame)))


def suitable_share(box: Box, frame: Size, zoom: float) -> float:
    """Return the share of a frame's sides that suits a box, of 1 / zoom to 1."""
    return min(1.0, max(AROUND * box.share(frame), 1 / zoom))
