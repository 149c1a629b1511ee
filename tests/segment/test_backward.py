from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vostool
from tests.conftest import FRAMES, Footage
from tests.segment.test_resume import (
    assert_alike,
    interrupted,
    mask_at,
    pictures,
    resumed,
)
from vostool.errors import OutputError
from vostool.inference.backward import WayBack
from vostool.inference.given_mask import Mask
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.media.masks import read_mask
from vostool.media.video import probe
from vostool.segment.job import Job
from vostool.segment.run import segment

pytestmark = pytest.mark.usefixtures("states_of_every_frame")
LATE = 5


@pytest.fixture
def job(two: Footage, tmp_path: Path) -> Job:
    masks = (mask_at(LATE, two),)
    outputs = ("masks", "overlay", "cutouts")
    return Job(two.path, masks, tmp_path / "out", outputs, backward=True)


def masks_in(folder: Path) -> list[np.ndarray]:
    return [read_mask(path, allow_empty=True) for path in sorted(folder.glob("masks/*.png"))]


def test_objects_of_a_late_mask_are_found_on_every_frame_before_it(
    job: Job, by_colour: Predictor, two: Footage
) -> None:
    report = segment(job, by_colour)
    found = masks_in(job.output)
    assert len(found) == FRAMES
    for labels, truth in zip(found, two.labels, strict=True):
        assert (labels != truth).mean() < 0.02
    assert report.seconds.frames == FRAMES + LATE + 1
    assert [warning.code for warning in report.warnings] == []
    assert not (job.output / ".state" / "backward").exists()


def test_without_backward_one_line_names_the_option(job: Job, by_colour: Predictor) -> None:
    (warning,) = segment(replace(job, backward=False), by_colour).warnings
    assert warning.code == "frames_before_mask"
    assert "the masks of 5 frames before it are empty; --backward follows" in warning.message
    assert not any(labels.any() for labels in masks_in(job.output)[:LATE])


def test_a_mask_on_the_first_frame_leaves_nothing_to_follow_backward(
    job: Job, predictor: Predictor, two: Footage, tmp_path: Path
) -> None:
    job = replace(job, masks=(str(two.mask),))
    assert segment(job, predictor).seconds.frames == FRAMES
    segment(replace(job, backward=False, output=tmp_path / "forward"), predictor)
    assert pictures(job.output) == pictures(tmp_path / "forward")


def test_the_range_and_the_absent_stretches_hold_backward_too(
    job: Job, by_colour: Predictor, two: Footage
) -> None:
    segment(replace(job, start=2, end=7, absent=("1:3-4",)), by_colour)
    names = sorted(path.name for path in job.output.glob("masks/*.png"))
    assert names == [f"{frame:05d}.png" for frame in range(2, 7)]
    found = [1 in labels for labels in masks_in(job.output)]
    assert found == [True, False, False, True, True]


def test_the_python_interface_yields_the_masks_of_the_command(
    job: Job, predictor: Predictor, two: Footage
) -> None:
    segment(job, predictor)
    masks: dict[int, Mask] = {LATE: two.labels[LATE]}
    found = vostool.follow(two.path, masks, backward=True, predictor=predictor)
    for (frame, labels), written in zip(found, masks_in(job.output), strict=True):
        assert (labels == written).all(), frame.index


def test_the_folder_of_images_gives_the_masks_in_their_order(
    two: Footage, by_colour: Predictor, tmp_path: Path
) -> None:
    from PIL import Image

    from vostool.media.video import read_frames

    (tmp_path / "frames").mkdir()
    for frame in read_frames(two.path):
        Image.fromarray(frame.rgb).save(tmp_path / "frames" / f"{frame.name}.png")
    job = Job(tmp_path / "frames", (mask_at(LATE, two),), tmp_path / "o", ("masks",), backward=True)
    segment(job, by_colour)
    for labels, truth in zip(masks_in(job.output), two.labels, strict=True):
        assert (labels != truth).mean() < 0.02


class TestBetweenTwoMasks:
    @pytest.fixture
    def way(self, two: Footage, tmp_path: Path) -> WayBack:
        only = np.where(two.labels[LATE] == 2, two.labels[LATE], 0)
        masks: dict[int, Mask] = {1: two.labels[1], LATE: only, 7: two.labels[7]}
        return WayBack(two.path, 0, GivenMasks(masks, probe(two.path)), tmp_path / "way")

    def test_the_nearer_one_counts_more(self, way: WayBack) -> None:
        found = [round(way.share(1, frame), 3) for frame in range(FRAMES)]
        assert found == [0, 1, 0.833, 0.667, 0.5, 0.333, 0.167, 1]

    def test_each_object_has_masks_of_its_own(self, way: WayBack) -> None:
        assert [way.share(2, frame) for frame in range(FRAMES)] == [0] * 5 + [1, 0.5, 1]

    def test_an_object_is_taken_from_both_ways(
        self, two: Footage, by_colour: Predictor, tmp_path: Path
    ) -> None:
        masks = (mask_at(1, two), mask_at(6, two))
        job = Job(two.path, masks, tmp_path / "out", ("masks",), backward=True)
        segment(job, by_colour)
        for labels, truth in zip(masks_in(job.output), two.labels, strict=True):
            assert (labels != truth).mean() < 0.02


class TestResuming:
    @pytest.fixture
    def whole(self, job: Job, predictor: Predictor, tmp_path: Path) -> Path:
        segment(replace(job, output=tmp_path / "whole"), predictor)
        return tmp_path / "whole"

    def test_an_interrupted_run_goes_on_to_the_same_bytes(
        self, job: Job, predictor: Predictor, whole: Path, tmp_path: Path
    ) -> None:
        for frame in (1, 4, 6, 8, 12):  # 6 frames backward, then 8 forward
            job = replace(job, output=tmp_path / f"after {frame}")
            interrupted(job, predictor, frame)
            report = resumed(job, predictor)
            assert report.seconds.frames is not None
            assert report.seconds.frames <= FRAMES + LATE + 1 - frame + 2
            assert_alike(job.output, whole)
            assert not (job.output / ".state" / "backward").exists()

    def test_a_run_without_states_leaves_nothing_of_the_way_back(
        self, job: Job, predictor: Predictor
    ) -> None:
        for frame in (4, 12):
            interrupted(replace(job, states=False, overwrite=True), predictor, frame)
            assert not (job.output / ".state").exists()

    def test_a_mask_more_redoes_all_frames(
        self, job: Job, predictor: Predictor, two: Footage, tmp_path: Path
    ) -> None:
        segment(job, predictor)
        repaired = replace(job, masks=(*job.masks, mask_at(7, two)))
        assert resumed(repaired, predictor).seconds.frames == 2 * FRAMES
        segment(replace(repaired, output=tmp_path / "both"), predictor)
        assert_alike(job.output, tmp_path / "both")

    def test_a_mask_changed_after_an_interruption_on_the_way_back_begins_again(
        self, job: Job, predictor: Predictor, two: Footage, tmp_path: Path
    ) -> None:
        interrupted(job, predictor, 4)
        other = replace(job, masks=(mask_at(LATE - 1, two),))
        assert resumed(other, predictor).seconds.frames == FRAMES + LATE
        segment(replace(other, output=tmp_path / "other"), predictor)
        assert_alike(job.output, tmp_path / "other")

    def test_a_finished_run_is_left_as_it_is(self, job: Job, predictor: Predictor) -> None:
        first = segment(job, predictor)
        assert resumed(job, predictor) == first

    def test_a_run_that_was_forward_alone_is_refused(self, job: Job, predictor: Predictor) -> None:
        segment(replace(job, backward=False), predictor)
        with pytest.raises(OutputError, match="it has backward False, now True"):
            resumed(job, predictor)
