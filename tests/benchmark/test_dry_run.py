import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import ARRIVAL, FRAMES, HEIGHT, WIDTH, Footage, film
from tests.segment.conftest import predictor, states_of_every_frame
from tests.segment.test_resume import interrupted, mask_at
from vostool.benchmark.dry_run import SETTLED, TRIED, DryRun, dry_run
from vostool.cli.dry_run import lines
from vostool.errors import InputError, MaskError, OutputError, UsageError, VostoolError
from vostool.inference.cuts import OnCut
from vostool.inference.predictor import Predictor
from vostool.propagation.frame_loop import REFERENCE_SETS
from vostool.segment.job import Job
from vostool.segment.run import segment

__all__ = ["predictor", "states_of_every_frame"]
pytestmark = pytest.mark.usefixtures("states_of_every_frame")


@pytest.fixture
def footage(tmp_path: Path) -> Footage:
    return film(tmp_path / "two.mp4", tmp_path / "two.png", two=True)


@pytest.fixture
def job(footage: Footage, tmp_path: Path) -> Job:
    return Job(footage.path, (str(footage.mask),), tmp_path / "out", ("masks", "overlay"))


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dry_run_says_what_the_run_would_read_and_write(
    job: Job, predictor: Predictor, footage: Footage, tmp_path: Path
) -> None:
    before = files(tmp_path)
    found = dry_run(replace(job, masks=(*job.masks, mask_at(ARRIVAL, footage))), predictor)
    assert (found.input.width, found.input.height, found.input.codec) == (WIDTH, HEIGHT, "h264")
    assert found.masks == {0: [1], ARRIVAL: [1, 2]}
    assert found.objects == [1, 2]
    assert (found.frames, found.to_follow, found.kept) == (FRAMES, FRAMES, 0)
    overlay = str(job.output / "overlay.mp4")
    assert found.outputs == {"masks": str(job.output / "masks"), "overlay": overlay}
    assert found.working_size == (HEIGHT, WIDTH)
    assert found.options["device"] == "cpu"
    assert files(tmp_path).keys() - before.keys() == {tmp_path / f"given-{ARRIVAL}.png"}
    assert not job.output.exists()


def test_a_dry_run_times_a_few_frames_and_measures_memory(job: Job, predictor: Predictor) -> None:
    shown = []
    found = dry_run(job, predictor, lambda *done: shown.append(done))
    assert len(shown) == min(FRAMES, TRIED) > SETTLED
    assert found.fps is not None
    assert found.seconds == pytest.approx(FRAMES / found.fps, abs=0.1)
    assert found.basis.startswith(f"{FRAMES} frames from frame 0 on, decoded and segmented")
    assert found.memory.ram is None or found.memory.ram > 50


def test_only_the_frames_from_the_first_mask_on_are_followed_unless_backward(
    job: Job, predictor: Predictor, footage: Footage
) -> None:
    late = replace(job, masks=(mask_at(5, footage),))
    assert dry_run(late, predictor).to_follow == FRAMES - 5
    assert dry_run(replace(late, backward=True), predictor).to_follow == FRAMES + 6


def test_the_time_of_a_single_frame_is_unknown(job: Job, predictor: Predictor) -> None:
    found = dry_run(replace(job, end=1), predictor)
    assert (found.fps, found.seconds) == (None, None)
    assert dict(lines(found))["time"].startswith("unknown: too few frames to time")


def test_a_dry_run_of_an_interrupted_run_says_what_is_kept(job: Job, predictor: Predictor) -> None:
    interrupted(job, predictor, 5)
    before = files(job.output)
    found = dry_run(replace(job, resume=True), predictor)
    assert (found.kept, found.to_follow) == (4, FRAMES - 4)  # the state written last
    assert files(job.output) == before
    assert "4 kept" in dict(lines(found))["time"]


class TestADryRunRefusesWhatTheRunRefuses:
    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"video": Path("none.mp4")}, InputError),
            ({"masks": ("none.png",)}, MaskError),
            ({"masks": ("99:MASK",)}, MaskError),
            ({"start": 4}, UsageError),
            ({"effect_on": "7"}, UsageError),
        ],
    )
    def test_input(
        self, job: Job, predictor: Predictor, changes: dict[str, object], error: type[VostoolError]
    ) -> None:
        if changes.get("masks") == ("99:MASK",):
            changes = {"masks": (f"99:{job.masks[0]}",)}
        if "start" in changes:
            changes = {"start": 4, "masks": (f"0:{job.masks[0]}",)}
        wrong = replace(job, **changes)  # type: ignore[arg-type]
        problems = []
        for run in (dry_run, segment):  # which may write frames before it finds out
            with pytest.raises(error) as caught:
                run(wrong, predictor)
            problems.append(str(caught.value))
            assert run is segment or not job.output.exists()
        assert problems[0] == problems[1]

    def test_an_output_that_is_there(self, job: Job, predictor: Predictor) -> None:
        segment(job, predictor)
        with pytest.raises(OutputError, match="exists already; --resume"):
            dry_run(job, predictor)
        assert dry_run(replace(job, overwrite=True), predictor).kept == 0

    def test_cuts_that_reset_a_memory_of_no_mask(self, job: Job, predictor: Predictor) -> None:
        forgetful = replace(predictor, references=REFERENCE_SETS["previous"])
        with pytest.raises(UsageError, match="reset"):
            dry_run(replace(job, cuts=OnCut.RESET), forgetful)


def test_the_lines_name_each_subject_once(job: Job, predictor: Predictor) -> None:
    found = dry_run(job, predictor)
    shown = dict(lines(found))
    assert list(shown) == ["reads", "masks", "network", "writes", "time", "memory"]
    assert shown["reads"] == f"{job.video}: 64x48, 8 frames at 25 per second, h264"
    assert shown["masks"] == "frame 0: object 1"
    assert shown["network"].endswith("on cpu in float32, 64x48")
    assert shown["writes"] == f"{job.output}: masks, overlay, run.json"
    again = DryRun.model_validate_json(json.dumps(found.model_dump(mode="json")))
    assert again == found
