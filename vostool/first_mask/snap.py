"""A rough mask drawn tighter by the network that will follow it.

The network remembers the frame with the rough mask, and then segments the same frame from that
memory: what it reads there is the shape that it takes the mask for. It sees the surroundings of
an object alone, enlarged to the size that it works at: in a whole frame a small object has too few
pixels for an outline. The mean of several such views counts (`tests/bench/README.md`).
"""

from dataclasses import replace

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from vostool.device import oom_as_device_error
from vostool.errors import MaskError
from vostool.inference.given_mask import annotation_of
from vostool.inference.predictor import Predictor
from vostool.media.frame import Rgb
from vostool.media.labels import BoolMask, LabelMap, ids_in
from vostool.model.aggregate import aggregate

MARGINS = (0.1, 0.25)  # of the longer side of an object's box, on each side of it
LEAST_MARGIN = 16  # pixels
SIZE = 240  # short side of a view in the network's input, at most: larger objects look strange


@torch.no_grad()
def snap(predictor: Predictor, rgb: Rgb, labels: LabelMap) -> LabelMap:
    """Return the objects of a frame (H, W, 3) as the network sees those of a rough mask (H, W).

    An object that the network does not see at all stays as it was drawn.
    Raises MaskError for a mask that is empty or of another size, DeviceError if the device runs
    out of memory.
    """
    if labels.shape != rgb.shape[:2]:
        raise MaskError(f"mask is {_size(labels)}, its frame is {_size(rgb)}")
    ids = ids_in(labels)
    if not ids:
        raise MaskError("mask to snap: expected at least one object, all is background")
    snapped = np.zeros_like(labels)
    for id_ in ids:
        rough = labels == id_
        seen = probability(predictor, rgb, labels, id_) > 0.5
        # no pixel that an object before it has
        snapped[(seen if seen.any() else rough) & (snapped == 0)] = id_
    return snapped


def probability(predictor: Predictor, rgb: Rgb, labels: LabelMap, id_: int) -> NDArray[np.float32]:
    """Return how probable each pixel (H, W) is to be of an object, the mean of all views of it.

    They are its surroundings of every margin, as they are and mirrored.
    """
    total = np.zeros(labels.shape, np.float32)
    for margin in MARGINS:
        place = surroundings(labels == id_, margin)
        for step in (1, -1):
            seen = read(predictor, rgb[place][:, ::step], labels[place][:, ::step], id_)
            total[place] += seen[:, ::step]
    return np.asarray(total / (2 * len(MARGINS)), np.float32)


def read(predictor: Predictor, rgb: Rgb, labels: LabelMap, id_: int) -> NDArray[np.float32]:
    """Return the probability of an object in a picture, once the network remembers its mask."""
    device, segmenter, ids = predictor.device, predictor.segmenter, ids_in(labels)
    height, width = labels.shape
    rgb = np.require(rgb, requirements=["C", "W"])  # as PyTorch needs it
    place = replace(predictor, size=min(predictor.size, SIZE)).placement(height, width)
    with oom_as_device_error(device):
        features = segmenter.encode(place.image(rgb, device))
        masks = annotation_of(np.ascontiguousarray(labels), place, device).masks(ids)
        memory = segmenter.memorize(features, masks, annotated=True)
        seen = aggregate(segmenter.segment(features, memory))
        return place.soft_masks(seen, (height, width))[1 + ids.index(id_)]


def surroundings(mask: BoolMask, share: float) -> tuple[slice, slice]:
    """Return the rows and columns of a mask's box, and of a margin around it within the frame.

    The margin is a share of the box's longer side.
    """
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    margin = max(LEAST_MARGIN, round(share * max(width, height)))
    return (
        slice(max(0, top - margin), top + height + margin),
        slice(max(0, left - margin), left + width + margin),
    )


def _size(picture: LabelMap) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
