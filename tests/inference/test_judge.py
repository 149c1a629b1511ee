from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import HEIGHT, WIDTH, ColourSegmenter, Scene, scene
from tests.propagation.test_frame_loop import truth_of
from vostool.inference.checks import Check, Checks, as_csv
from vostool.inference.judge import Judge, judge
from vostool.inference.placement import Placement
from vostool.propagation.frame_loop import Track
from vostool.propagation.frames import Prediction
from vostool.propagation.group import FrameLoop

PLACE = Placement((HEIGHT, WIDTH))
LOOP: FrameLoop[Any, Any] = FrameLoop(ColourSegmenter())


@pytest.fixture
def two() -> Scene:
    return scene(8, two=True)


def track_of(two: Scene) -> Track[Any, Any]:
    """Return the track after frame 6, with objects 1 and 2 in groups of their own."""
    track = Track(LOOP)
    annotations = {0: truth_of(two, 0, 1), 3: truth_of(two, 3, 2)}
    with torch.no_grad():
        for index in range(7):
            track, _ = track.advance(two.images[index], annotations.get(index))
    return track


def checked(track: Track[Any, Any], masks: Tensor, without: tuple[int, ...] = ()) -> list[Check]:
    assert track.prediction is not None
    prediction = Prediction(track.prediction.ids, masks, track.prediction.features)
    return list(judge(6, prediction, PLACE, track.groups, LOOP.segmenter, without))


def test_right_masks_explain_what_was_given(two: Scene) -> None:
    first, second = checked(track_of(two), two.masks[6])
    assert (first.frame, first.object, second.object) == (6, 1, 2)
    assert min(first.score, second.score) > 0.95
    assert first.confidence == first.presence == 1
    assert first.area == pytest.approx(two.masks[6][:, 1].mean().item(), abs=1e-4)
    assert not first.low


def test_a_mask_on_something_else_has_a_low_score_and_the_other_object_keeps_its_own(
    two: Scene,
) -> None:
    wrong = two.masks[6].clone()
    wrong[:, :2] = two.masks[6][:, :2].roll(25, dims=3)  # on the dark scene, beside object 1
    wrong[:, 0] = 1 - wrong[:, 1:].sum(dim=1)
    first, second = checked(track_of(two), wrong)
    assert first.score < 0.2
    assert second.score > 0.9


def test_an_object_without_a_pixel_is_not_seen(two: Scene) -> None:
    masks = two.masks[6].clone()
    masks[:, 0] += 0.9 * masks[:, 2]
    masks[:, 2] *= 0.1
    second = checked(track_of(two), masks)[1]
    assert (second.area, second.confidence) == (0, 0)
    assert second.low
    assert second.presence == pytest.approx(0.1)


def test_an_object_that_need_not_be_judged_is_left_out(two: Scene) -> None:
    assert [check.object for check in checked(track_of(two), two.masks[6], without=(2,))] == [1]


def test_every_so_many_frames_are_due_from_the_first_on() -> None:
    judged = Judge(every=4, start=3)
    assert [frame for frame in range(3, 14) if judged.due(frame)] == [3, 7, 11]
    assert not any(Judge(every=0).due(frame) for frame in range(5))


def test_a_frame_for_which_memory_does_not_suffice_is_passed_over(
    two: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(ColourSegmenter):
        def memorize(self, *arguments: Any, **more: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

    track, judged = track_of(two), Judge(every=1)
    assert track.prediction is not None
    judged.check(6, track.prediction, PLACE, track.groups, Full())
    assert judged.checks == []
    assert caplog.messages == ["frame 6: not enough memory to check it"]


def check(frame: int, confidence: float, object_: int = 1, area: float = 0.1) -> Check:
    return Check(
        frame=frame, object=object_, score=0.7, confidence=confidence, presence=0.9, area=area
    )


class TestChecks:
    def test_name_the_stretches_of_low_confidence_the_worst_first(self) -> None:
        values = [0.95, 0.9, 0.89, 0.93, 0.6, 0.98]
        found = Checks.of(10, [check(10 * n, value) for n, value in enumerate(values)])
        assert list(found.lines()) == [
            "look at frame 40: object 1 (mean probability 0.60)",
            "look at frames 10 to 20: object 1 (mean probability 0.89)",
        ]

    def test_tell_an_object_that_is_nowhere_from_one_that_is_wrong(self) -> None:
        found = Checks.of(5, [check(0, 0.95, 7), check(5, 0.0, 7, area=0)])
        assert list(found.lines()) == ["look at frame 5: object 7 (not seen there)"]

    def test_name_three_stretches_and_count_the_others(self) -> None:
        values = [0.5, 0.99, 0.6, 0.99, 0.7, 0.99, 0.8, 0.99, 0.9]
        lines = list(Checks.of(1, [check(n, value) for n, value in enumerate(values)]).lines())
        assert len(lines) == 4
        assert lines[-1] == "and at 2 more, see check.csv"

    def test_hold_the_scores_of_each_object_by_frame(self) -> None:
        found = Checks.of(5, [check(0, 0.99), check(5, 0.98), check(5, 0.97, 2)])
        assert found.objects[1].frames == [0, 5]
        assert found.objects[1].confidence == [0.99, 0.98]
        assert found.objects[2].frames == [5]
        assert found.look_at == []

    def test_make_a_table_with_a_line_for_each_frame_and_object(self) -> None:
        assert as_csv([check(5, 0.8, 2)]).splitlines() == [
            "frame,object,score,confidence,presence,area",
            "5,2,0.7,0.8,0.9,0.1",
        ]
