"""A network in training is scored on held-out clips as `vostool eval` would use it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import TINY
from tests.datasets.making import recipe_of, square_clip
from tests.model.published.making import STM, STM_CYCLE, export, small, write
from vostool.evaluate.metrics import score_frame
from vostool.inference.loading import load_predictor, predictor_of
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor
from vostool.inference.tracker import Tracker
from vostool.model.stm import Stm
from vostool.train.state import run_with
from vostool.train.validation import score_sequence

CPU = torch.device("cpu")
SIZE = 40  # of frames that need a border to be of multiples of 16
PUBLISHED = {"black border": STM, "box": STM_CYCLE}


def scores_of(predictor: Predictor) -> list[float]:
    """Return J and F of the clip's frames, followed frame by frame."""
    clip, tracker = square_clip(), Tracker(predictor=predictor)
    truth = clip.labels.numpy()
    found: list[float] = []
    for index, image in enumerate(clip.images):
        rgb = image.permute(1, 2, 0).contiguous().numpy()
        labels = tracker.step(rgb, truth[0] if index == 0 else None)
        if 0 < index < clip.length - 1:
            found += score_frame(truth[index], labels, (1,))[0]
    return found


@pytest.mark.parametrize("kind", PUBLISHED)
def test_published_weights_are_scored_in_training_as_their_makers_place_frames(
    kind: str, tmp_path: Path
) -> None:
    network = small(PUBLISHED[kind]).requires_grad_(False)
    weights = write(tmp_path / "w.pth", export(network))
    options = {"weights": str(weights), "size": SIZE, "device": "cpu", "precision": "fp32"}
    given = load_predictor(ModelOptions().changed(options))
    as_eval = replace(given, box=network.policy.box)
    network.memory_frames = as_eval.memory_frames
    predictor = predictor_of(network, SIZE, CPU)
    assert (predictor.border, predictor.box) == (as_eval.border, as_eval.box)
    assert (predictor.references, predictor.memory_frames) == (as_eval.references, 24)
    found = score_sequence(predictor, square_clip())
    scores = [
        value for each in found for pair in zip(each.j, each.f, strict=True) for value in pair
    ]
    assert scores == pytest.approx(scores_of(as_eval), abs=1e-3)
    (stretched,) = score_sequence(replace(predictor, border="stretch", box=None), square_clip())
    assert stretched.j != found[0].j


def test_a_network_in_training_is_validated_with_as_many_frames_as_it_advises() -> None:
    for settings, frames in ((TINY, 8), (STM, 24)):
        run = run_with(Stm(settings), recipe_of(), CPU)
        assert run.average.memory_frames == frames
