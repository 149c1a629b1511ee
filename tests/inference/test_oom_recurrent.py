"""What a memory holds beside frames is carried over when the device runs out of memory."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.conftest import HEIGHT, TINY, ColourSegmenter, draw
from tests.model.published.making import XMEM, export, small, write
from vostool.inference.oom import Limits, carried_of
from vostool.inference.predictor import Predictor
from vostool.inference.tracker import Tracker
from vostool.media.frame import Rgb
from vostool.model.context_memory import ContextMemory
from vostool.model.published.xmem import Xmem, XmemMemory
from vostool.model.stm import Stm, StmMemory

CPU = torch.device("cpu")
OBJECTS = 5  # in two chunks 3 and 2, in three 2, 2 and 1: those of one are not parts of the other's


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("published")
    return str(write(folder / "xmem.pth", export(small(XMEM))))


def frame(index: int) -> Rgb:
    return draw(4 + index, two=True)[0]


def first_mask() -> Any:
    """Return a mask of objects side by side."""
    labels = draw(4)[1] * 0
    for id_ in range(OBJECTS):
        labels[8:40, 12 * id_ : 12 * id_ + 10] = id_ + 1
    return labels


def load(weights: str, objects_at_once: int, memory_frames: int = 3) -> Tracker:
    """Return XMem with a long-term memory that is filled after a few frames."""
    tracker = Tracker(
        weights=weights,
        size=HEIGHT,
        device="cpu",
        precision="fp32",
        memory_every=1,
        memory_frames=memory_frames,
        objects_at_once=objects_at_once,
    )
    network = tracker.predictor.network
    assert isinstance(network, Xmem)
    few = {"prototypes": 4, "long_term": 40, "top_k": 6}
    network.settings = network.settings.model_copy(update=few)
    return tracker


def run(tracker: Tracker, frames: range) -> Tracker:
    for index in frames:
        tracker.step(frame(index), first_mask() if index == 0 else None)
    return tracker


def memories(tracker: Tracker) -> tuple[XmemMemory, ...]:
    (group,) = tracker.track.groups
    return group.bank or ()


def state(tracker: Tracker) -> Tensor:
    return torch.cat([memory.hidden for memory in memories(tracker)])


@pytest.mark.parametrize(("before", "after"), [(8, 2), (8, 1), (3, 2), (2, 1)])
def test_fewer_objects_at_a_time_change_no_mask_of_a_long_term_memory(
    weights: str, before: int, after: int
) -> None:
    expected = run(load(weights, before), range(10))
    tracker = run(load(weights, before), range(7))
    assert memories(tracker)[0].bank.prototypes > 0
    tracker._go_on_within(replace(tracker.predictor.limits, objects_at_once=after), 7)
    assert len(memories(run(tracker, range(7, 10)))) == -(-OBJECTS // after)
    difference = abs(tracker.soft_masks() - expected.soft_masks()).max()
    assert difference < 1e-5
    assert memories(tracker)[0].bank.prototypes == memories(expected)[0].bank.prototypes


def test_a_lower_limit_of_frames_consolidates_those_beyond_it(weights: str) -> None:
    tracker = run(load(weights, 8, memory_frames=6), range(6))
    (before,) = memories(tracker)
    assert (before.bank.working, before.bank.prototypes) == (5 * before.bank.positions, 0)
    tracker._go_on_within(replace(tracker.predictor.limits, memory_frames=2), 6)
    (after,) = memories(tracker)
    expected = replace(before.bank, options=after.bank.options).within_limit()
    assert after.bank.options.frames == 2
    assert after.bank.working == after.bank.positions
    assert after.bank.elements is not None
    assert expected.elements is not None
    for found, value in zip(after.bank.elements, expected.elements, strict=True):
        assert torch.equal(found, value)


def test_smaller_frames_keep_the_prototypes_of_larger_ones(weights: str) -> None:
    tracker = run(load(weights, 8), range(7))
    (before,) = memories(tracker)
    tracker._go_on_within(replace(tracker.predictor.limits, size=HEIGHT // 3), 7)
    (after,) = memories(tracker)
    assert before.bank.elements is not None
    assert after.bank.elements is not None
    assert after.bank.positions < before.bank.positions
    assert after.bank.prototypes == before.bank.prototypes > 0
    kept = after.bank.elements.span(0, after.bank.prototypes)
    for found, value in zip(
        kept, before.bank.elements.span(0, before.bank.prototypes), strict=True
    ):
        assert torch.equal(found, value)
    run(tracker, range(7, 9))


@pytest.mark.parametrize(
    "limits",
    [Limits(HEIGHT, 1, 10), Limits(HEIGHT, 8, 2), Limits(HEIGHT, 1, 2)],
    ids=["objects", "frames", "both"],
)
def test_out_of_memory_the_state_of_the_objects_is_carried_over(
    weights: str, limits: Limits
) -> None:
    tracker = run(load(weights, 8, memory_frames=10), range(4))
    before = state(tracker)
    assert before[0].sub(before[1]).abs().max() > 0
    tracker._go_on_within(limits, 4)
    assert torch.equal(state(tracker), before)
    assert set(tracker.step(frame(4)).ravel()) <= set(range(OBJECTS + 1))


def test_out_of_memory_the_state_is_resized_with_the_frames(weights: str) -> None:
    tracker = run(load(weights, 8), range(4))
    before = state(tracker)
    tracker._go_on_within(Limits(HEIGHT // 3, 8, 3), 4)
    after = state(tracker)
    expected = functional.interpolate(before, size=after.shape[2:], mode="bilinear")
    assert after.shape != before.shape
    assert torch.equal(after, expected)


def test_out_of_memory_twice_before_a_frame_the_memory_is_still_carried_over(
    weights: str,
) -> None:
    tracker = run(load(weights, 8), range(7))
    before, prototypes = state(tracker), memories(tracker)[0].bank.prototypes
    tracker._go_on_within(Limits(HEIGHT, 1, 3), 7)
    tracker._go_on_within(Limits(HEIGHT, 1, 2), 7)
    assert torch.equal(state(tracker), before)
    assert memories(tracker)[0].bank.prototypes >= prototypes > 0


def test_a_track_that_is_put_back_keeps_no_memory_of_the_one_before(weights: str) -> None:
    tracker = run(load(weights, 8), range(7))
    other = run(Tracker(predictor=tracker.predictor), range(2))
    expected, track = state(other), other.track
    tracker._go_on_within(tracker.predictor.limits, 7)
    tracker.track = track
    assert torch.equal(state(tracker), expected)


@pytest.mark.parametrize("keys", ["own", "shared"])
@pytest.mark.parametrize("limits", [Limits(HEIGHT, 2, 2), Limits(HEIGHT * 2 // 3, 8, 2)])
def test_out_of_memory_gcm_keeps_the_mean_of_all_frames(keys: Any, limits: Limits) -> None:
    torch.manual_seed(0)
    settings = TINY.model_copy(update={"memory": "gcm", "keys": keys})
    network = Stm(settings, memory_frames=2).eval().requires_grad_(False)
    predictor = Predictor(network, None, CPU, torch.float32, HEIGHT, memory_frames=2)
    tracker = run(Tracker(predictor=predictor), range(17))
    before = means(tracker, keys)
    tracker._go_on_within(limits, 17)
    after = means(tracker, keys)
    assert len(tracker.track.groups[0].bank or ()) == (3 if limits.objects_at_once == 2 else 1)
    assert torch.equal(after, before)
    assert {memory.frames.frames for memory in tracker.track.groups[0].bank or ()} == {4}


def means(tracker: Tracker, keys: str) -> Tensor:
    """Return the means of all objects, one after the other."""
    axis, found = (1 if keys == "own" else 3), []
    for memory in tracker.track.groups[0].bank or ():
        assert isinstance(memory, StmMemory)
        assert isinstance(memory.frames, ContextMemory)
        assert memory.frames.context is not None
        found.append(memory.frames.context)
    return torch.cat(found, dim=axis)


@dataclass(frozen=True)
class Count:
    """How many frames a plug-in model has seen: a memory that cannot be divided."""

    frames: int
    colours: Any

    def to_tensors(self) -> dict[str, Tensor]:
        return {"frames": torch.tensor(self.frames)}

    def with_tensors(self, tensors: Any) -> "Count":
        return replace(self, frames=int(tensors["frames"]))


class Counting(ColourSegmenter):
    def memorize(
        self, features: Tensor, masks: Tensor, memory: Any = None, annotated: bool = False
    ) -> Any:
        before, colours = (0, None) if memory is None else (memory.frames, memory.colours)
        return Count(before + 1, super().memorize(features, masks, colours, annotated))

    def segment(self, features: Tensor, memory: Any) -> Tensor:
        return super().segment(features, memory.colours)


def test_a_memory_that_cannot_be_carried_over_is_named_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    predictor = Predictor(Counting(), None, CPU, torch.float32, HEIGHT)
    tracker = run(Tracker(predictor=predictor), range(3))
    assert carried_of(tracker.track) == {}
    tracker._go_on_within(Limits(HEIGHT, 1), 3)
    words = "with at most 1 object at a time; its memory of all but the latest frames is lost"
    assert caplog.messages == [f"frame 3: out of memory: going on {words}"]
    assert [change.words for change in tracker.lowered] == [words]


@pytest.mark.parametrize("design", ["stm", "gcm"])
def test_a_memory_that_is_carried_over_is_not_called_lost(
    design: str, caplog: pytest.LogCaptureFixture
) -> None:
    network = Stm(TINY.model_copy(update={"memory": design}), memory_frames=2).eval()
    predictor = Predictor(network, None, CPU, torch.float32, HEIGHT, memory_frames=2)
    tracker = run(Tracker(predictor=predictor), range(3))
    tracker._go_on_within(Limits(HEIGHT, 1, 2), 3)
    words = "going on with at most 1 object at a time"
    assert caplog.messages == [f"frame 3: out of memory: {words}"]
