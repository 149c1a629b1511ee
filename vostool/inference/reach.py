"""How far an object gets from one frame to the next: what is farther away is not that object.

What looks like the object, another car or a spectator in the same colours, is often far from it.
So an object is sought around where it was on the frame before only (`--reach`), as long as it was
seen there.

Shapes: a frame is H x W pixels, the network's input h x w.
"""

import math

from vostool.inference.placement import Placement
from vostool.inference.region import Box
from vostool.inference.sighting import Sighting
from vostool.preprocess import Size
from vostool.propagation.frame_loop import Place

LEAST = 0.25  # of the sides of the frame, for small objects, which may be fast


def places_within(
    reach: float, before: Sighting, place: Placement, frame: Size
) -> dict[int, Place]:
    """Return by id the rows and columns of the network's input in which objects may be.

    It is so many sides of the box of each one, or `LEAST` of the frame's, H x W, around where it
    was before. One that may be anywhere has none: with a reach of 0, or where it was not seen.
    """
    seen = {id_: box for id_, box in before.boxes.items() if box is not None and reach > 0}
    return {id_: in_input(extended(box, reach, frame), place, frame) for id_, box in seen.items()}


def extended(box: Box, reach: float, frame: Size) -> Box:
    """Return a box with its sides so many times as long, or `LEAST` of the frame's, H x W."""
    down, across = (
        (max(reach * side, LEAST * whole) - side) / 2
        for side, whole in (
            (box.bottom - box.top, frame[0]),
            (box.right - box.left, frame[1]),
        )
    )
    return Box(box.top - down, box.left - across, box.bottom + down, box.right + across)


def in_input(box: Box, place: Placement, frame: Size) -> Place:
    """Return the rows and columns of the network's input that a box of a frame, H x W, meets."""
    whole = Box(0, 0, *frame) if place.region is None else place.region.box
    tall, wide = place.frame
    down, across = tall / (whole.bottom - whole.top), wide / (whole.right - whole.left)
    return (
        pixels((box.top - whole.top) * down, (box.bottom - whole.top) * down, place.padding.top),
        pixels(
            (box.left - whole.left) * across, (box.right - whole.left) * across, place.padding.left
        ),
    )


def pixels(start: float, end: float, border: int) -> slice:
    """Return the pixels that a stretch meets, counted from a border on; none are before 0."""
    return slice(max(0, math.floor(start) + border), max(0, math.ceil(end) + border))
