"""What all annotation files come to: pictures, each with shapes that have names.

Their points are in pixels from the top left corner of the picture, so that the first pixel
reaches from 0 to 1.

Shapes: masks (H, W), bool; labels (H, W), uint8.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePath
from typing import TypeAlias

import numpy as np

from vostool.errors import MaskError
from vostool.first_mask.outlines import fill_ellipse, fill_polygon
from vostool.media.frame import Frame
from vostool.media.labels import MAX_OBJECTS, BoolMask, LabelMap

Shape: TypeAlias = tuple[int, int]  # height, width
Draw: TypeAlias = Callable[[Shape], BoolMask]
Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class NamedShape:
    """A shape, of the object that its name and group stand for."""

    name: str
    draw: Draw
    group: int | str | None = None  # None: an object of its own


@dataclass(frozen=True)
class AnnotatedPicture:
    """A picture of an annotation file, its shapes from back to front."""

    name: str  # of its file
    shapes: tuple[NamedShape, ...]
    size: Shape | None = None  # None: not stated
    skipped: tuple[str, ...] = ()  # kinds of shapes that have no area, which are left out

    @property
    def stem(self) -> str:
        """Its name without folders, of whatever system, and without the suffix."""
        return PurePath(self.name.replace("\\", "/")).stem

    @property
    def number(self) -> int | None:
        """The number that its name ends in."""
        digits = re.search(r"\d{1,18}$", self.stem)
        return int(digits[0]) if digits else None


@dataclass(frozen=True)
class AnnotatedObjects:
    """The objects of a picture: labels (H, W), and the name of each id."""

    labels: LabelMap
    names: dict[int, str]


def draw_picture(picture: AnnotatedPicture, shape: Shape) -> AnnotatedObjects:
    """Return the objects of a picture for frames of a shape (H, W).

    Names that are all whole numbers from 1 to 254 are the ids. Else the objects are numbered in
    the order of their first shapes. Raises MaskError for another size, for no shape, and for a
    shape that cannot be one.
    """
    if picture.size not in (None, shape):
        height, width = picture.size or shape
        raise MaskError(f"{picture.name} is {width}x{height}, the frame is {shape[1]}x{shape[0]}")
    if not picture.shapes:
        skipped = f" but {', '.join(picture.skipped)}" if picture.skipped else ""
        raise MaskError(f"{picture.name}: expected a shape with an area, found none{skipped}")
    ids = assign_ids(picture.shapes)
    labels = np.zeros(shape, np.uint8)
    for id_, each in zip(ids, picture.shapes, strict=True):
        labels[each.draw(shape)] = id_
    return AnnotatedObjects(labels, dict(zip(ids, (s.name for s in picture.shapes), strict=True)))


def assign_ids(shapes: Sequence[NamedShape]) -> list[int]:
    """Return the id of the object that each shape belongs to; raises MaskError for too many."""
    if all(re.fullmatch(r"0*[1-9]\d{0,2}", each.name, re.ASCII) for each in shapes):
        numbers = [int(each.name) for each in shapes]
        if max(numbers) <= MAX_OBJECTS:
            return numbers
    found: dict[object, int] = {}
    ids = []
    for place, each in enumerate(shapes):
        key = (place,) if each.group is None else (each.name, each.group)
        ids.append(found.setdefault(key, len(found) + 1))
    if len(found) > MAX_OBJECTS:
        raise MaskError(f"{len(found)} objects, expected at most {MAX_OBJECTS}")
    return ids


def picture_of(
    frame: Frame, pictures: Iterable[AnnotatedPicture], warnings: list[str]
) -> AnnotatedPicture:
    """Return the picture that shows a frame: the only one, or the one that is named like it.

    A name that ends in the frame's number counts where none is the frame's own. `warnings` receives
    a line if the only one has the number of another frame. Raises MaskError.
    """
    every = list(pictures)
    same = [picture for picture in every if picture.stem == frame.name]
    found = same or [picture for picture in every if picture.number == frame.index]
    if len(every) == 1:
        (only,) = every
        if not found and only.number is not None:
            warnings.append(f"{only.name} is taken for frame {frame.index}; see --frame")
        return only
    if len(found) != 1:
        what = f"{len(found)} such pictures" if found else f"{len(every)} pictures, none of it"
        shown = ", ".join(picture.name for picture in (found or every)[:3])
        raise MaskError(
            f"expected a picture named like frame {frame.index}, {frame.name}, found {what}"
            + (f": {shown}" if shown else "")
        )
    return found[0]


def polygon(points: Sequence[Point], where: str) -> Draw:
    """Return how to draw a closed polygon."""
    return partial(_draw_polygon, points, where)


def ellipse(middle: Point, radii: Point, where: str, degrees: float = 0) -> Draw:
    """Return how to draw an ellipse, turned clockwise by `degrees`."""
    return partial(_draw_ellipse, middle, radii, where, degrees)


def draw_mask(mask: BoolMask, corner: Point, where: str, shape: Shape) -> BoolMask:
    """Return a mask of a part of the picture, its first pixel at `corner`, as one of all of it."""
    check_near([corner], where, shape)
    left, top = round(corner[0]), round(corner[1])
    whole = np.zeros(shape, bool)
    place = whole[max(0, top) :, max(0, left) :][: mask.shape[0], : mask.shape[1]]
    if left < 0 or top < 0 or place.shape != mask.shape:
        found = f"{mask.shape[1]}x{mask.shape[0]} at {left},{top}"
        raise MaskError(f"{where}: {found} lies out of the picture of {shape[1]}x{shape[0]}")
    place[:] = mask
    return whole


def _draw_polygon(points: Sequence[Point], where: str, shape: Shape) -> BoolMask:
    if len(points) < 3:
        raise MaskError(f"{where}: expected three points or more, found {len(points)}")
    check_near(points, where, shape)
    return fill_polygon([(x - 0.5, y - 0.5) for x, y in points], shape)  # from edges to middles


def _draw_ellipse(
    middle: Point, radii: Point, where: str, degrees: float, shape: Shape
) -> BoolMask:
    check_near([middle], where, shape)
    (x, y), (across, down) = middle, radii
    return fill_ellipse((x - across, y - down, 2 * across, 2 * down), shape, degrees)


def check_near(points: Sequence[Point], where: str, shape: Shape) -> None:
    """Raise MaskError for a point far outside of the picture."""
    height, width = shape
    for x, y in points:
        if not (-width <= x <= 2 * width and -height <= y <= 2 * height):
            raise MaskError(f"{where}: {x:g},{y:g} lies far outside of {width}x{height}")
