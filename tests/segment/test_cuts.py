from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import vostool
from tests.conftest import DARK, HEIGHT, ORANGE, SIDE, WIDTH, Footage
from tests.segment.test_resume import (
    assert_alike,
    interrupted,
    mask_at,
    resumed,
)
from vostool.cli.summary import print_summary
from vostool.errors import UsageError
from vostool.inference.cuts import OnCut
from vostool.inference.given_mask import Mask
from vostool.inference.predictor import Predictor
from vostool.inference.tracker import Tracker
from vostool.media.frame import Frame
from vostool.media.masks import read_mask, write_mask
from vostool.media.video import read_frames
from vostool.media.writer import VideoWriter
from vostool.propagation.references import REFERENCE_SETS, References
from vostool.segment.batch import alone, segment_all
from vostool.segment.batch_table import read_batch
from vostool.segment.job import Job
from vostool.segment.run import segment

pytestmark = pytest.mark.usefixtures("states_of_every_frame")
CUT, BACK, END = 5, 11, 16  # the scenes: a square, another place with a ghost, the square
RUSTY, SKY = (200, 130, 70), (90, 140, 200)


def film_with_cuts(path: Path) -> Footage:
    """Write two scenes, the first in two parts; the truth has the square alone."""
    labels = []
    with VideoWriter(path, width=WIDTH, height=HEIGHT, rate=Fraction(25)) as writer:
        for index in range(END):
            elsewhere = CUT <= index < BACK
            rgb = np.full((HEIGHT, WIDTH, 3), SKY if elsewhere else DARK, np.uint8)
            truth = np.zeros((HEIGHT, WIDTH), np.uint8)
            square = np.s_[20 : 20 + SIDE, 4 + 2 * index : 4 + 2 * index + SIDE]
            if elsewhere:
                rgb[4:14, 40:50] = RUSTY
            else:
                rgb[square], truth[square] = ORANGE, 1
            writer.write(rgb, Fraction(index, 25))
            labels.append(truth)
    write_mask(path.with_suffix(".png"), labels[0])
    return Footage(path, path.with_suffix(".png"), labels)


@pytest.fixture
def footage(tmp_path: Path) -> Footage:
    return film_with_cuts(tmp_path / "cuts.mp4")


@pytest.fixture
def job(footage: Footage, tmp_path: Path) -> Job:
    return Job(footage.path, (str(footage.mask),), tmp_path / "out", ("masks", "overlay"))


def masks_in(folder: Path) -> list[np.ndarray]:
    return [read_mask(path, allow_empty=True) for path in sorted(folder.glob("masks/*.png"))]


def assert_like(found: np.ndarray, truth: np.ndarray) -> None:
    assert (found != truth).mean() < 0.02


class TestCutsThatAreIgnored:
    def test_are_reported_and_a_warning_names_the_option(
        self, job: Job, by_colour: Predictor
    ) -> None:
        report = segment(job, by_colour)
        assert report.cuts == [CUT, BACK]
        (warning,) = report.warnings
        assert warning.code == "scene_cuts"
        assert warning.message.startswith("scene cuts before frames 5, 11: objects are followed")
        assert "--cuts stop" in warning.message
        assert f"--mask {CUT}:MASK.png" in warning.message
        assert masks_in(job.output)[CUT].any()  # the ghost

    def test_give_no_warning_where_a_mask_is_given(
        self, job: Job, by_colour: Predictor, footage: Footage
    ) -> None:
        write_mask(footage.mask.with_name("none.png"), footage.labels[CUT])
        masks = (*job.masks, f"{CUT}:{footage.mask.with_name('none.png')}", mask_at(BACK, footage))
        report = segment(replace(job, masks=masks), by_colour)
        assert (report.cuts, report.warnings) == ([CUT, BACK], [])

    def test_give_no_warning_before_the_first_mask(
        self, job: Job, by_colour: Predictor, footage: Footage
    ) -> None:
        report = segment(replace(job, masks=(mask_at(BACK + 1, footage),)), by_colour)
        assert [each.code for each in report.warnings] == ["frames_before_mask"]


class TestObjectsThatStopAtACut:
    def test_are_empty_from_there_to_the_end(
        self, job: Job, by_colour: Predictor, footage: Footage
    ) -> None:
        report = segment(replace(job, cuts=OnCut.STOP), by_colour)
        found = masks_in(job.output)
        assert len(found) == END
        assert not any(labels.any() for labels in found[CUT:])
        for labels, truth in zip(found[:CUT], footage.labels, strict=False):
            assert_like(labels, truth)
        assert report.warnings == []

    def test_begin_again_with_a_mask(
        self, job: Job, by_colour: Predictor, footage: Footage
    ) -> None:
        masks = (*job.masks, mask_at(BACK + 2, footage))
        segment(replace(job, cuts=OnCut.STOP, masks=masks), by_colour)
        found = masks_in(job.output)
        assert not any(labels.any() for labels in found[CUT : BACK + 2])
        for labels, truth in zip(found[BACK + 2 :], footage.labels[BACK + 2 :], strict=True):
            assert_like(labels, truth)

    def test_are_not_judged_where_they_are_empty(self, job: Job, by_colour: Predictor) -> None:
        report = segment(replace(job, cuts=OnCut.STOP, check=1), by_colour)
        assert report.checks is not None
        (scores,) = report.checks.objects.values()
        assert scores.frames == list(range(1, CUT))

    def test_leave_the_masks_before_the_cut_as_they_are(
        self, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        segment(job, predictor)
        segment(replace(job, cuts=OnCut.STOP, output=tmp_path / "stop"), predictor)
        ignored, stopped = masks_in(job.output), masks_in(tmp_path / "stop")
        assert np.array_equal(ignored[:CUT], stopped[:CUT])


class TestMemoryThatIsResetAtACut:
    @pytest.mark.parametrize("every", [2, 5])
    def test_holds_the_given_masks_alone(
        self, job: Job, predictor: Predictor, footage: Footage, every: int
    ) -> None:
        predictor = replace(predictor, correction=None, references=References(every=every))
        segment(replace(job, cuts=OnCut.RESET), predictor)
        found, pictures = masks_in(job.output), list(read_frames(footage.path))
        alone = Tracker(predictor=predictor)
        alone.step(pictures[0].rgb, footage.labels[0])
        assert np.array_equal(alone.step(pictures[CUT].rgb), found[CUT])

    def test_finds_the_object_again_when_it_returns(
        self, job: Job, by_colour: Predictor, footage: Footage
    ) -> None:
        segment(replace(job, cuts=OnCut.RESET), by_colour)
        for labels, truth in zip(masks_in(job.output)[BACK:], footage.labels[BACK:], strict=True):
            assert_like(labels, truth)

    def test_keeps_the_masks_of_each_object(self, predictor: Predictor, footage: Footage) -> None:
        pictures = [frame.rgb for frame in read_frames(footage.path)]
        other = np.zeros_like(footage.labels[0])
        other[30:40, 40:60] = 2
        tracker = Tracker(predictor=predictor)
        tracker.step(pictures[0], footage.labels[0])
        tracker.step(pictures[1])
        tracker.step(pictures[2], other)
        tracker.step(pictures[3])
        tracker.forget()
        tracker.step(pictures[4])
        first, second = tracker.track.groups
        kept = {frame.index: frame.absent for frame in tracker.track.history}
        assert kept == {0: (), 2: (1,)}
        assert first.bank is not None
        assert second.bank is not None

    def test_is_refused_where_no_given_mask_is_remembered(
        self, job: Job, by_colour: Predictor
    ) -> None:
        forgetful = replace(by_colour, references=REFERENCE_SETS["previous"])
        with pytest.raises(UsageError, match="--cuts reset: --reference previous remembers no"):
            segment(replace(job, cuts=OnCut.RESET), forgetful)
        assert not job.output.exists()


@pytest.mark.parametrize("cuts", [OnCut.STOP, OnCut.RESET])
class TestARunThatMindsCuts:
    def test_resumes_to_the_same_bytes(
        self, job: Job, predictor: Predictor, tmp_path: Path, cuts: OnCut
    ) -> None:
        whole = replace(job, cuts=cuts, check=2, output=tmp_path / "whole")
        segment(whole, predictor)
        for frame in (2, CUT, CUT + 1, BACK + 1):
            job = replace(whole, output=tmp_path / f"after {frame}")
            interrupted(job, predictor, frame)
            report = resumed(job, predictor)
            assert report.seconds.frames is not None
            assert report.seconds.frames <= END - frame + 1
            assert_alike(job.output, whole.output)

    def test_redoes_a_run_that_ignored_them_from_the_first_cut_on(
        self, job: Job, predictor: Predictor, tmp_path: Path, cuts: OnCut
    ) -> None:
        segment(job, predictor)
        job = replace(job, cuts=cuts)
        assert resumed(job, predictor).seconds.frames == END - CUT + 1  # from a state of 4
        segment(replace(job, output=tmp_path / "whole"), predictor)
        assert_alike(job.output, tmp_path / "whole")

    def test_is_resumed_to_a_later_end_with_the_cuts_that_show_only_then(
        self, job: Job, predictor: Predictor, tmp_path: Path, cuts: OnCut
    ) -> None:
        whole = replace(job, cuts=cuts, output=tmp_path / "whole")
        segment(whole, predictor)
        for end in (CUT + 1, CUT + 2, CUT + 3):
            job = replace(whole, output=tmp_path / f"after {end}")
            segment(replace(job, end=end), predictor)
            assert resumed(job, predictor).cuts == [CUT, BACK]
            assert_alike(job.output, whole.output)

    def test_goes_along_in_a_batch(
        self, job: Job, predictor: Predictor, tmp_path: Path, cuts: OnCut
    ) -> None:
        (tmp_path / "t.csv").write_text("video,mask\ncuts.mp4,cuts.png\n")
        template = replace(job, output=tmp_path / "all", cuts=cuts)
        (outcome,) = segment_all(read_batch(tmp_path / "t.csv", template), alone(predictor))
        assert outcome.report is not None
        assert outcome.report.options["cuts"] == cuts
        segment(replace(job, cuts=cuts), predictor)
        assert np.array_equal(masks_in(tmp_path / "all" / "cuts"), masks_in(job.output))

    def test_prints_where_they_are(
        self, job: Job, predictor: Predictor, cuts: OnCut, capsys: pytest.CaptureFixture[str]
    ) -> None:
        print_summary(segment(replace(job, cuts=cuts), predictor), quiet=False)
        lines = capsys.readouterr().err.splitlines()
        assert lines[0].startswith("scene cuts before frames 5, 11: the objects ")

    def test_yields_the_masks_of_the_command_in_python(
        self, job: Job, predictor: Predictor, footage: Footage, cuts: OnCut
    ) -> None:
        segment(replace(job, cuts=cuts), predictor)
        masks: dict[int, Mask] = {0: footage.labels[0]}
        found = vostool.follow(footage.path, masks, cuts=cuts.value, predictor=predictor)
        assert np.array_equal([labels for _, labels in found], masks_in(job.output))


class TestBackward:
    @pytest.fixture
    def late(self, job: Job, footage: Footage) -> Job:
        return replace(job, masks=(mask_at(BACK, footage),), backward=True)

    def test_objects_stop_at_the_cut_before_their_mask(
        self, late: Job, by_colour: Predictor, footage: Footage
    ) -> None:
        segment(replace(late, cuts=OnCut.STOP), by_colour)
        found = masks_in(late.output)
        assert not any(labels.any() for labels in found[:BACK])
        for labels, truth in zip(found[BACK:], footage.labels[BACK:], strict=True):
            assert_like(labels, truth)

    def test_a_mask_in_the_scene_counts_alone(
        self, late: Job, by_colour: Predictor, footage: Footage
    ) -> None:
        masks = (mask_at(1, footage), *late.masks)
        segment(replace(late, masks=masks, cuts=OnCut.STOP), by_colour)
        for labels, truth in zip(masks_in(late.output), footage.labels, strict=True):
            assert_like(labels, truth)

    @pytest.mark.parametrize("cuts", [OnCut.STOP, OnCut.RESET])
    def test_an_interrupted_run_goes_on_to_the_same_bytes(
        self, late: Job, predictor: Predictor, tmp_path: Path, cuts: OnCut
    ) -> None:
        whole = replace(late, cuts=cuts, output=tmp_path / "whole")
        segment(whole, predictor)
        for frame in (2, BACK + 4):
            job = replace(whole, output=tmp_path / f"after {frame}")
            interrupted(job, predictor, frame)
            resumed(job, predictor)
            assert_alike(job.output, whole.output)


def test_a_frame_without_a_cut_begins_no_scene() -> None:
    rgb = np.zeros((2, 2, 3), np.uint8)
    assert not Frame(0, Fraction(0), rgb, "00000").begins_scene
    assert not Frame(7, Fraction(0), rgb, "00007", scene=5).begins_scene
    assert Frame(5, Fraction(0), rgb, "00005", scene=5).begins_scene
