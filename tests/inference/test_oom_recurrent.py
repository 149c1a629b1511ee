import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.conftest import HEIGHT, draw
from tests.model.published.making import XMEM, export, small, write
from vostool.inference.oom import Limits, states_of
from vostool.inference.tracker import Tracker
from vostool.media.frame import Rgb


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("published")
    return str(write(folder / "xmem.pth", export(small(XMEM))))


@pytest.fixture
def tracker(weights: str) -> Tracker:
    """A track of two objects that entered together, and whose state frames have changed."""
    tracker = Tracker(weights=weights, size=HEIGHT, device="cpu", precision="fp32")
    rgb, labels = frame(4), draw(4, two=True)[1]
    assert set(labels.ravel()) == {0, 1, 2}
    tracker.step(rgb, labels)
    for index in (5, 6, 7):
        tracker.step(frame(index))
    return tracker


def frame(index: int) -> Rgb:
    return draw(index, two=True)[0]


def state(tracker: Tracker) -> Tensor:
    (found,) = states_of(tracker.track).values()
    return found


@pytest.mark.parametrize(
    "limits",
    [Limits(HEIGHT, 1, 10), Limits(HEIGHT, 8, 2), Limits(HEIGHT, 1, 2)],
    ids=["objects", "frames", "both"],
)
def test_out_of_memory_the_state_of_the_objects_is_carried_over(
    tracker: Tracker, limits: Limits
) -> None:
    before = state(tracker)
    assert before[0].sub(before[1]).abs().max() > 0
    tracker._go_on_within(limits, 4)
    assert torch.equal(state(tracker), before)
    assert len(tracker.track.groups[0].bank or ()) == (2 if limits.objects_at_once == 1 else 1)
    assert set(tracker.step(frame(7)).ravel()) <= {0, 1, 2}


def test_out_of_memory_the_state_is_resized_with_the_frames(tracker: Tracker) -> None:
    before = state(tracker)
    tracker._go_on_within(Limits(HEIGHT // 3, 8, 10), 4)
    after = state(tracker)
    expected = functional.interpolate(before, size=after.shape[2:], mode="bilinear")
    assert after.shape != before.shape
    assert torch.equal(after, expected)


def test_out_of_memory_twice_before_a_frame_the_state_is_still_carried_over(
    tracker: Tracker,
) -> None:
    before = state(tracker)
    tracker._go_on_within(Limits(HEIGHT, 1, 10), 4)
    tracker._go_on_within(Limits(HEIGHT, 1, 2), 4)
    assert torch.equal(state(tracker), before)


def test_a_track_that_is_put_back_keeps_no_state_of_the_one_before(
    tracker: Tracker, weights: str
) -> None:
    other = Tracker(predictor=tracker.predictor)
    other.step(frame(4), draw(4, two=True)[1])
    other.step(frame(5))
    expected, track = state(other), other.track
    tracker._go_on_within(tracker.predictor.limits, 4)
    tracker.track = track
    assert torch.equal(state(tracker), expected)
