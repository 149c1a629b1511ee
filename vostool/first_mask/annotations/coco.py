"""COCO: a JSON file of pictures with polygons and masks in run lengths."""

from functools import partial
from pathlib import Path

from vostool.datasets.coco import Annotation, Picture, draw_mask, read_coco
from vostool.errors import InputError, MaskError
from vostool.first_mask.annotations.pictures import AnnotatedPicture, NamedShape, Shape
from vostool.media.labels import MAX_OBJECTS, BoolMask


def read_coco_file(path: Path) -> list[AnnotatedPicture]:
    """Return the pictures of a COCO file that have objects; raises MaskError, naming the entry.

    Crowds are no objects. Objects are numbered in the order of their annotations' ids; smaller ones
    are in front.
    """
    try:
        return [to_picture(picture) for picture in read_coco(path, 0, MAX_OBJECTS)]
    except InputError as error:
        raise MaskError(str(error)) from error


def to_picture(picture: Picture) -> AnnotatedPicture:
    """Return a picture with its objects, the largest at the back."""
    ids = sorted((each.id for each in picture.objects), key=lambda id_: (isinstance(id_, str), id_))
    shapes = tuple(
        NamedShape(str(1 + ids.index(each.id)), partial(draw, each)) for each in picture.objects
    )
    return AnnotatedPicture(picture.file_name, shapes, (picture.height, picture.width))


def draw(annotation: Annotation, shape: Shape) -> BoolMask:
    """Return the mask of an object, checked before."""
    return draw_mask(annotation.segmentation, *shape)
