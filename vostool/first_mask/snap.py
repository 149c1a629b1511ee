"""A rough mask drawn tighter by the network that will follow it.

The network remembers the frame with the rough mask, and then segments the same frame from that
memory: what it reads there is the shape that it takes the mask for.
"""

import numpy as np
import torch

from vostool.device import oom_as_device_error
from vostool.errors import MaskError
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import annotation_of
from vostool.media.frame import Rgb
from vostool.media.labels import LabelMap, ids_in
from vostool.model.aggregate import aggregate
from vostool.preprocess import label_map


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
    device, segmenter = predictor.device, predictor.segmenter
    height, width = rgb.shape[:2]
    rgb = np.require(rgb, requirements=["C", "W"])  # as PyTorch needs it
    place = predictor.placement(height, width)
    with oom_as_device_error(device):
        features = segmenter.encode(place.image(rgb, device))
        masks = annotation_of(labels, place, device).masks(ids)
        memory = segmenter.memorize(features, masks, annotated=True)
        read = aggregate(segmenter.segment(features, memory))
        snapped = label_map(place.padding.crop(read), ids, (height, width))
    for id_ in set(ids) - set(ids_in(snapped)):
        snapped[labels == id_] = id_
    return snapped


def _size(picture: LabelMap) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
