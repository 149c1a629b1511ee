"""Where the network looks: around the objects, and wider where one is not seen."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.conftest import BLUE, DARK, ORANGE, RATE, ColourNetwork, Picture
from tests.inference.test_oom import Own, Room, model_of
from vostool.errors import InputError, UsageError
from vostool.evaluate.metrics import jaccard
from vostool.inference.cuts import OnCut
from vostool.inference.loading import predictor_of, views_of
from vostool.inference.oom import fit
from vostool.inference.options import ModelOptions
from vostool.inference.placement import Placement
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.region import Region
from vostool.inference.sighting import NOTHING, Sighting, sighting
from vostool.inference.tracker import Tracker
from vostool.inference.video import Stopwatch, predict, segmented
from vostool.inference.zoom import AT_LEAST, SEEKING, place_next
from vostool.media.labels import ids_in
from vostool.media.masks import read_mask, write_mask
from vostool.media.video import probe, read_frames
from vostool.media.writer import VideoWriter
from vostool.model.interface import RecurrentModel
from vostool.model.policy import Policy
from vostool.model.published.kinds import KINDS
from vostool.model.stm import Stm
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.frames import MaskedFrame
from vostool.propagation.references import References
from vostool.segment.job import Job
from vostool.segment.report import RunReport
from vostool.segment.run import segment

CPU = torch.device("cpu")
TALL, WIDE = FRAME = (240, 320)
WHOLE = Placement((48, 64))
COUNT = 12
Shot = tuple[Picture, Picture]


def labelled(*places: tuple[slice, slice]) -> Picture:
    labels = np.zeros(FRAME, np.uint8)
    for id_, place in enumerate(places, start=1):
        labels[place] = id_
    return labels


def seen(labels: Picture, place: Placement, ids: tuple[int, ...] = (1,), **more: Any) -> Sighting:
    """Return where the objects of a frame were whose masks, as predicted, are these labels."""
    objects = torch.zeros(1, len(ids), *place.size)
    for id_ in set(ids_in(labels)):
        objects[:, id_ - 1 : id_] = place.objects(labels, (id_,), CPU)
    masks = torch.cat([1 - objects.sum(dim=1, keepdim=True), objects], dim=1)
    image = torch.zeros(1, 3, *place.size)
    return sighting(MaskedFrame(0, image, ids, masks, placements=(place,), **more), FRAME)


def share(place: Placement) -> float:
    return 1.0 if place.region is None else place.region.share


SMALL, LARGE = np.s_[100:112, 200:216], np.s_[40:200, 60:260]


class TestWithAMask:
    def test_a_small_object_is_seen_as_large_as_the_zoom_allows(self) -> None:
        place = place_next(WHOLE, FRAME, 4, NOTHING, labelled(SMALL))
        assert place.region == Region(FRAME, top=76, left=168, height=60, width=80)
        assert place.frame == WHOLE.frame

    def test_a_larger_one_keeps_its_surroundings(self) -> None:
        place = place_next(WHOLE, FRAME, 16, NOTHING, labelled(np.s_[100:148, 200:248]))
        assert place.region is not None
        assert place.region.height == pytest.approx(2.5 * 48, abs=1)

    def test_of_a_large_one_all_of_the_frame_is_seen(self) -> None:
        assert place_next(WHOLE, FRAME, 4, NOTHING, labelled(LARGE)) == WHOLE

    def test_two_objects_far_from_each_other_are_both_seen(self) -> None:
        apart = labelled(SMALL, np.s_[10:20, 10:20])
        place = place_next(WHOLE, FRAME, 4, NOTHING, apart)
        assert share(place) == 1
        beside = labelled(SMALL, np.s_[100:110, 220:240])
        assert share(place_next(WHOLE, FRAME, 4, NOTHING, beside)) == pytest.approx(
            0.3125, abs=0.01
        )

    def test_without_zoom_or_objects_all_of_the_frame_is_seen(self) -> None:
        assert place_next(WHOLE, FRAME, 1, NOTHING, labelled(SMALL)) is WHOLE
        assert place_next(WHOLE, FRAME, 4, NOTHING) is WHOLE
        assert place_next(WHOLE, FRAME, 4, NOTHING, labelled()) is WHOLE
        assert place_next(WHOLE, FRAME, 4, seen(labelled(SMALL), WHOLE), None, (1,)) is WHOLE


class TestAfterAFrame:
    def test_the_region_follows_at_once_but_shrinks_slowly(self) -> None:
        place = place_next(WHOLE, FRAME, 4, seen(labelled(SMALL), WHOLE))
        assert place.region is not None
        assert share(place) == pytest.approx(0.25**0.1, abs=0.01)
        assert abs(place.region.left + place.region.width - WIDE) <= 1, "as near as it may be"
        for _ in range(60):
            place = place_next(WHOLE, FRAME, 4, seen(labelled(SMALL), place))
        assert share(place) == pytest.approx(0.25, abs=0.02)

    def test_where_masks_lie_is_told_by_the_region_they_are_of(self) -> None:
        first = place_next(WHOLE, FRAME, 4, NOTHING, labelled(SMALL))
        moved = labelled(np.s_[110:122, 190:206])
        place = place_next(WHOLE, FRAME, 4, seen(moved, first))
        assert place.region is not None
        box = place.region.box
        assert ((box.top + box.bottom) / 2, (box.left + box.right) / 2) == pytest.approx(
            (116, 198), abs=2
        )

    def test_an_object_that_grows_fast_is_held(self) -> None:
        first = place_next(WHOLE, FRAME, 4, NOTHING, labelled(SMALL))
        grown = labelled(np.s_[78:134, 170:246])  # almost all that was seen
        place = place_next(WHOLE, FRAME, 4, seen(grown, first))
        assert AT_LEAST * 56 / TALL <= share(place) < 0.4

    def test_a_lost_object_is_sought_wider_and_wider(self) -> None:
        first = place_next(WHOLE, FRAME, 4, NOTHING, labelled(SMALL))
        place, shares = first, [share(first)]
        while place.region is not None:
            place = place_next(WHOLE, FRAME, 4, seen(labelled(), place))
            shares.append(share(place))
        growth = [after / before for before, after in pairwise(shares[:-1])]
        assert growth == pytest.approx([SEEKING] * len(growth), rel=0.03)
        assert len(shares) < 10
        assert place_next(WHOLE, FRAME, 4, seen(labelled(), place)) == WHOLE

    def test_so_is_one_of_several(self) -> None:
        one = labelled(SMALL)
        first = place_next(WHOLE, FRAME, 4, NOTHING, one)
        place = place_next(WHOLE, FRAME, 4, seen(one, first, ids=(1, 2)))
        assert share(place) == pytest.approx(SEEKING * share(first), rel=0.03)

    def test_but_not_one_that_is_said_to_be_absent(self) -> None:
        one = labelled(SMALL)
        first = place_next(WHOLE, FRAME, 4, NOTHING, one)
        place = place_next(WHOLE, FRAME, 4, seen(one, first, ids=(1, 2)), absent=(2,))
        assert share(place) == share(first)

    def test_an_object_that_enters_by_a_mask_is_seen_at_once(self) -> None:
        first = place_next(WHOLE, FRAME, 4, NOTHING, labelled(SMALL))
        given = np.where(labelled(np.s_[20:30, 100:110]) == 1, np.uint8(2), np.uint8(0))
        place = place_next(WHOLE, FRAME, 4, seen(labelled(SMALL), first), given)
        assert place.region is None or place.region.top <= 20 < 112 <= place.region.box.bottom
        assert share(place) > 0.9

    def test_a_mask_that_corrects_counts_and_not_what_was_predicted(self) -> None:
        wrong = seen(labelled(np.s_[10:230, 10:300]), WHOLE)
        place = place_next(WHOLE, FRAME, 4, wrong, labelled(SMALL))
        assert share(place) == pytest.approx(0.25, abs=0.01)


def draw(index: int, two: bool = False) -> Shot:
    """Draw a ball of 8 pixels that crosses a large frame, and on request another one."""
    rgb, labels = np.full((*FRAME, 3), DARK, np.uint8), np.zeros(FRAME, np.uint8)
    rows, columns = np.ogrid[:TALL, :WIDE]
    balls = [(1, ORANGE, (60 + 5 * index, 40 + 14 * index))]
    if two:
        balls.append((2, BLUE, (76 + 5 * index, 30 + 14 * index)))
    for id_, colour, (down, across) in balls:
        there = (rows - down) ** 2 + (columns - across) ** 2 <= 4**2
        rgb[there], labels[there] = colour, id_
    return rgb, labels


class Recurrent(ColourNetwork):
    """A model that decides itself what it remembers."""

    memory_every = 1


class TestByDefault:
    def test_the_own_network_has_both(self, network: Stm) -> None:
        own = predictor_of(network, 240, CPU)
        assert (own.zoom, own.reach) == (4, 2)
        assert {"zoom": 4.0, "reach": 2.0}.items() <= own.options.items()
        off = views_of(ModelOptions(zoom=1, reach=0), network, network.policy)
        assert off == {"zoom": 1, "reach": 0}
        assert not {"zoom", "reach"} & set(
            replace(own, zoom=off["zoom"], reach=off["reach"]).options
        )

    @pytest.mark.parametrize("kind", sorted(KINDS))
    def test_published_weights_and_plug_ins_see_what_their_makers_let_them(self, kind: str) -> None:
        for policy in (KINDS[kind].policy, Policy()):
            assert (policy.zoom, policy.reach) == (1, 0)

    def test_a_recurrent_model_and_a_disturbance_see_whole_frames(self, network: Stm) -> None:
        recurrent, disturbed = Recurrent(), ModelOptions(disturb="box")
        assert isinstance(recurrent, RecurrentModel)
        off = {"zoom": 1, "reach": 0}
        assert views_of(ModelOptions(), recurrent, Policy(zoom=4, reach=2)) == off
        assert views_of(disturbed, network, network.policy) == off
        with pytest.raises(UsageError, match="--zoom 2: cannot be used with the recurrent"):
            views_of(ModelOptions(zoom=2, weights="big"), recurrent, Policy())
        with pytest.raises(UsageError, match="--reach 2: cannot be used with --disturb"):
            views_of(disturbed.changed({"reach": 2}), network, network.policy)

    @pytest.mark.parametrize(
        ("option", "value"),
        [("zoom", 0.5), ("zoom", 17), ("reach", -1), ("reach", 0.5), ("reach", 1e308)],
    )
    def test_senseless_values_are_refused(self, option: str, value: float) -> None:
        with pytest.raises(UsageError, match=f"--{option}"):
            ModelOptions().changed({option: value})


def overlap(tracker: Tracker, two: bool = False) -> float:
    """Return the mean IoU of the balls on all frames that follow."""
    found = []
    for index in range(COUNT):
        rgb, truth = draw(index, two)
        labels = tracker.step(rgb, truth if index == 0 else None)
        if index:
            found += [jaccard(truth == id_, labels == id_) for id_ in (1, 2)[: 1 + two]]
    return float(np.mean(found))


def by_colour(zoom: float = 4, **more: Any) -> Tracker:
    predictor = model_of(ColourNetwork(), zoom=zoom, **more)
    return Tracker(predictor=predictor)


@pytest.mark.parametrize("two", [False, True])
def test_a_small_object_gets_outlines_that_it_has_not_in_the_whole_frame(two: bool) -> None:
    coarse, fine = (overlap(by_colour(zoom), two) for zoom in (1, 6))
    assert fine > 0.6
    assert fine > coarse + 0.2


def test_soft_masks_are_those_of_the_labels_and_sum_to_1() -> None:
    tracker = by_colour()
    for index in range(4):
        rgb, truth = draw(index, two=True)
        labels = tracker.step(rgb, truth if index == 0 else None)
    soft = tracker.soft_masks()
    assert soft.shape == (3, *FRAME)
    np.testing.assert_allclose(soft.sum(axis=0), 1, atol=1e-5)
    assert (soft.argmax(axis=0) == labels).mean() > 0.999


def steps(tracker: Tracker, first: int = 0, last: int = COUNT) -> Iterator[Any]:
    for index in range(first, last):
        rgb, truth = draw(index, two=True)
        tracker.step(rgb, truth if index in (0, 5) else None)
        yield tracker.soft_masks()


@pytest.fixture
def predictor() -> Predictor:
    return model_of(Own(Room()), zoom=4, references=References(every=2))


def test_a_saved_track_goes_on_bit_for_bit(predictor: Predictor, tmp_path: Path) -> None:
    tracker = Tracker(predictor=predictor)
    list(steps(tracker, 0, 7))
    assert tracker.latest_place(FRAME).region is not None
    tracker.save(tmp_path / "a.track")
    expected = list(steps(tracker, 7))
    again = Tracker(predictor=replace(predictor))
    again.load(tmp_path / "a.track", {index: draw(index, two=True)[0] for index in range(7)})
    assert all(map(np.array_equal, steps(again, 7), expected))


def test_a_track_that_is_put_back_and_made_again_goes_on_bit_for_bit(predictor: Predictor) -> None:
    tracker = Tracker(predictor=predictor)
    list(steps(tracker, 0, 7))
    kept = tracker.track
    expected = list(steps(tracker, 7))
    again = Tracker(predictor=replace(predictor))
    again.step(*draw(0))
    again.track = kept
    assert all(map(np.array_equal, steps(again, 7), expected))


@pytest.mark.parametrize("count", [1, 4], ids=["a given mask", "a predicted one"])
def test_after_a_scene_cut_the_whole_frame_is_seen(count: int, predictor: Predictor) -> None:
    tracker = Tracker(predictor=predictor)
    list(steps(tracker, 0, count))
    assert tracker.latest_place(FRAME).region is not None
    tracker.forget()
    tracker.step(draw(count)[0])
    assert tracker.latest_place(FRAME).region is None
    list(steps(tracker, 5, 7))
    assert tracker.latest_place(FRAME).region is not None, "of the mask that was given since"


def test_a_track_saved_at_a_scene_cut_goes_on_bit_for_bit(
    predictor: Predictor, tmp_path: Path
) -> None:
    tracker = Tracker(predictor=predictor)
    list(steps(tracker, 0, 1))
    tracker.forget()
    tracker.save(tmp_path / "a.track")
    expected = list(steps(tracker, 1, 4))
    again = Tracker(predictor=replace(predictor))
    again.load(tmp_path / "a.track", {0: draw(0, two=True)[0]})
    assert all(map(np.array_equal, steps(again, 1, 4), expected))


@pytest.mark.parametrize("cuts", list(OnCut))
def test_in_another_scene_an_object_is_sought_in_the_whole_frame(
    cuts: OnCut, footage: Path
) -> None:
    given = GivenMasks({0: draw(0)[1]}, probe(footage), cuts=cuts)
    frames = [replace(frame, scene=0 if frame.index < 6 else 6) for frame in read_frames(footage)]
    tracker, regions = by_colour(), {}
    with closing(predict(frames, given, tracker, Stopwatch())) as found:
        for frame, _ in found:
            regions[frame.index] = tracker.latest_place(FRAME).region
    assert regions[5] is not None
    assert regions[6] is None


def test_without_zoom_and_reach_nobody_asks_where_objects_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It would have a GPU wait."""

    def asked(*_: object) -> Sighting:
        raise AssertionError("asked")

    monkeypatch.setattr("vostool.inference.tracker.sighting", asked)
    overlap(by_colour(zoom=1))
    with pytest.raises(AssertionError, match="asked"):
        overlap(by_colour(zoom=1, reach=2))


def test_a_frame_whose_masks_run_out_of_memory_counts_once(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, whole = Tracker(predictor=predictor), Region.whole
    failed: list[bool] = []

    def once(region: Region, masks: torch.Tensor) -> torch.Tensor:
        if tracker.frames == 2 and not failed:
            failed.append(True)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(region, masks)

    monkeypatch.setattr(Region, "whole", once)
    for index in range(4):
        rgb, truth = draw(index, two=True)
        tracker.step(rgb, truth if index == 0 else None)
        assert tracker.frames == index + 1
    assert len(tracker.lowered) == len(failed) == 1


def test_a_frame_that_no_tracker_placed_is_of_no_region() -> None:
    place = replace(WHOLE, region=Region(FRAME, 0, 0, 60, 80))
    masks = torch.zeros(1, 2, *WHOLE.size)
    frame = fit(MaskedFrame(0, torch.zeros(1, 3, *WHOLE.size), (1,), masks), place, CPU)
    assert frame.placements == (WHOLE,)


def test_pictures_of_another_size_are_an_input_error(predictor: Predictor, tmp_path: Path) -> None:
    tracker = Tracker(predictor=predictor)
    list(steps(tracker, 0, 3))
    tracker.save(tmp_path / "a.track")
    with pytest.raises(InputError, match="frame 0 is of another size"):
        Tracker(predictor=predictor).load(
            tmp_path / "a.track", {index: draw(index)[0][:200] for index in range(3)}
        )


def test_a_track_made_without_zoom_goes_on_with_it_and_says_so(
    predictor: Predictor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker(predictor=replace(predictor, zoom=1.0))
    list(steps(tracker, 0, 4))
    tracker.save(tmp_path / "a.track")
    again = Tracker(predictor=predictor)
    again.load(tmp_path / "a.track", {index: draw(index, two=True)[0] for index in range(4)})
    assert "zoom None, now 4" in caplog.text
    list(steps(again, 4))
    assert again.latest_place(FRAME).region is not None


def test_smaller_frames_for_want_of_memory_keep_their_regions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vostool.inference.oom.MIN_SHORT_SIDE", 16)
    room = Room(pixels=48 * 64 - 1, start=4)
    tracker = Tracker(predictor=model_of(Own(room), zoom=4))
    assert overlap(tracker) > 0.7
    assert tracker.lowered[-1].limits.size == 36


@pytest.fixture
def footage(tmp_path: Path) -> Path:
    path = tmp_path / "ball.mp4"
    with VideoWriter(path, width=WIDE, height=TALL, rate=RATE) as writer:
        for index in range(COUNT):
            writer.write(draw(index)[0], index / RATE)
    return path


def test_the_film_is_followed_as_its_frames_are(footage: Path) -> None:
    """Frames are prefetched for the network, and with a region they cannot be."""
    given = GivenMasks({0: draw(0)[1]}, probe(footage))
    one, other = by_colour(), by_colour()
    found = [
        each.segmented()
        for each in segmented(read_frames(footage), given, one, Stopwatch(), soft=True)
    ]
    for each in found:
        labels = other.step(each.frame.rgb, given.get(each.frame.index))
        assert np.array_equal(labels, each.labels)
        assert each.soft is not None
        if each.frame.index:
            assert (each.soft.of(1) > 0.5).sum() == pytest.approx((labels == 1).sum(), abs=2)


def stop(done: int, total: int | None, words: str) -> None:
    if done == 8:
        raise KeyboardInterrupt


@pytest.mark.parametrize("corrected", [False, True])
def test_a_run_forward_and_backward_is_resumed_to_the_same_bytes(
    corrected: bool, footage: Path, tmp_path: Path
) -> None:
    masks = []
    for index in (4, COUNT - 3):
        path = tmp_path / f"{index}.png"
        write_mask(path, draw(index)[1])
        masks.append(f"{index}:{path}")
    correction = GradientCorrection(2, steps=1, length=0.05) if corrected else None
    predictor = model_of(Own(Room()), zoom=4.0, correction=correction)
    jobs = [
        Job(
            footage,
            tuple(masks),
            tmp_path / name,
            outputs=("masks", "matte"),
            states=True,
            backward=True,
            check=2,
        )
        for name in ("one", "other")
    ]
    segment(jobs[0], predictor)
    with pytest.raises(KeyboardInterrupt):
        segment(jobs[1], predictor, stop)
    segment(replace(jobs[1], resume=True), predictor)
    one, other = (
        {path.name: path.read_bytes() for path in (job.output / "masks").iterdir()} for job in jobs
    )
    assert one == other
    assert len(one) == COUNT
    report = RunReport.model_validate_json((jobs[0].output / "run.json").read_text())
    assert report.options["zoom"] == 4
    for index in range(COUNT):
        labels = read_mask(jobs[0].output / "masks" / f"{index:05d}.png", WIDE, TALL)
        assert jaccard(draw(index)[1] == 1, labels == 1) > 0.8
    checks = report.checks
    assert checks is not None
    area = float((draw(0)[1] == 1).mean())
    assert checks.objects[1].area == pytest.approx([area] * len(checks.objects[1].area), rel=0.3)


def test_what_the_way_back_finds_outside_of_the_region_is_checked(tmp_path: Path) -> None:
    def shot(index: int) -> Shot:
        rgb, labels = draw(index)
        rgb[200:208, 300:308], labels[200:208, 300:308] = BLUE, 2
        return rgb, labels

    video, last = tmp_path / "two.mp4", COUNT - 1
    with VideoWriter(video, width=WIDE, height=TALL, rate=RATE) as writer:
        for index in range(COUNT):
            writer.write(shot(index)[0], index / RATE)
    masks = []
    for id_, index in ((1, 0), (2, last)):
        path = tmp_path / f"{id_}.png"
        write_mask(path, np.where(shot(index)[1] == id_, np.uint8(id_), np.uint8(0)))
        masks.append(f"{index}:{path}")
    job = Job(video, tuple(masks), tmp_path / "out", backward=True, check=2)
    segment(job, model_of(Own(Room()), zoom=4.0))
    checks = RunReport.model_validate_json((job.output / "run.json").read_text()).checks
    assert checks is not None
    scores = dict(zip(checks.objects[2].frames, checks.objects[2].score, strict=True))
    assert min(scores[2], scores[4], scores[6]) > 0.3
