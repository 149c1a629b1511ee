"""The trained weights that come with the program, on a clip whose truth is known."""

import copy
import tomllib
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.conftest import needs_int8
from vostool.errors import WeightsError
from vostool.evaluate.metrics import jaccard
from vostool.inference.placement import Placement
from vostool.model.checkpoint import load_stm
from vostool.model.int8 import use_int8
from vostool.model.stm import Stm
from vostool.model.weights import DEFAULT, find_weights, sha256, weights_folder
from vostool.preprocess import label_map, object_tensor, working_size
from vostool.propagation.frame_loop import propagate
from vostool.propagation.frames import Annotation
from vostool.segment.demo import BALL, KITE, render_frame

CPU = torch.device("cpu")
COUNT = 12  # frames
LAST = 0.3  # of the demo, 22 frames: the ball hops once and comes down

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def shipped() -> Stm:
    try:
        return load_stm(find_weights(DEFAULT))
    except WeightsError as error:
        pytest.skip(str(error))


def frames() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Render the beginning of the demo, about every second frame."""
    for index in range(COUNT):
        yield render_frame(LAST * index / COUNT)


@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=needs_int8)])
def test_follow_both_objects_of_the_demo(shipped: Stm, precision: str) -> None:
    if precision == "int8":
        use_int8(shipped := copy.deepcopy(shipped).requires_grad_(False))
    drawn = list(frames())
    height, width = drawn[0][1].shape
    size = working_size(height, width, shipped.settings.short_side, shipped.stride)
    ids = (BALL, KITE)
    truth = {0: Annotation(ids, object_tensor(drawn[0][1], ids, size, CPU))}
    images = (Placement(size).image(rgb, CPU) for rgb, _ in drawn)
    scores: dict[int, list[float]] = {id_: [] for id_ in ids}
    with torch.no_grad():
        for prediction, (_, labels) in zip(propagate(images, truth, shipped), drawn, strict=True):
            found = label_map(prediction.masks, prediction.ids, (height, width))
            for id_ in ids:
                scores[id_].append(jaccard(labels == id_, found == id_))
    means = {id_: sum(values[1:]) / (COUNT - 1) for id_, values in scores.items()}
    assert min(means.values()) > 0.8, means


def test_are_the_files_that_the_table_tells_of(shipped: Stm) -> None:
    table = tomllib.loads((weights_folder() / "weights.toml").read_text())
    assert table[DEFAULT] in table
    for name, entry in table.items():
        if name != DEFAULT and "sha256" in entry:
            assert sha256(find_weights(name)) == entry["sha256"], name
