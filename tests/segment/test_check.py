import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ARRIVAL, HEIGHT, WIDTH, Footage
from tests.segment.test_resume import (
    assert_alike,
    interrupted,
    mask_at,
    resumed,
)
from vostool.errors import OutputError
from vostool.inference.predictor import Predictor
from vostool.media.masks import write_mask
from vostool.segment.job import Job
from vostool.segment.report import RunReport
from vostool.segment.run import segment

pytestmark = pytest.mark.usefixtures("states_of_every_frame")


@pytest.fixture
def predictor(by_colour: Predictor) -> Predictor:
    return by_colour


@pytest.fixture
def job(two: Footage, tmp_path: Path) -> Job:
    write_mask(two.mask, two.labels[ARRIVAL])
    return Job(two.path, (f"{ARRIVAL}:{two.mask}",), tmp_path / "out", check=2)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "check.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def frames_of(report: RunReport, id_: int) -> list[int]:
    assert report.checks is not None
    return report.checks.objects[id_].frames


def test_run_json_and_check_csv_hold_a_score_of_every_checked_frame_and_object(
    job: Job, predictor: Predictor
) -> None:
    report = segment(job, predictor)
    assert frames_of(report, 1) == frames_of(report, 2) == [4, 6]
    found = rows(job.output)
    assert [(row["frame"], row["object"]) for row in found] == [
        ("4", "1"), ("4", "2"), ("6", "1"), ("6", "2"),
    ]  # fmt: skip
    assert all(float(row["score"]) > 0.9 for row in found)
    assert report.checks is not None
    assert report.checks.look_at == []


def test_without_checks_there_is_no_table_and_an_older_one_goes(
    job: Job, predictor: Predictor
) -> None:
    segment(job, predictor)
    (job.output / "check.png").touch()
    report = segment(replace(job, check=0, overwrite=True), predictor)
    assert report.checks is None
    assert not list(job.output.glob("check.*"))


def test_frames_followed_backward_are_checked_too(job: Job, predictor: Predictor) -> None:
    report = segment(replace(job, backward=True), predictor)
    assert frames_of(report, 1) == [0, 2, 4, 6]


def test_objects_that_are_absent_or_given_on_a_frame_are_not_checked_there(
    job: Job, predictor: Predictor, two: Footage
) -> None:
    report = segment(replace(job, absent=("1:5-6",)), predictor)
    assert (frames_of(report, 1), frames_of(report, 2)) == ([4], [4, 6])
    job = replace(job, masks=(str(two.mask), mask_at(4, two)), overwrite=True)
    assert frames_of(segment(job, predictor), 1) == [2, 6]


def test_an_object_that_is_lost_is_named(job: Job, predictor: Predictor, two: Footage) -> None:
    black = np.zeros((HEIGHT, WIDTH), np.uint8)
    black[2:12, 2:12] = 1  # the dark scene: found again all over the picture
    write_mask(two.mask, black)
    report = segment(replace(job, masks=(str(two.mask),)), predictor)
    assert report.checks is not None
    assert report.checks.look_at[0].object == 1


@pytest.mark.parametrize("frame", [4, 5, 7])
def test_a_run_that_is_resumed_has_the_checks_of_one_that_was_not_disturbed(
    job: Job, predictor: Predictor, tmp_path: Path, frame: int
) -> None:
    segment(replace(job, output=tmp_path / "whole"), predictor)
    interrupted(job, predictor, frame)
    resumed(job, predictor)
    assert_alike(job.output, tmp_path / "whole")
    assert rows(job.output) == rows(tmp_path / "whole")
    assert len(rows(job.output)) == 4


def test_a_finished_run_can_be_resumed_with_checks_or_without(
    job: Job, predictor: Predictor
) -> None:
    first = segment(job, predictor)
    assert resumed(replace(job, check=0), predictor) == first


def test_a_table_that_is_not_a_runs_own_is_not_replaced(job: Job, predictor: Predictor) -> None:
    job.output.mkdir()
    (job.output / "check.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"check\.csv"):
        segment(job, predictor)
    assert (job.output / "check.csv").read_text() == "mine"
