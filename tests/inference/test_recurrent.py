"""A recurrent model keeps frames at an interval of its own; those that matter, it keeps too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from tests.conftest import HEIGHT, draw
from tests.model.published.making import XMEM, export, small, write
from vostool.benchmark.timing import StageClock, timed
from vostool.errors import InputError
from vostool.inference.predictor import Predictor
from vostool.inference.tracker import Tracker

Load = Callable[..., Predictor]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    weights = write(tmp_path_factory.mktemp("published") / "xmem.pth", export(small(XMEM)))

    def make(**options: Any) -> Predictor:
        return Tracker(weights=str(weights), size=HEIGHT, device="cpu", **options).predictor

    return make


def masks_after(predictor: Predictor, repair: np.ndarray | None = None) -> np.ndarray:
    """Return the last of four masks of two objects; a repair is of the third frame."""
    tracker = Tracker(predictor=predictor)
    for index, mask in ((4, draw(4, two=True)[1]), (5, None), (6, repair), (7, None)):
        tracker.step(draw(index, two=True)[0], mask)
    return tracker.soft_masks()


@pytest.mark.parametrize("chunk", [1, 8])
def test_a_mask_of_one_of_two_objects_changes_the_frames_that_follow(
    chunk: int, load: Load
) -> None:
    predictor = load(objects_at_once=chunk)
    repair = np.zeros(draw(0)[1].shape, np.uint8)
    repair[:20, :20] = 1
    assert np.abs(masks_after(predictor, repair) - masks_after(predictor)).max() > 1e-6


def test_a_correction_for_the_memory_alone_changes_the_frames_that_follow(load: Load) -> None:
    options = {"gc_every": 2, "gc_iters": 2, "gc_length": 0.3, "gc_memory_only": True}
    found = masks_after(load(**options))
    assert np.abs(found - masks_after(load())).max() > 1e-6


def test_a_timed_recurrent_model_keeps_the_same_frames(load: Load) -> None:
    predictor = load(gc_every=2, gc_iters=2, gc_length=0.3)
    found = masks_after(timed(predictor, StageClock(predictor.device)))
    assert np.array_equal(found, masks_after(predictor))


def test_a_track_whose_memory_does_not_fit_the_network_is_an_input_error(
    load: Load, tmp_path: Path
) -> None:
    predictor, path = load(), tmp_path / "track.safetensors"
    tracker, pictures = Tracker(predictor=predictor), {0: draw(4)[0], 1: draw(5)[0]}
    for index, rgb in pictures.items():
        tracker.step(rgb, draw(4)[1] if index == 0 else None)
    tracker.save(path)
    Tracker(predictor=predictor).load(path, pictures)
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["memory.0.0.hidden"] = tensors["memory.0.0.hidden"][:, :2].clone()
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(InputError, match=r"the memory does not fit: hidden: expected 1 x 4"):
        Tracker(predictor=predictor).load(path, pictures)
