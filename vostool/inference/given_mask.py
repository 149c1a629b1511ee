"""One mask as the user gives it, a path, an array or those of single objects, as a label map.

Shapes: labels (H, W) uint8, 0 background, else an object's id.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from vostool.errors import MaskError
from vostool.inference.placement import Placement
from vostool.media.labels import MAX_OBJECTS, VOID, LabelMap, ids_in, to_labels
from vostool.media.masks import read_mask
from vostool.propagation.frames import Annotation

# the path of a mask file, or an array (H, W) of ids, 0 for the background
OneMask: TypeAlias = str | os.PathLike[str] | NDArray[Any]
# or by id such masks of single objects, the later ones in front
Mask: TypeAlias = OneMask | Mapping[int, OneMask]


def read_given(
    mask: Mask,
    height: int,
    width: int,
    *,
    name: str,
    strict: bool = True,
    known: Collection[int] = (),
    allow_empty: bool = False,
    threshold: float | None = None,
    warnings: list[str] | None = None,
) -> LabelMap:
    """Return the objects of a mask for frames of a size, (H, W), from a file or an array.

    An array is read like the grey image of its values, see `to_labels`: ids, or an object in white
    or True. Where it has none but `known` objects, it is not suspected of being smoothed.
    Raises MaskError, with `name` for an array, if it does not fit or shows no object.
    """
    if isinstance(mask, Mapping):
        read = partial(read_given, height=height, width=width, strict=strict, threshold=threshold)
        names = {
            id_: f"{name}, object {id_}" if isinstance(each, np.ndarray) else str(each)
            for id_, each in mask.items()
        }
        objects = (
            (id_, names[id_], read(each, name=names[id_], allow_empty=True, warnings=warnings))
            for id_, each in mask.items()
        )
        whole = put_together(objects, np.zeros((height, width), np.uint8), warnings)
        if not allow_empty and not whole.any():
            raise MaskError(f"{name}: expected at least one object, all is background")
        return whole
    if not isinstance(mask, np.ndarray):
        return read_mask(Path(mask), width, height, allow_empty, strict, threshold, warnings)
    if mask.shape != (height, width):
        raise MaskError(f"{name}: expected an array {(height, width)}, found {mask.shape}")
    if mask.dtype.kind not in "bui":
        raise MaskError(f"{name}: expected whole numbers, found {mask.dtype}")
    if mask.min() < 0 or mask.max() > VOID:
        raise MaskError(f"{name}: values {mask.min()} to {mask.max()}, expected ids 0 to 254")
    values = mask.astype(np.uint8)
    strict = strict and not set(ids_in(values)) <= set(known)
    found: list[str] = []
    try:
        labels = to_labels(Image.fromarray(values), strict, found)
    except MaskError as error:
        raise MaskError(f"{name}: {error}") from error
    if warnings is not None:
        warnings += [f"{name}: {warning}" for warning in found]
    if not allow_empty and not labels.any():
        raise MaskError(f"{name}: expected at least one object, all is background")
    return labels


def parts_of(mask: Mask) -> tuple[OneMask, ...]:
    """Return the masks of single objects that make up one, or the one."""
    return tuple(mask.values()) if isinstance(mask, Mapping) else (mask,)


def put_together(
    objects: Iterable[tuple[int, str, LabelMap]], whole: LabelMap, warnings: list[str] | None
) -> LabelMap:
    """Paint the masks (H, W) of single objects, by id and name, over a label map; return that.

    Later ones are in front. Raises MaskError for a mask that shows several objects, and for an id
    that cannot be.
    """
    for id_, name, labels in objects:
        if not 1 <= id_ <= MAX_OBJECTS:
            raise MaskError(f"{name}: object {id_}: expected an id from 1 to {MAX_OBJECTS}")
        if len(found := ids_in(labels)) > 1:
            raise MaskError(f"{name}: expected object {id_} alone, found {len(found)} objects")
        hidden = np.count_nonzero(whole[labels > 0])
        if hidden and warnings is not None:
            warnings.append(f"{name}: object {id_} covers {hidden} pixels of the others")
        whole[labels > 0] = id_
    return whole


def digest(labels: LabelMap, absent: Collection[int] = ()) -> str:
    """Return a hash of what a mask says: a label map, and the objects known not to be there."""
    return hashlib.sha256(labels.tobytes() + bytes(sorted(absent))).hexdigest()


def annotation_of(labels: LabelMap, place: Placement, device: torch.device) -> Annotation:
    """Return a given mask as an annotation in the network's input."""
    ids = ids_in(labels)
    return Annotation(ids, place.objects(labels, ids, device))


def put_over(labels: LabelMap, given: LabelMap | None) -> LabelMap:
    """Return labels with the objects of a given mask, if there is one, exactly as given."""
    if given is None:
        return labels
    others = np.where(np.isin(labels, ids_in(given)), 0, labels)
    return np.where(given > 0, given, others).astype(np.uint8)
