"""vostool from Python, as a user writes it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vostool
from tests.conftest import ARRIVAL, FRAMES, HEIGHT, ColourNetwork, Footage, Picture, draw, film
from tests.inference.test_oom import Own, Room, model_of
from vostool.errors import DeviceError, InputError, MaskError, UsageError
from vostool.inference.given_mask import Mask
from vostool.inference.prompts import GivenMasks
from vostool.inference.video import Stopwatch, follow
from vostool.media.masks import read_mask, write_mask
from vostool.media.video import probe, read_frames
from vostool.model.stm import Stm
from vostool.propagation.correction import GradientCorrection
from vostool.segment.job import Job
from vostool.segment.run import segment

Make = Callable[..., vostool.Tracker]


@pytest.fixture(autouse=True)
def by_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the network by colour in the place of weights."""
    monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: ColourNetwork())


@pytest.fixture
def make(weights: Path) -> Make:
    def make(**options: Any) -> vostool.Tracker:
        defaults = {"weights": str(weights), "device": "cpu", "precision": "fp32", "size": HEIGHT}
        return vostool.Tracker(**{**defaults, **options})

    return make


@pytest.fixture
def tracker(make: Make) -> vostool.Tracker:
    return make()


@pytest.fixture
def shots() -> list[tuple[Picture, Picture]]:
    """The frames of two squares, the second of which shows up late, with their true labels."""
    return [draw(index, two=True) for index in range(FRAMES)]


@pytest.fixture
def two(tmp_path: Path) -> Footage:
    return film(tmp_path / "two.mp4", tmp_path / "two.png", two=True)


def only(labels: Picture, id_: int) -> Picture:
    return np.where(labels == id_, labels, 0).astype(np.uint8)


class TestStep:
    def test_follows_an_object_and_one_that_enters_later(
        self, tracker: vostool.Tracker, shots: list[tuple[Picture, Picture]]
    ) -> None:
        for index, (rgb, truth) in enumerate(shots):
            mask = {0: only(truth, 1), ARRIVAL: only(truth, 2)}.get(index)
            labels = tracker.step(rgb, mask)
            assert labels.dtype == np.uint8
            assert (labels != truth).mean() < 0.01
        assert tracker.ids == (1, 2)
        assert tracker.frames == FRAMES

    def test_is_all_background_before_the_first_mask(
        self, tracker: vostool.Tracker, shots: list[tuple[Picture, Picture]]
    ) -> None:
        assert not tracker.step(shots[0][0]).any()
        assert tracker.ids == ()

    def test_gives_a_mask_back_as_it_is_at_any_size(
        self, make: Make, shots: list[tuple[Picture, Picture]]
    ) -> None:
        tracker = make(size=32)
        tracker.step(*shots[0])
        (rgb, truth) = shots[4]
        dots = only(truth, 2)
        dots[::7, ::5] = 2
        labels = tracker.step(rgb, dots)
        assert (labels[dots == 2] == 2).all()
        assert set(np.unique(labels)) == {0, 1, 2}

    @pytest.mark.parametrize("white", [True, 255, 1])
    def test_takes_one_object_in_white_or_true(
        self, white: int, tracker: vostool.Tracker, shots: list[tuple[Picture, Picture]]
    ) -> None:
        rgb, truth = shots[0]
        mask = (truth == 1) if white is True else (truth == 1).astype(np.uint8) * white
        assert (tracker.step(rgb, mask) == truth).all()

    def test_takes_the_path_of_a_mask_and_whole_numbers_of_any_kind(
        self, make: Make, video: Footage, shots: list[tuple[Picture, Picture]]
    ) -> None:
        rgb, truth = shots[0]
        for mask in (video.mask, str(video.mask), truth.astype(np.int64)):
            assert (make().step(rgb, mask) == truth).all()

    def test_takes_frames_that_are_views_or_read_only(
        self, make: Make, shots: list[tuple[Picture, Picture]]
    ) -> None:
        rgb, truth = shots[0]
        view, frozen = rgb[..., ::-1].copy()[..., ::-1], rgb.copy()
        frozen.flags.writeable = False
        for frame in (view, frozen):
            tracker = make()
            tracker.step(frame, truth)
            assert (tracker.step(frame) == truth).all()

    def test_takes_back_its_own_labels_whatever_their_outlines(
        self, tracker: vostool.Tracker, shots: list[tuple[Picture, Picture]]
    ) -> None:
        rgb, truth = shots[5]
        tracker.step(rgb, truth)
        rim = truth.copy()
        rim[26:42, 23] = rim[25, 24:40] = 2  # an object's rim between two others
        assert (tracker.step(rgb, rim) == rim).all()


class TestSoftMasks:
    def test_are_at_the_frame_s_size_sum_to_1_and_are_most_probable_where_the_labels_are(
        self, make: Make, shots: list[tuple[Picture, Picture]]
    ) -> None:
        tracker = make(size=32)
        rgb, truth = shots[4]
        tracker.step(rgb, np.where(truth == 1, 7, truth))
        labels = tracker.step(shots[5][0])
        soft = tracker.soft_masks()
        assert soft.dtype == np.float32
        assert soft.shape == (3, *labels.shape)
        np.testing.assert_allclose(soft.sum(axis=0), 1, atol=1e-5)
        ids = np.array([0, *tracker.ids])
        assert (ids[soft.argmax(axis=0)] == labels).all()

    def test_before_the_first_frame_are_a_usage_error(self, tracker: vostool.Tracker) -> None:
        with pytest.raises(UsageError, match="expected a frame first"):
            tracker.soft_masks()


class TestTrack:
    def test_put_back_goes_on_as_if_nothing_had_come_after_it(
        self, tracker: vostool.Tracker, shots: list[tuple[Picture, Picture]]
    ) -> None:
        tracker.step(*shots[0])
        tracker.step(shots[1][0])
        kept = tracker.track
        first = [tracker.step(rgb) for rgb, _ in shots[2:]]
        tracker.track = kept
        assert tracker.frames == 2
        tracker.step(shots[2][0], 0 * shots[2][1] + np.eye(*shots[2][1].shape, dtype=np.uint8))
        tracker.track = kept
        again = [tracker.step(rgb) for rgb, _ in shots[2:]]
        assert all((a == b).all() for a, b in zip(first, again, strict=True))

    def test_of_another_network_is_made_again(
        self, make: Make, shots: list[tuple[Picture, Picture]]
    ) -> None:
        one, other = make(), make(size=32)
        one.step(*shots[0])
        other.track = one.track
        for rgb, truth in shots[1:ARRIVAL]:
            assert (other.step(rgb) != truth).mean() < 0.02

    def test_of_frames_of_another_size_is_refused(
        self, make: Make, shots: list[tuple[Picture, Picture]]
    ) -> None:
        one = make()
        one.step(*shots[0])
        other = vostool.Tracker(predictor=one.predictor)
        other.track = one.track
        with pytest.raises(UsageError, match="input of 48x48 pixels, expected 64x48"):
            other.step(shots[1][0][:, :48])

    def test_several_trackers_share_a_network_side_by_side(
        self, tracker: vostool.Tracker, shots: list[tuple[Picture, Picture]]
    ) -> None:
        other = vostool.Tracker(predictor=tracker.predictor)
        for index, (rgb, truth) in enumerate(shots[ARRIVAL:]):
            masks = (only(truth, 1), only(truth, 2)) if index == 0 else (None, None)
            assert (tracker.step(rgb, masks[0]) != only(truth, 1)).mean() < 0.01
            assert (other.step(rgb, masks[1]) != only(truth, 2)).mean() < 0.01


class TestErrors:
    @pytest.mark.parametrize(
        ("frame", "words"),
        [
            (np.zeros((48, 64, 3), np.float32), r"found \(48, 64, 3\) of float32"),
            (np.zeros((3, 48, 64), np.uint8), r"found \(3, 48, 64\) of uint8"),
            (np.zeros((48, 64, 4), np.uint8), r"found \(48, 64, 4\) of uint8"),
            (np.zeros((48, 64), np.uint8), r"found \(48, 64\) of uint8"),
            (np.zeros((0, 64, 3), np.uint8), "expected pixels, found 64x0"),
            ("frame.png", "frame 0: expected an RGB array .* found str"),
        ],
    )
    def test_what_is_no_frame_is_a_usage_error(
        self, frame: Any, words: str, tracker: vostool.Tracker
    ) -> None:
        with pytest.raises(UsageError, match=words):
            tracker.step(frame)

    def test_a_frame_of_another_size_on_the_way_is_a_usage_error_and_the_track_stays(
        self, tracker: vostool.Tracker, shots: list[tuple[Picture, Picture]]
    ) -> None:
        tracker.step(*shots[0])
        with pytest.raises(UsageError, match="frame 1 is 32x48, expected 64x48 like others"):
            tracker.step(shots[1][0][:, :32])
        assert (tracker.step(shots[1][0]) == shots[1][1]).all()

    @pytest.mark.parametrize(
        ("mask", "words"),
        [
            (np.zeros((48, 64), np.uint8), "mask of frame 0: expected at least one object"),
            (np.ones((48, 63), np.uint8), r"expected an array \(48, 64\), found \(48, 63\)"),
            (np.ones((48, 64, 1), np.uint8), r"found \(48, 64, 1\)"),
            (np.ones((48, 64)), "expected whole numbers, found float64"),
            (np.full((48, 64), 300), "values 300 to 300"),
            (np.full((48, 64), -1), "values -1 to -1"),
            (np.tile(np.arange(64, dtype=np.uint8), (48, 1)), "as in a resized"),
            ("nowhere.png", "no such mask file"),
        ],
    )
    def test_what_is_no_mask_is_a_mask_error_and_the_track_stays(
        self,
        mask: Any,
        words: str,
        tracker: vostool.Tracker,
        shots: list[tuple[Picture, Picture]],
    ) -> None:
        with pytest.raises(MaskError, match=words):
            tracker.step(shots[0][0], mask)
        assert tracker.frames == 0
        assert (tracker.step(*shots[0]) == shots[0][1]).all()

    def test_options_are_those_of_the_command_line(self, make: Make) -> None:
        tracker = make(gc_every=3, gc_iters=2, memory_frames=4, reference="first")
        assert tracker.predictor.correction == GradientCorrection(3, steps=2)
        assert tracker.predictor.memory_frames == 4
        for options, words in (
            ({"size": 3}, "--size 3"),
            ({"colour": "red"}, "--colour: no such option"),
            ({"device": "abacus"}, "--device abacus: expected auto, cpu"),
            ({"predictor": tracker.predictor}, "has its own options"),
        ):
            with pytest.raises(UsageError, match=words):
                make(**options)

    def test_out_of_memory_goes_on_with_less_and_in_the_end_is_a_device_error(
        self, shots: list[tuple[Picture, Picture]]
    ) -> None:
        tracker = vostool.Tracker(predictor=model_of(Own(Room(objects=1))))
        for index, (rgb, truth) in enumerate(shots[ARRIVAL:]):
            labels = tracker.step(rgb, None if index else truth)
            assert (labels != truth).mean() < 0.01
        assert [change.limits.objects_at_once for change in tracker.lowered] == [1]
        tracker = vostool.Tracker(predictor=model_of(Own(Room(objects=0))))
        tracker.step(*shots[0])
        with pytest.raises(DeviceError, match="out of memory"):
            tracker.step(shots[1][0])
        assert tracker.track.frames[-1].index == 0

    def test_a_track_from_before_memory_ran_out_can_be_put_back(
        self, shots: list[tuple[Picture, Picture]]
    ) -> None:
        network = Own(Room(objects=1, start=3))
        tracker = vostool.Tracker(predictor=model_of(network))
        tracker.step(*shots[ARRIVAL])
        kept = tracker.track
        first = [tracker.step(rgb) for rgb, _ in shots[ARRIVAL + 1 :]]
        assert len(tracker.lowered) == 1
        tracker.track = kept
        again = [tracker.step(rgb) for rgb, _ in shots[ARRIVAL + 1 :]]
        assert all((a == b).all() for a, b in zip(first, again, strict=True))
        assert len(tracker.lowered) == 1


class TestFollow:
    def test_yields_every_frame_with_its_objects(self, two: Footage, weights: Path) -> None:
        masks: dict[int, Mask] = {0: str(two.mask), ARRIVAL: only(two.labels[ARRIVAL], 2)}
        options: dict[str, Any] = {"weights": str(weights), "device": "cpu", "size": HEIGHT}
        count = 0
        for frame, labels in vostool.follow(two.path, masks, **options):
            assert frame.index == count
            assert frame.rgb.shape == (*labels.shape, 3)
            assert (labels != two.labels[count]).mean() < 0.02
            count += 1
        assert count == FRAMES

    def test_makes_the_masks_of_the_command(
        self, two: Footage, tmp_path: Path, tracker: vostool.Tracker
    ) -> None:
        job = Job(two.path, (str(two.mask),), tmp_path / "out", outputs=("masks",), start=1, end=6)
        segment(job, tracker.predictor)
        found = vostool.follow(two.path, {1: two.mask}, start=1, end=6, predictor=tracker.predictor)
        for frame, labels in found:
            written = read_mask(tmp_path / f"out/masks/{frame.index:05d}.png", allow_empty=True)
            assert (labels == written).all()
        assert frame.index == 5

    @pytest.mark.parametrize(
        ("masks", "more", "error", "words"),
        [
            ({}, {}, UsageError, "expected one or more"),
            ({3: "a.png"}, {"end": 3}, UsageError, "mask of frame 3: expected a frame from 0 to 2"),
            ({3: "a.png"}, {"start": 4}, UsageError, "expected a frame from 4 to the end"),
            ({0: "nowhere.png"}, {}, MaskError, "nowhere.png: no such mask file"),
            ({2: np.zeros((4, 4), np.uint8)}, {}, MaskError, "mask of frame 2: expected an array"),
        ],
    )
    def test_what_is_wrong_is_told_at_once(
        self,
        masks: Any,
        more: Any,
        error: type[Exception],
        words: str,
        video: Footage,
    ) -> None:
        with pytest.raises(error, match=words):
            vostool.follow(video.path, masks, **more)

    def test_of_no_video_is_an_input_error_at_once(self, tmp_path: Path, video: Footage) -> None:
        with pytest.raises(InputError, match=r"gone\.mp4"):
            vostool.follow(tmp_path / "gone.mp4", {0: video.mask})

    def test_a_mask_that_the_video_ends_before_is_an_error_or_a_warning(
        self, video: Footage, tracker: vostool.Tracker, caplog: pytest.LogCaptureFixture
    ) -> None:
        masks: dict[int, Mask] = {0: video.mask, 90: video.labels[0]}
        list(vostool.follow(video.path, masks, predictor=tracker.predictor))
        assert caplog.messages == ["the video ended before frame 90, which has a mask"]
        with pytest.raises(MaskError, match="mask of frame 90: is for frame 90, the video has 8"):
            list(vostool.follow(video.path, {90: masks[90]}, predictor=tracker.predictor))


class TestImport:
    def test_does_not_import_torch_until_something_is_used(self) -> None:
        code = (
            "import sys, vostool; assert 'Tracker' in dir(vostool);"
            "assert not {'torch', 'numpy', 'pydantic', 'typing'} & set(sys.modules);"
            "vostool.Tracker; sys.exit('torch' not in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

    def test_offers_what_it_lists_and_nothing_else(self) -> None:
        assert all(hasattr(vostool, name) for name in vostool.__all__)
        with pytest.raises(AttributeError, match="no attribute 'Traker'"):
            vostool.Traker  # noqa: B018

    def test_is_typed(self) -> None:
        assert (Path(vostool.__file__).parent / "py.typed").is_file()


@pytest.mark.weights
def test_with_the_shipped_weights_a_tracker_makes_the_masks_of_segment(
    two: Footage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    tracker = vostool.Tracker(size=64, device="cpu", precision="fp32", gc_every=3, gc_iters=1)
    assert isinstance(tracker.predictor.network, Stm)
    late = tmp_path / "late.png"
    write_mask(late, only(two.labels[ARRIVAL], 2))
    job = Job(two.path, (str(two.mask), f"{ARRIVAL}:{late}"), tmp_path / "out", outputs=("masks",))
    segment(job, tracker.predictor)
    masks: dict[int, Mask] = {0: read_mask(two.mask), ARRIVAL: late}
    given = GivenMasks(masks, probe(two.path))
    again = vostool.Tracker(predictor=tracker.predictor)
    assert len(list(follow(read_frames(two.path), given, again, Stopwatch()))) == FRAMES
    for frame in read_frames(two.path):
        labels = tracker.step(frame.rgb, masks.get(frame.index))
        written = read_mask(tmp_path / f"out/masks/{frame.index:05d}.png", allow_empty=True)
        assert (labels == written).all()
    assert set(np.unique(labels)) > {0}
    assert torch.is_grad_enabled()
