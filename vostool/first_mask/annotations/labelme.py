"""labelme: a JSON file beside its picture, with polygons, rectangles, circles and masks.

Shapes of the same label and group number are one object. An outline covers the pixels that it
passes through, as labelme itself draws it. X-AnyLabeling writes such files too, with rectangles of
four corners, turned or not.
"""

import base64
import math
from functools import partial
from pathlib import Path, PurePath
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vostool.errors import MaskError
from vostool.files.documents import problem
from vostool.first_mask.annotations.pictures import (
    AnnotatedPicture,
    Draw,
    NamedShape,
    draw_mask,
    ellipse,
    polygon,
)
from vostool.media.image import decode_grey
from vostool.media.labels import BoolMask

Finite = Annotated[float, Field(allow_inf_nan=False)]
# how many points a kind of shape may have; of a polygon three or more
POINTS = {"polygon": (), "rectangle": (2, 4), "rotation": (4,), "circle": (2,), "mask": (2,)}


class Entry(BaseModel):
    """A shape as labelme writes it."""

    model_config = ConfigDict(strict=True, frozen=True)

    label: str
    points: list[tuple[Finite, Finite]]
    shape_type: str | None = None  # of old files: a polygon
    group_id: int | str | None = None
    mask: str | None = None  # a PNG in base 64, within the corners that `points` are

    @property
    def kind(self) -> str:
        """What kind of shape it is."""
        return self.shape_type or "polygon"


class File(BaseModel):
    """What is read of a labelme file."""

    model_config = ConfigDict(strict=True, frozen=True)

    shapes: list[Entry]
    imagePath: str | None = None
    imageHeight: int | None = None
    imageWidth: int | None = None


def read_labelme(path: Path, text: str) -> list[AnnotatedPicture]:
    """Return the picture of a labelme file; raises MaskError, naming file and entry."""
    try:
        file = File.model_validate_json(text)
    except ValidationError as error:
        raise MaskError(f"{path}: expected a labelme file: {problem(error)}") from error
    known = [(place, each) for place, each in enumerate(file.shapes) if each.kind in POINTS]
    shapes = [
        NamedShape(each.label, draw_of(each, f"{path}: shapes.{place}"), each.group_id)
        for place, each in known
    ]
    others = sorted({each.kind for each in file.shapes} - POINTS.keys())
    both = file.imageHeight is not None and file.imageWidth is not None
    size = (file.imageHeight or 0, file.imageWidth or 0) if both else None
    name = PurePath(file.imagePath or path.name).name
    return [AnnotatedPicture(name, tuple(shapes), size, tuple(others))]


def draw_of(entry: Entry, where: str) -> Draw:
    """Return how to draw a shape; raises MaskError."""
    where = f"{where}, a {entry.kind} {entry.label!r}"
    expected, points = POINTS[entry.kind], entry.points
    if expected and len(points) not in expected:
        counts = " or ".join(map(str, expected))
        raise MaskError(f"{where}: expected {counts} points, found {len(points)}")
    if not expected or len(points) == 4:
        return polygon(points, where)
    first, second = points
    if entry.kind == "rectangle":
        return polygon([first, (second[0], first[1]), second, (first[0], second[1])], where)
    if entry.kind == "circle":  # its middle and a point on it
        radius = math.dist(first, second)
        return ellipse(first, (radius, radius), where)
    return partial(draw_mask, decode_mask(entry.mask or "", where), first, where)


def decode_mask(text: str, where: str) -> BoolMask:
    """Return the mask of a PNG in base 64; raises MaskError."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise MaskError(f"{where}: expected a PNG in base 64 as mask: {error}") from error
    return decode_grey(content, where, MaskError) > 0
