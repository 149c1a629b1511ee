"""Shapes given as text, `ID:x,y,...`, and painted over one another.

Shapes: rgb (H, W, 3), uint8; labels (H, W), uint8.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np

from vostool.errors import UsageError
from vostool.first_mask.grabcut import cut_box
from vostool.first_mask.outlines import check_within, fill_ellipse, fill_polygon
from vostool.media.frame import Rgb
from vostool.media.labels import MAX_OBJECTS, BoolMask, LabelMap

Kind = Literal["polygon", "box", "ellipse"]
KINDS: tuple[Kind, ...] = get_args(Kind)
FORMS = {
    "polygon": "ID:x,y,x,y,x,y,... with three corners or more",
    "box": "ID:x,y,w,h",
    "ellipse": "ID:x,y,w,h",
}


@dataclass(frozen=True)
class Drawing:
    """A shape that belongs to an object, in pixels of the frame."""

    kind: Kind
    id: int
    numbers: tuple[float, ...]  # x, y of each corner of a polygon; else x, y, width, height

    @classmethod
    def parse(cls, kind: Kind, text: str) -> Self:
        """Read a shape from `ID:x,y,...`; raises UsageError."""
        id_, _, rest = text.partition(":")
        try:
            numbers = tuple(float(number) for number in rest.split(","))
        except ValueError:
            numbers = ()
        drawing = cls(kind, int(id_) if id_.isdecimal() and len(id_) < 4 else 0, numbers)
        if not 1 <= drawing.id <= MAX_OBJECTS:
            words = f"expected an id from 1 to {MAX_OBJECTS} and a colon first"
            raise UsageError(f"--{kind} {text[:80]}: {words}, {FORMS[kind]}")
        if not drawing._is_well_formed:
            raise UsageError(f"--{kind} {text[:80]}: expected {FORMS[kind]}, all numbers")
        return drawing

    def __str__(self) -> str:
        numbers = ",".join(f"{number:g}" for number in self.numbers)
        return f"--{self.kind} {self.id}:{numbers}"

    @property
    def _is_well_formed(self) -> bool:
        if not all(map(math.isfinite, self.numbers)):
            return False
        if self.kind == "polygon":
            return len(self.numbers) >= 6 and len(self.numbers) % 2 == 0
        return len(self.numbers) == 4 and min(self.numbers[2:]) > 0

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        """The corners of a polygon, or of the box, (x, y) each."""
        if self.kind == "polygon":
            return tuple(zip(self.numbers[::2], self.numbers[1::2], strict=True))
        x, y, width, height = self.numbers
        return (x, y), (x + width, y), (x + width, y + height), (x, y + height)

    def check_within(self, width: int, height: int) -> None:
        """Raise UsageError for a shape that is not in a frame; x may be its width, as an edge."""
        check_within(self.corners, (height, width), _shorten(str(self)))

    def draw(self, rgb: Rgb) -> BoolMask:
        """Return the shape's pixels, (H, W), of a box those of the object in it.

        Raises MaskError where GrabCut finds no object.
        """
        if self.kind == "polygon":
            return fill_polygon(self.corners, (rgb.shape[0], rgb.shape[1]))
        x, y, width, height = self.numbers
        if self.kind == "ellipse":
            return fill_ellipse((x, y, width, height), (rgb.shape[0], rgb.shape[1]))
        # halves up, as everywhere; a side is never rounded away
        left, top, right, bottom = (math.floor(s + 0.5) for s in (x, y, x + width, y + height))
        return cut_box(rgb, (left, top, max(1, right - left), max(1, bottom - top)))


def paint(drawings: Iterable[Drawing], rgb: Rgb, labels: LabelMap, warnings: list[str]) -> LabelMap:
    """Return labels with shapes painted over them, in their order; those of one id add up.

    `warnings` receives a line for each shape that covers no pixel, and each object that the shapes
    after it hide. Raises UsageError for a shape out of the frame, MaskError as `Drawing.draw`.
    """
    painted = labels.copy()
    chosen = list(drawings)
    for drawing in chosen:
        drawing.check_within(rgb.shape[1], rgb.shape[0])
    for drawing in chosen:
        mask = drawing.draw(rgb)
        if not mask.any():
            warnings.append(f"{drawing}: covers the middle of no pixel")
        painted[mask] = drawing.id
    hidden = {drawing.id for drawing in chosen} - set(np.unique(painted).tolist())
    warnings += [f"object {id_}: later shapes hide all of it" for id_ in sorted(hidden)]
    return painted


def _shorten(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
