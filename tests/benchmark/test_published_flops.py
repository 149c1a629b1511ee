"""A frame's FLOPs count what memorising takes as often as it happens."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.model.published.making import STCN, XMEM, small
from vostool.benchmark.flops import frame_cost, frame_flops
from vostool.benchmark.report import BenchClip
from vostool.inference.predictor import Predictor
from vostool.propagation.references import EVERY_FRAME, References

CPU = torch.device("cpu")
SIZE = (32, 48)


@pytest.fixture(scope="module", params=["stcn", "xmem"])
def network(request: pytest.FixtureRequest) -> Any:
    return small(STCN if request.param == "stcn" else XMEM).requires_grad_(False)


def predictor_with(network: Any, every: int) -> Predictor:
    """Return a predictor that keeps a frame in so many, without the previous one."""
    if hasattr(network, "memory_every"):
        network.memory_every, references = every, EVERY_FRAME
    else:
        references = References(previous=False, every=every)
    return Predictor(network, None, CPU, torch.float32, 32, references, memory_frames=10)


@torch.no_grad()
def test_a_frame_that_does_not_stay_costs_nothing_to_memorise(network: Any) -> None:
    features, masks = network.encode(torch.rand(1, 3, *SIZE)), torch.full((1, 3, *SIZE), 1 / 3)
    with FlopCounterMode(display=False) as counter:
        network.memorize(features, masks)
    memorising = counter.get_total_flops()
    always, seldom = (
        frame_flops(predictor_with(network, every), SIZE, 2, remembered=1) for every in (1, 5)
    )
    assert memorising > 0
    assert always - seldom == pytest.approx(memorising * 4 / 5, rel=1e-6)


def test_the_frames_that_a_clip_comes_to_remember_are_those_that_stay(network: Any) -> None:
    clip = BenchClip(video=None, width=48, height=32, frames=17, objects=1)
    assert frame_cost(predictor_with(network, 5), clip).remembered == 4  # 0, 5, 10, 15
