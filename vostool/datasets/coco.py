"""Objects of a COCO file, checked before anything is drawn.

pycocotools trusts what it is given, and a file with a wrong number can make it crash or take
all memory; so it is given polygons of a bounded length inside a picture of a bounded size, and
nothing else. Masks in run lengths are drawn here.

Shapes: a picture is H x W pixels; labels (H, W), uint8.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Annotated, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from vostool.errors import InputError
from vostool.files import read_text
from vostool.files.documents import problem
from vostool.media.image import MAX_PIXELS

MAX_OUTLINE = 1_000_000  # pixels; pycocotools makes about 100 bytes of each

Side = Annotated[int, Field(ge=1, le=2**16)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Polygon = Annotated[list[Finite], Field(min_length=6)]


class Checked(BaseModel):
    """Values of the types that they should be, nothing else taken for them."""

    model_config = ConfigDict(strict=True, frozen=True)


Entry = TypeVar("Entry", bound=Checked)


class Runs(Checked):
    """A mask in run lengths, of background and object in turn, down the columns."""

    size: tuple[Side, Side] = Field(strict=False)  # height, width
    counts: list[Annotated[int, Field(ge=0)]] | str

    def lengths(self) -> list[int]:
        """Return the run lengths; raises ValueError if they do not fill the picture."""
        counts = decode_counts(self.counts) if isinstance(self.counts, str) else self.counts
        if min(counts, default=0) < 0 or sum(counts) != math.prod(self.size):
            raise ValueError(f"expected counts of {math.prod(self.size)} pixels in all")
        return counts


Segmentation = Annotated[
    Annotated[list[Polygon], Tag("polygons")] | Annotated[Runs, Tag("runs")],
    Discriminator(lambda value: "runs" if isinstance(value, dict | Runs) else "polygons"),
]


class Annotation(Checked):
    """An object of a picture."""

    id: int | str
    area: Finite
    segmentation: Segmentation


class Picture(Checked):
    """A picture, and its objects, the largest first."""

    id: int | str
    file_name: str
    height: Side
    width: Side
    objects: tuple[Annotation, ...] = ()

    @model_validator(mode="after")
    def check(self) -> Self:
        """Raise ValueError for a picture that is too large, or lies elsewhere."""
        if self.height * self.width > MAX_PIXELS:
            raise ValueError(f"expected at most {MAX_PIXELS} pixels")
        path = PurePath(self.file_name)
        if path.is_absolute() or ".." in path.parts or "\0" in self.file_name:
            raise ValueError("expected a file_name inside of the folder of pictures")
        return self

    def draw(self) -> NDArray[np.uint8]:
        """Return the objects as labels 1, 2, ..., the smaller in front, (H, W)."""
        labels = np.zeros((self.height, self.width), np.uint8)
        for id_, entry in enumerate(self.objects, start=1):
            labels[draw_mask(entry.segmentation, self.height, self.width)] = id_
        return labels


def read_coco(path: Path, min_area: float, most: int) -> Iterator[Picture]:
    """Yield the pictures of a COCO file with those objects, at most `most`, that are not crowds.

    An object counts from `min_area` pixels on. Raises InputError, naming file and entry, for
    what is no COCO file.
    """
    try:
        content = json.loads(read_text(path))
        images = {image["id"]: image for image in content.get("images", [])}
        entries = content.get("annotations", [])
        if not isinstance(entries, list):
            raise TypeError("annotations are no list")
        numbers = sorted(images)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as a COCO file: {error!r}") from error
    kept: dict[Any, list[Any]] = defaultdict(list)
    for place, entry in enumerate(entries):
        try:
            if not entry.get("iscrowd") and not entry["area"] < min_area:
                kept[entry["image_id"]].append(entry)
        except (KeyError, TypeError, AttributeError) as error:
            name = entry.get("id") if isinstance(entry, dict) else f"number {place}"
            raise InputError(f"{path}: annotation {name}: {error!r}") from error
    del content, entries
    for number in numbers:
        if number not in kept:
            continue
        picture = checked(Picture, f"{path}: image {number}", images[number])
        objects = []
        for entry in kept.pop(number):
            where = f"{path}: annotation {entry.get('id')}"
            objects.append(checked(Annotation, where, entry))
            check_shape(where, objects[-1].segmentation, picture)
        largest = sorted(objects, key=lambda entry: -entry.area)[:most]
        yield picture.model_copy(update={"objects": tuple(largest)})


def checked(kind: type[Entry], where: str, entry: Any) -> Entry:
    """Return an entry as what it should be; raises InputError."""
    try:
        return kind.model_validate(entry)
    except ValidationError as error:
        raise InputError(f"{where}: {problem(error)}") from error


def check_shape(where: str, segmentation: list[list[float]] | Runs, picture: Picture) -> None:
    """Raise InputError for a mask that cannot be one of this picture."""
    height, width = picture.height, picture.width
    if isinstance(segmentation, Runs):
        if segmentation.size != (height, width):
            found = "{1}x{0}".format(*segmentation.size)
            raise InputError(f"{where}: expected the size {width}x{height}, found {found}")
        try:
            segmentation.lengths()
        except ValueError as error:
            raise InputError(f"{where}: {error}") from error
        return
    if not segmentation:
        raise InputError(f"{where}: expected a polygon, found none")
    outline = 0.0
    for polygon in segmentation:
        if len(polygon) % 2:
            raise InputError(
                f"{where}: expected x and y of each corner, found {len(polygon)} in all"
            )
        corners = np.reshape(polygon, (-1, 2))
        if (corners < (-width, -height)).any() or (corners > (2 * width, 2 * height)).any():
            raise InputError(f"{where}: polygon lies far outside of its picture")
        outline += np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum()
    if outline > MAX_OUTLINE:
        raise InputError(
            f"{where}: outline of {outline:.0f} pixels, expected {MAX_OUTLINE} at most"
        )


def draw_mask(segmentation: list[list[float]] | Runs, height: int, width: int) -> NDArray[np.bool_]:
    """Return a checked mask, (H, W)."""
    if isinstance(segmentation, Runs):
        lengths = segmentation.lengths()
    else:
        runs = mask.merge(mask.frPyObjects(segmentation, height, width))
        lengths = decode_counts(runs["counts"].decode())
    inside = np.arange(len(lengths)) % 2 == 1
    return np.repeat(inside, lengths).reshape(width, height).T


def decode_counts(text: str) -> list[int]:
    """Return the run lengths of a string of COCO: five bits a character, lowest first.

    From the third on a run is the difference to the one before the last. Raises ValueError.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 60:
            raise ValueError("expected counts as COCO encodes them")
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:  # the last of this run; its highest bit is the sign
            value -= (code & 16) << 1 << (shift - 5)
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("expected counts as COCO encodes them, found the start of one")
    return counts
