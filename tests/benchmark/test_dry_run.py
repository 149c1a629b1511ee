import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.conftest import ARRIVAL, FRAMES, HEIGHT, WIDTH, ColourNetwork, Footage, film
from tests.segment.conftest import predictor, states_of_every_frame
from tests.segment.test_resume import interrupted, mask_at
from vostool.benchmark.dry_run import SETTLED, TRIED, DryRun, dry_run, with_bank_filling
from vostool.cli.dry_run import lines
from vostool.errors import InputError, MaskError, OutputError, UsageError, VostoolError
from vostool.inference.cuts import OnCut
from vostool.inference.predictor import Predictor
from vostool.propagation.references import REFERENCE_SETS
from vostool.segment.job import Job
from vostool.segment.run import segment

__all__ = ["predictor", "states_of_every_frame"]
pytestmark = pytest.mark.usefixtures("states_of_every_frame")
LATE = 5  # the frame of a mask that is followed backward


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
    assert found.beside == ["run.json", ".state"]
    assert found.working_size == (HEIGHT, WIDTH)
    assert found.options["device"] == "cpu"
    assert files(tmp_path).keys() - before.keys() == {tmp_path / f"given-{ARRIVAL}.png"}
    assert not job.output.exists()


def test_a_dry_run_times_a_few_frames_and_measures_memory(job: Job, predictor: Predictor) -> None:
    shown = []
    found = dry_run(job, predictor, lambda *done: shown.append(done))
    assert len(shown) == min(FRAMES, TRIED) > SETTLED
    assert found.fps is not None
    # rounded to hundredths and tenths
    least, most = (FRAMES / (found.fps + each) for each in (0.005, -0.005))
    assert found.seconds is not None
    assert least - 0.05 <= found.seconds <= most + 0.05
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


@pytest.mark.parametrize("after", [3, LATE + 3])  # on the way back, and on the way forward
def test_a_dry_run_of_an_interrupted_run_knows_the_way_back_that_is_kept(
    job: Job, predictor: Predictor, footage: Footage, after: int
) -> None:
    job = replace(job, masks=(mask_at(LATE, footage),), backward=True)
    interrupted(job, predictor, after)
    job = replace(job, resume=True)
    found = dry_run(job, predictor)
    assert found.to_follow == segment(job, predictor).seconds.frames
    assert found.to_follow is not None
    assert found.to_follow < FRAMES + LATE + 1


def test_a_dry_run_that_adds_an_output_to_a_finished_run_follows_nothing_again(
    job: Job, predictor: Predictor, footage: Footage
) -> None:
    job = replace(job, masks=(mask_at(LATE, footage),), backward=True)
    segment(job, predictor)
    job = replace(job, resume=True, outputs=("masks", "table"))
    assert dry_run(job, predictor).to_follow == segment(job, predictor).seconds.frames == 0


@pytest.mark.parametrize("changes", [{}, {"check": 2, "outputs": ("masks", "matte")}])
def test_a_dry_run_names_all_that_the_run_leaves_in_its_folder(
    job: Job, predictor: Predictor, changes: dict[str, Any]
) -> None:
    job = replace(job, **changes)
    found = dry_run(job, predictor)
    segment(job, predictor)
    names = {Path(path).name for path in found.outputs.values()}
    assert names | set(found.beside) == {path.name for path in job.output.iterdir()}


def test_a_dry_run_says_if_the_memory_bank_of_the_run_comes_to_more_frames(
    job: Job, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dry_run(job, predictor).basis.endswith("without checking and writing")
    monkeypatch.setattr("vostool.benchmark.dry_run.TRIED", 2)
    unlimited = replace(predictor, memory_frames=None)
    assert "came to 1 frames; that of the run comes to 4" in dry_run(job, unlimited).basis


def test_a_recurrent_model_keeps_every_frame_while_it_is_tried(predictor: Predictor) -> None:
    class Recurrent(ColourNetwork):
        memory_every = 5

    network = Recurrent()
    tried = with_bank_filling(replace(predictor, network=cast(Any, network)))
    assert (tried.memory_every, network.memory_every) == (1, 5)


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

    def test_a_start_behind_the_end(self, job: Job, predictor: Predictor) -> None:
        late = replace(job, start=FRAMES + 4, masks=(f"{FRAMES + 6}:{job.masks[0]}",))
        for run in (segment, dry_run):
            with pytest.raises(InputError, match=f"cannot start at frame {FRAMES + 4}, it has"):
                run(late, predictor)

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
    assert shown["writes"] == f"{job.output}: masks, overlay, run.json, .state"
    again = DryRun.model_validate_json(json.dumps(found.model_dump(mode="json")))
    assert again == found
