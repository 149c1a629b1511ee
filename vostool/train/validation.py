"""Scores of a network in training on the clips held out, as `vostool eval` would give them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vostool.datasets.sequences import InMemory
from vostool.evaluate.metrics import score_frame
from vostool.evaluate.results import ObjectScores, summary
from vostool.inference.loading import predictor_of
from vostool.inference.predictor import Predictor
from vostool.inference.tracker import Tracker
from vostool.media.labels import ids_in
from vostool.model.interface import Segmenter
from vostool.preprocess import label_map


@torch.no_grad()
def validate(
    network: Segmenter[Any, Any], sequences: Sequence[InMemory], size: int, device: torch.device
) -> float:
    """Return the mean J&F over the objects of whole clips, first and last frame left out.

    Frames have a short side of `size`, and are otherwise used as the network advises.
    """
    predictor = predictor_of(network, size, device)
    scores = [score for sequence in sequences for score in score_sequence(predictor, sequence)]
    return summary(scores)["J&F-Mean"] if scores else math.nan


def score_sequence(predictor: Predictor, sequence: InMemory) -> list[ObjectScores]:
    """Score each object of the first frame on the annotated frames, as `vostool eval` does."""
    truth, tracker = sequence.labels.numpy(), Tracker(predictor=predictor)
    ids = ids_in(truth[0])
    scores: list[list[tuple[float, float]]] = []  # frame by frame, of each object J and F
    for index, image in enumerate(sequence.images):
        rgb = np.ascontiguousarray(image.permute(1, 2, 0).numpy())
        prediction = tracker.advance(rgb, truth[0] if index == 0 else None)
        if tracker.lowered:  # the score of smaller frames is not that of these
            raise torch.OutOfMemoryError("out of memory in validation")
        if index in sequence.annotated and 0 < index < sequence.length - 1:
            labels = label_map(prediction.masks, prediction.ids, truth.shape[1:])
            scores.append(score_frame(truth[index], labels, ids))
    return [
        ObjectScores(j=[j for j, _ in values], f=[f for _, f in values])
        for values in zip(*scores, strict=True)
    ]
