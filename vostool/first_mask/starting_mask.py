"""A mask to start from, of any kind: an image, or the file of an annotation tool.

The kind is recognised by content, never by the file's name.
"""

import json
from pathlib import Path

from vostool.errors import MaskError, UsageError
from vostool.files import read_text
from vostool.first_mask.annotations.coco import read_coco_file
from vostool.first_mask.annotations.cvat import read_cvat
from vostool.first_mask.annotations.labelme import read_labelme
from vostool.first_mask.annotations.pictures import (
    AnnotatedObjects,
    AnnotatedPicture,
    draw_picture,
    picture_of,
)
from vostool.media.frame import Frame
from vostool.media.masks import read_mask

BEGINNING = 64  # bytes that tell text from an image


def read_starting_mask(
    path: Path, frame: Frame, threshold: float | None, warnings: list[str]
) -> AnnotatedObjects:
    """Return the objects of a frame from a mask image (`read_mask`), labelme, CVAT or COCO.

    `threshold` is for a soft mask of one object. `warnings` receives what may be wrong.
    Raises MaskError for what cannot be read or does not fit the frame, UsageError for a threshold
    where there is nothing soft.
    """
    height, width = frame.rgb.shape[:2]
    kind = first_character(path)
    if kind not in ("{", "[", "<"):
        labels = read_mask(path, width, height, threshold=threshold, warnings=warnings)
        return AnnotatedObjects(labels, {})
    if threshold is not None:
        raise UsageError(f"--threshold {threshold:g}: {path} has outlines, expected a soft mask")
    pictures = read_pictures(path, kind)
    try:
        doubts: list[str] = []
        picture = picture_of(frame, pictures, doubts)
        found = draw_picture(picture, (height, width))
    except MaskError as error:
        words = str(error)
        raise MaskError(words if words.startswith(f"{path}:") else f"{path}: {words}") from error
    warnings += [f"{path}: {doubt}" for doubt in doubts]
    if picture.skipped:
        left_out = ", ".join(picture.skipped)
        warnings.append(f"{path}: shapes without an area are left out: {left_out}")
    if not found.labels.any():
        raise MaskError(f"{path}: expected at least one object, all is background")
    return found


def first_character(path: Path) -> str:
    """Return the first character of a text file that is no space; "" of other files."""
    if not path.is_file():
        return ""  # the reader of images says what is wrong
    try:
        with path.open("rb") as file:
            return file.read(BEGINNING).decode("utf-8-sig", "replace").lstrip()[:1]
    except OSError:
        return ""


def read_pictures(path: Path, kind: str) -> list[AnnotatedPicture]:
    """Return the pictures of an annotation file that begins with a character; raises MaskError."""
    text = read_text(path, "an annotation file", MaskError)
    if kind == "<":
        return read_cvat(path, text)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MaskError(f"{path}: cannot be read as JSON: {error}") from error
    keys = content.keys() if isinstance(content, dict) else ()
    if "shapes" in keys:
        return read_labelme(path, text)
    if "images" in keys and "annotations" in keys:
        return read_coco_file(path)
    raise MaskError(
        f"{path}: expected a JSON file of labelme (with shapes) or COCO (with images and "
        "annotations), found neither"
    )
