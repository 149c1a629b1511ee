"""Scores of a network in training on the clips held out, as `vostool eval` would give them."""

import math
from collections.abc import Sequence
from typing import Any

import torch

from vostool.datasets.sequences import InMemory
from vostool.evaluate.metrics import score_frame
from vostool.evaluate.results import ObjectScores, summary
from vostool.media.labels import ids_in
from vostool.model.interface import Segmenter
from vostool.preprocess import label_map, object_tensor, resize, working_size
from vostool.propagation.frame_loop import propagate
from vostool.propagation.frames import Annotation


@torch.no_grad()
def validate(
    network: Segmenter[Any, Any], sequences: Sequence[InMemory], size: int, device: torch.device
) -> float:
    """Return the mean J&F over the objects of whole clips, first and last frame left out."""
    scores = [
        score for sequence in sequences for score in score_sequence(network, sequence, size, device)
    ]
    return summary(scores)["J&F-Mean"] if scores else math.nan


def score_sequence(
    network: Segmenter[Any, Any], sequence: InMemory, size: int, device: torch.device
) -> list[ObjectScores]:
    """Score each object of the first frame on the annotated frames, as `vostool eval` does."""
    truth = sequence.labels.numpy()
    height, width = truth.shape[1:]
    small = working_size(height, width, size, network.stride)
    ids = ids_in(truth[0])
    given = {0: Annotation(ids, object_tensor(truth[0], ids, small, device))}
    images = (resize(image[None], small).float().to(device) / 255 for image in sequence.images)
    scores: list[list[tuple[float, float]]] = []  # frame by frame, of each object J and F
    for index, prediction in enumerate(propagate(images, given, network)):
        if index in sequence.annotated and 0 < index < sequence.length - 1:
            labels = label_map(prediction.masks, prediction.ids, (height, width))
            scores.append(score_frame(truth[index], labels, ids))
    return [
        ObjectScores(j=[j for j, _ in values], f=[f for _, f in values])
        for values in zip(*scores, strict=True)
    ]
