"""A model that runs out of memory, by so many objects, frames or pixels, is followed through."""

import copy
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import (
    ARRIVAL,
    FRAMES,
    HEIGHT,
    ColourMemory,
    ColourSegmenter,
    Footage,
    film,
)
from vostool.errors import DeviceError
from vostool.evaluate.metrics import jaccard
from vostool.inference.oom import MIN_SHORT_SIDE, LimitChange, Limits, fit
from vostool.inference.placement import Placement
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.tracker import Tracker
from vostool.inference.video import Stopwatch, follow, predict
from vostool.media.frame import Frame
from vostool.media.masks import write_mask
from vostool.media.video import probe, read_frames
from vostool.model.stm import Stm
from vostool.preprocess import label_map, resized_frame
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.frames import MaskedFrame, Prediction
from vostool.propagation.references import References
from vostool.segment.job import Job
from vostool.segment.run import segment

CPU = torch.device("cpu")
EVERY = References(every=1)


@dataclass
class Room:
    """What a device has room for, from a frame on."""

    objects: int = 1000
    frames: int = 1000
    pixels: int = 10**9
    start: int = 0


def check(needed: int, room: int) -> None:
    if needed > room:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


class PlugIn(ColourSegmenter):
    """A model of another package, on a device with little room."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.prediction = 0  # frames: their grey tells them apart

    def encode(self, image: Tensor) -> Tensor:
        self.prediction += 1
        if self.prediction > self.room.start:
            check(image.shape[2] * image.shape[3], self.room.pixels)
        return image

    def memorize(
        self,
        features: Tensor,
        masks: Tensor,
        memory: ColourMemory | None = None,
        annotated: bool = False,
    ) -> ColourMemory:
        if self.prediction > self.room.start:
            check(masks.shape[1] - 1, self.room.objects)
        return super().memorize(features, masks, memory)

    def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
        if self.prediction > self.room.start:
            check(len(memory), self.room.frames)
        return super().segment(features, memory)


class Own(PlugIn):
    """The same as vostool's own models are: it remembers no more frames than it may."""

    memory_frames: int | None = 8

    def memorize(
        self,
        features: Tensor,
        masks: Tensor,
        memory: ColourMemory | None = None,
        annotated: bool = False,
    ) -> ColourMemory:
        longer = super().memorize(features, masks, memory, annotated)
        assert self.memory_frames is not None
        return longer[-self.memory_frames :]


def model_of(network: Any, **more: Any) -> Predictor:
    more = {"size": HEIGHT, "references": EVERY, "memory_frames": 8, **more}
    return Predictor(network, None, CPU, torch.float32, **more)


@pytest.fixture
def two(tmp_path: Path) -> Footage:
    """Two objects, both there from the first mask on, which is for the frame of the second."""
    footage = film(tmp_path / "two.mp4", tmp_path / "two.png", two=True)
    write_mask(footage.mask, footage.labels[ARRIVAL])
    return footage


Run = tuple[list[tuple[Frame, Any]], list[LimitChange]]


def run(predictor: Predictor, footage: Footage) -> Run:
    """Follow the objects from `ARRIVAL` on."""
    given = GivenMasks({ARRIVAL: footage.mask}, probe(footage.path))
    tracker, frames = Tracker(predictor=predictor), read_frames(footage.path, ARRIVAL)
    return list(follow(frames, given, tracker, Stopwatch())), tracker.lowered


def right(found: list[tuple[Frame, Any]], footage: Footage) -> bool:
    """Return whether every frame is there once, with both objects where they are."""
    assert [frame.index for frame, _ in found] == list(range(ARRIVAL, FRAMES))
    return all(
        jaccard(footage.labels[frame.index] == id_, labels == id_) > 0.9
        for frame, labels in found
        for id_ in (1, 2)
    )


class TestTheLadder:
    def test_goes_down_objects_first_then_frames_then_the_size(self) -> None:
        limits = Limits(240, 8, 8)
        steps = []
        while (lower := limits.lower(objects=10, frames=20)) is not None:
            steps.append(lower.describe_change(limits))
            limits = lower
        assert steps == [
            "with at most 4 objects at a time",
            "with at most 2 objects at a time",
            "with at most 1 object at a time",
            "with at most 4 remembered frames",
            "with at most 2 remembered frames",
            "at a size of 180 pixels",
            "at a size of 135 pixels",
            "at a size of 101 pixels",
        ]

    def test_starts_from_what_is_there(self) -> None:
        assert Limits(240, 8, 8).lower(3, 20) == Limits(240, 1, 8)
        assert Limits(240, None, 8).lower(30, 20) == Limits(240, 15, 8)
        assert Limits(240, 8, 8).lower(1, 3) == Limits(240, 8, 2)
        assert Limits(240, 8, 8).lower(1, 2) == Limits(180, 8, 8)

    def test_leaves_out_the_frames_of_a_model_that_has_no_limit_for_them(self) -> None:
        assert Limits(240, 1, None).lower(10, 20) == Limits(180, 1, None)

    def test_ends_before_frames_are_too_small_for_anything(self) -> None:
        assert Limits(MIN_SHORT_SIDE, 1, 2).lower(10, 20) is None


class TestWantOfMemory:
    def test_for_many_objects_changes_no_mask(self, two: Footage) -> None:
        expected, none = run(model_of(Own(Room())), two)
        found, lowered = run(model_of(Own(Room(objects=1))), two)
        assert none == []
        assert [(step.frame, step.limits) for step in lowered] == [
            (ARRIVAL + 1, Limits(HEIGHT, 1, 8))
        ]
        assert right(found, two)
        for (_, labels), (_, same) in zip(found, expected, strict=True):
            assert (labels == same).all()

    def test_in_the_middle_goes_on_from_that_very_frame(self, two: Footage) -> None:
        found, lowered = run(model_of(Own(Room(objects=1, start=3))), two)
        assert [step.frame for step in lowered] == [ARRIVAL + 4]
        assert right(found, two)

    def test_for_many_frames_has_the_model_remember_fewer(self, two: Footage) -> None:
        network = Own(Room(frames=2))
        found, lowered = run(model_of(network), two)
        assert [(step.frame, step.limits) for step in lowered] == [
            (ARRIVAL + 3, Limits(HEIGHT, 1, 8)),  # in vain
            (ARRIVAL + 3, Limits(HEIGHT, 1, 2)),
        ]
        assert right(found, two)
        assert network.memory_frames == 8, "the model itself is for the next video too"

    def test_for_large_frames_has_them_smaller(self, two: Footage) -> None:
        found, lowered = run(model_of(Own(Room(pixels=110 * 150)), size=192), two)
        assert [(step.frame, step.limits) for step in lowered] == [
            (ARRIVAL, Limits(size, None, 8)) for size in (144, 108)
        ]
        assert right(found, two)

    def test_for_large_frames_in_the_middle_brings_the_older_ones_to_the_size(
        self, two: Footage
    ) -> None:
        found, lowered = run(model_of(PlugIn(Room(pixels=110 * 150, start=3)), size=192), two)
        assert [(step.frame, step.limits) for step in lowered] == [
            (ARRIVAL + 3, Limits(192, 1)),  # in vain
            (ARRIVAL + 3, Limits(144, 1)),
            (ARRIVAL + 3, Limits(108, 1)),
        ]
        assert right(found, two)

    def test_a_plug_in_model_is_never_asked_to_remember_less(self, two: Footage) -> None:
        network = PlugIn(Room(frames=3))
        with pytest.raises(torch.OutOfMemoryError):
            run(model_of(network, size=2 * MIN_SHORT_SIDE), two)
        assert not hasattr(network, "memory_frames")

    def test_with_a_correction_goes_on_with_it(self, two: Footage) -> None:
        correction = GradientCorrection(every=2, steps=1)
        model = model_of(Own(Room(objects=1, start=4)), correction=correction)
        found, lowered = run(model, two)
        assert len(lowered) == 1
        assert right(found, two)

    def test_is_told_in_a_line_of_the_log(
        self, two: Footage, caplog: pytest.LogCaptureFixture
    ) -> None:
        run(model_of(Own(Room(objects=1))), two)
        assert [record.getMessage() for record in caplog.records] == [
            "frame 4: out of memory: going on with at most 1 object at a time"
        ]
        assert caplog.records[0].levelno == logging.WARNING

    def test_is_not_what_other_errors_are_taken_for(self, two: Footage) -> None:
        class Broken(Own):
            def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
                raise RuntimeError("a fault of the network")

        with pytest.raises(RuntimeError, match="a fault"):
            run(model_of(Broken(Room())), two)

    @pytest.mark.parametrize(
        ("name", "make"),
        [
            pytest.param(
                "vostool.inference.placement.resized_frame", resized_frame, id="reading ahead"
            ),
            pytest.param(
                "vostool.inference.tracker.label_map", label_map, id="a label map, made in RAM"
            ),
        ],
    )
    def test_beside_the_network_is_made_good_without_going_lower(
        self,
        name: str,
        make: Callable[..., object],
        two: Footage,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        calls: list[None] = []

        def once_without_room(*arguments: Any) -> object:
            calls.append(None)
            check(len(calls) == 2, False)
            return make(*arguments)

        monkeypatch.setattr(name, once_without_room)
        found, lowered = run(model_of(Own(Room())), two)
        assert right(found, two)
        assert lowered == []
        assert len(calls) == len(found) + 1


class Cramped(nn.Module):
    """A real network, for which the memory runs out once, on a frame."""

    stride = 16

    def __init__(self, network: Stm, frame: int) -> None:
        super().__init__()
        self.network = network
        self.left = [frame + 1]

    @property
    def memory_frames(self) -> int | None:
        return self.network.memory_frames

    def encode(self, image: Tensor) -> Any:
        self.left[0] -= 1
        check(self.left[0] == 0, False)
        return self.network.encode(image)

    def memorize(
        self, features: Any, masks: Tensor, memory: Any = None, annotated: bool = False
    ) -> Any:
        return self.network.memorize(features, masks, memory, annotated)

    def segment(self, features: Any, memory: Any) -> Tensor:
        return self.network.segment(features, memory)


@pytest.mark.parametrize("memory_only", [False, True])
def test_what_was_remembered_is_remembered_anew(
    two: Footage, network: Stm, memory_only: bool
) -> None:
    """Late objects, more frames than are kept, masks on the way, and a correction."""
    network = copy.deepcopy(network).requires_grad_(False)
    network.memory_frames = 3
    late = two.mask.with_name("late.png")
    write_mask(late, np.where(two.labels[5] == 2, 3, 0).astype(np.uint8))
    write_mask(two.mask, two.labels[0])
    correction = GradientCorrection(2, steps=1, length=0.05, memory_only=memory_only)

    def masks(cramped: Any, lowered: list[LimitChange]) -> Iterator[Prediction[Any]]:
        references = References(every=2)
        model = model_of(
            cramped, correction=correction, memory_frames=3, size=96, references=references
        )
        given = GivenMasks({0: two.mask, 2: late}, probe(two.path))
        tracker, frames = Tracker(predictor=model), read_frames(two.path)
        for _, prediction in predict(frames, given, tracker, Stopwatch()):
            yield prediction
        lowered += tracker.lowered

    lowered: list[LimitChange] = []
    expected = list(masks(Cramped(network, FRAMES + 1), []))
    found = list(masks(Cramped(network, FRAMES - 1), lowered))
    (step,) = lowered
    assert step.frame == FRAMES - 1
    assert found[-1].ids == (1, 3)
    for prediction, same in zip(found, expected, strict=True):
        assert torch.equal(prediction.masks, same.masks)
    assert (found[-1].masks - found[-2].masks).abs().max() > 0.01, "there is something to see"


class TestFit:
    def frame(self, *annotated: int) -> MaskedFrame:
        objects = torch.zeros(1, 2, 8, 12)
        objects[0, 0, 1:6, 1:9] = objects[0, 1, 6:8, 4:12] = 1
        masks = torch.cat([1 - objects.sum(dim=1, keepdim=True), objects], dim=1)
        return MaskedFrame(3, torch.rand(1, 3, 8, 12), (4, 7), masks, annotated)

    def test_a_frame_of_the_right_size_keeps_its_values(self) -> None:
        frame = self.frame()
        same = fit(frame, Placement((8, 12)), CPU)
        assert torch.equal(same.image, frame.image)
        assert torch.equal(same.masks, frame.masks)
        assert (same.index, same.ids) == (3, (4, 7))

    def test_another_size_keeps_annotated_objects_hard_and_the_sum_at_1(self) -> None:
        small = fit(self.frame(4), Placement((5, 7)), CPU)
        assert small.image.shape == (1, 3, 5, 7)
        assert set(small.masks[:, 1].unique().tolist()) == {0.0, 1.0}
        assert len(small.masks[:, 2].unique()) > 2, "the other one is resized"
        torch.testing.assert_close(small.masks.sum(dim=1), torch.ones(1, 5, 7))

    def test_another_size_takes_annotated_objects_from_the_mask_at_hand(self) -> None:
        given = np.zeros((80, 120), np.uint8)
        given[:40, :60] = 4
        small = fit(self.frame(4), Placement((4, 6)), CPU, given)
        assert small.masks[0, 1].sum() == small.masks[0, 1, :2, :3].sum() == 6


class TestSegment:
    def test_reports_where_it_ended_and_how(self, two: Footage, tmp_path: Path) -> None:
        job = Job(two.path, (f"{ARRIVAL}:{two.mask}",), tmp_path / "out", ("masks",))
        report = segment(job, model_of(Own(Room(objects=1))))
        assert report.limits.model_dump() == {
            "size": HEIGHT,
            "objects_at_once": 1,
            "memory_frames": 8,
            "lowered": [
                {"frame": 4, "size": HEIGHT, "objects_at_once": 1, "memory_frames": 8},
            ],
        }
        assert report.options["objects_at_once"] is None
        written = json.loads((job.output / "run.json").read_text())
        assert written["limits"] == report.limits.model_dump()

    def test_without_want_reports_the_options(self, two: Footage, tmp_path: Path) -> None:
        job = Job(two.path, (f"{ARRIVAL}:{two.mask}",), tmp_path / "out", ("masks",))
        model = replace(model_of(Own(Room())), objects_at_once=5)
        limits = {"size": HEIGHT, "objects_at_once": 5, "memory_frames": 8, "lowered": []}
        assert segment(job, model).limits.model_dump() == limits

    def test_gives_up_in_the_end_and_keeps_what_is_done(self, two: Footage, tmp_path: Path) -> None:
        job = Job(two.path, (f"{ARRIVAL}:{two.mask}",), tmp_path / "out", ("masks",))
        model = model_of(Own(Room(objects=0, start=6)))
        with pytest.raises(DeviceError, match="out of memory; try a smaller --size"):
            segment(job, model)
        assert len(list((job.output / "masks").glob("*.png"))) == 7
        report = json.loads((job.output / "run.json").read_text())
        assert report["status"] == "failed"
        steps = [(step["frame"], step["memory_frames"]) for step in report["limits"]["lowered"]]
        assert steps == [(7, 8), (7, 2)], "half of the 4 that are remembered, from frame 3 on"
