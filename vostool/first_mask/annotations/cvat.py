"""CVAT for images 1.1: an XML file of pictures with polygons, boxes, ellipses and masks.

Shapes of the same label and group number are one object; those of a higher z_order are in front.
Outlines run along the edges of pixels: a box from 10 to 30 covers 20 columns, those from 10 to 29.
"""

import math
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

from vostool.datasets.coco import MAX_OUTLINE
from vostool.datasets.coco import draw_mask as draw_polygons
from vostool.errors import MaskError
from vostool.first_mask.annotations.pictures import (
    AnnotatedPicture,
    Draw,
    NamedShape,
    Point,
    Shape,
    check_near,
    draw_mask,
    ellipse,
)
from vostool.media.labels import BoolMask

WITH_AREA = ("polygon", "box", "ellipse", "mask")
WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")
MOST_DIGITS = 9  # of a run or a side


def read_cvat(path: Path, text: str) -> list[AnnotatedPicture]:
    """Return the pictures of a CVAT file that have shapes; raises MaskError, naming the entry."""
    if re.search(r"<!(DOCTYPE|ENTITY)", text, re.IGNORECASE):  # entities can grow without end
        raise MaskError(f"{path}: expected an XML file of CVAT, found a document type")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise MaskError(f"{path}: expected an XML file: {error}") from error
    images = root.findall("image")
    if root.tag != "annotations" or not images:
        kind = " for video" if root.find("track") is not None else ""
        raise MaskError(
            f"{path}: expected annotations of images, found a file of CVAT{kind}; export it as "
            "'CVAT for images 1.1'"
            if root.tag == "annotations"
            else f"{path}: expected an XML file of CVAT, <annotations>, found <{root.tag}>"
        )
    return [picture for image in images if (picture := read_picture(path, image)) is not None]


def read_picture(path: Path, image: Element) -> AnnotatedPicture | None:
    """Return a picture, None if nothing is drawn on it; raises MaskError."""
    name = image.get("name", "")
    where = f"{path}: image {name!r}"
    if not any(each.tag in WITH_AREA + WITHOUT_AREA for each in image):
        return None
    drawn = [each for each in image if each.tag in WITH_AREA]
    drawn.sort(key=lambda each: number(each, "z_order", where, 0))
    shapes = [
        NamedShape(each.get("label", ""), draw_of(each, where), group_of(each)) for each in drawn
    ]
    size = round(number(image, "height", where)), round(number(image, "width", where))
    others = sorted({each.tag for each in image} & set(WITHOUT_AREA))
    return AnnotatedPicture(name, tuple(shapes), size, tuple(others))


def group_of(shape: Element) -> str | None:
    """Return the group that a shape belongs to; None, as CVAT's group 0: to none."""
    group = shape.get("group_id", "").strip()
    return None if group in ("", "0") else group


def draw_of(shape: Element, where: str) -> Draw:
    """Return how to draw a shape; raises MaskError."""
    where = f"{where}, a {shape.tag} {shape.get('label')!r}"
    degrees = number(shape, "rotation", where, 0)
    if shape.tag == "polygon":
        return partial(draw_outline, points_of(shape, where), where)
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (number(shape, key, where) for key in ("cx", "cy", "rx", "ry"))
        return ellipse((cx, cy), (rx, ry), where, degrees)
    if shape.tag == "mask":
        return mask_of(shape, where)
    left, top, right, bottom = (number(shape, key, where) for key in ("xtl", "ytl", "xbr", "ybr"))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    middle, turn = ((left + right) / 2, (top + bottom) / 2), math.radians(degrees)
    return partial(draw_outline, [turned(corner, middle, turn) for corner in corners], where)


def draw_outline(points: Sequence[Point], where: str, shape: Shape) -> BoolMask:
    """Return the pixels whose middles are in a closed polygon; raises MaskError."""
    if len(points) < 3:
        raise MaskError(f"{where}: expected three points or more, found {len(points)}")
    check_near(points, where, shape)
    outline = sum(map(math.dist, points, [*points[1:], points[0]]))
    if outline > MAX_OUTLINE:  # pycocotools takes memory for each pixel of it
        raise MaskError(f"{where}: outline of {outline:.0f} pixels, expected {MAX_OUTLINE} at most")
    return draw_polygons([[value for point in points for value in point]], *shape)


def turned(point: Point, middle: Point, turn: float) -> Point:
    """Return a point turned about another one, clockwise, in radians."""
    x, y = point[0] - middle[0], point[1] - middle[1]
    return (
        middle[0] + x * math.cos(turn) - y * math.sin(turn),
        middle[1] + x * math.sin(turn) + y * math.cos(turn),
    )


def points_of(shape: Element, where: str) -> list[Point]:
    """Return the points of a polygon, `x,y;x,y;...`; raises MaskError."""
    points = []
    for pair in shape.get("points", "").split(";"):
        try:
            x, y = map(float, pair.split(","))
        except ValueError as error:
            raise MaskError(f"{where}: expected points x,y;x,y;..., found {pair[:40]!r}") from error
        points.append((x, y))
    return points


def mask_of(shape: Element, where: str) -> Draw:
    """Return how to draw a mask in run lengths, row by row within its box; raises MaskError."""
    left, top, width, height = (
        round(number(shape, key, where)) for key in ("left", "top", "width", "height")
    )
    texts = [text.strip() for text in shape.get("rle", "").split(",")]
    if not all(text.isdecimal() and len(text) <= MOST_DIGITS for text in texts):
        raise MaskError(f"{where}: expected run lengths as rle, 3, 5, ...")
    runs = [int(text) for text in texts]
    if width < 1 or height < 1 or sum(runs) != width * height:
        raise MaskError(
            f"{where}: expected runs of {width}x{height} pixels, found {sum(runs)} pixels"
        )
    if sum(runs) > 2**28:
        raise MaskError(f"{where}: {width}x{height} is too large for a picture")
    inside = np.arange(len(runs)) % 2 == 1
    mask = np.repeat(inside, runs).reshape(height, width)
    return partial(draw_mask, mask, (left, top), where)


def number(element: Element, key: str, where: str, default: float | None = None) -> float:
    """Return an attribute as a number; raises MaskError."""
    text = element.get(key)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MaskError(f"{where}: expected a number as {key}, found {text!r}")
    return value
