"""A rough mask drawn tighter by the network that will follow it.

The network remembers the frame with the rough mask, and then segments the same frame from that
memory: what it reads there is the shape that it takes the mask for. It sees the surroundings of
an object alone, enlarged to the size that it works at: in a whole frame a small object has too few
pixels for an outline.
"""

import cv2
import numpy as np
import torch

from vostool.device import oom_as_device_error
from vostool.errors import MaskError
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import annotation_of
from vostool.media.frame import Rgb
from vostool.media.labels import BoolMask, LabelMap, ids_in
from vostool.model.aggregate import aggregate
from vostool.preprocess import label_map

MARGIN = 0.25  # of the longer side of an object's box, on each side of it
LEAST_MARGIN = 16  # pixels


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
        place = surroundings(rough)
        seen = np.zeros_like(rough)
        seen[place] = read(predictor, rgb[place], labels[place]) == id_
        # no pixel that an object before it has
        snapped[(seen if seen.any() else rough) & (snapped == 0)] = id_
    return snapped


def read(predictor: Predictor, rgb: Rgb, labels: LabelMap) -> LabelMap:
    """Return the objects of a picture as the network sees them, once it remembers their masks."""
    device, segmenter, ids = predictor.device, predictor.segmenter, ids_in(labels)
    height, width = labels.shape
    rgb = np.require(rgb, requirements=["C", "W"])  # as PyTorch needs it
    place = predictor.placement(height, width)
    with oom_as_device_error(device):
        features = segmenter.encode(place.image(rgb, device))
        masks = annotation_of(labels, place, device).masks(ids)
        memory = segmenter.memorize(features, masks, annotated=True)
        seen = aggregate(segmenter.segment(features, memory))
        return label_map(place.padding.crop(seen), ids, (height, width))


def surroundings(mask: BoolMask) -> tuple[slice, slice]:
    """Return the rows and columns of a mask's box, and of a margin around it within the frame."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    margin = max(LEAST_MARGIN, round(MARGIN * max(width, height)))
    return (
        slice(max(0, top - margin), top + height + margin),
        slice(max(0, left - margin), left + width + margin),
    )


def _size(picture: LabelMap) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
