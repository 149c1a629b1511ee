import gc
import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from tests.conftest import (
    ARRIVAL,
    FRAMES,
    HEIGHT,
    ColourNetwork,
    Footage,
    copy_as_killed,
    film,
)
from vostool.errors import OutputError
from vostool.inference import oom, saved_track, states, tracker
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.provenance import versions
from vostool.inference.saved_track import SavedTrack, read_track
from vostool.inference.states import States
from vostool.inference.tracker import Tracker
from vostool.media.frame import Frame
from vostool.media.masks import write_mask
from vostool.media.video import probe, read_frames
from vostool.segment.batch import Outcome, alone, segment_all
from vostool.segment.job import Job
from vostool.segment.output import Output
from vostool.segment.report import RunReport
from vostool.segment.run import segment

TIMES = ("seconds", "fps")
pytestmark = pytest.mark.usefixtures("states_of_every_frame")


def mask_at(frame: int, footage: Footage) -> str:
    """Write the true mask of a frame; returns what --mask takes."""
    path = footage.path.with_name(f"given-{frame}.png")
    write_mask(path, footage.labels[frame])
    return f"{frame}:{path}"


@pytest.fixture
def job(two: Footage, tmp_path: Path) -> Job:
    """Two objects, one of which enters late."""
    write_mask(two.mask, two.labels[0])
    masks = (str(two.mask), mask_at(ARRIVAL, two))
    return Job(
        two.path, masks, tmp_path / "out", outputs=("masks", "overlay", "cutouts"), states=True
    )


def stop_at(frame: int) -> Callable[[int, int | None, str], None]:
    def progress(done: int, total: int | None, words: str) -> None:
        if done == frame:
            raise KeyboardInterrupt

    return progress


def interrupted(job: Job, predictor: Predictor, frame: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        segment(job, predictor, stop_at(frame))


def pictures(folder: Path) -> dict[str, bytes]:
    found = [*folder.glob("masks/*"), *folder.glob("cutouts/*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def report_in(folder: Path) -> dict[str, Any]:
    """Return run.json without what depends on the time it took, and on where it lies."""
    text = (folder / "run.json").read_text().replace(str(folder), "OUT")
    return {key: value for key, value in json.loads(text).items() if key not in TIMES}


def assert_alike(one: Path, other: Path) -> None:
    """Assert that two runs made the same, to the byte, and of their films every frame."""
    assert pictures(one) == pictures(other)
    assert report_in(one) == report_in(other)
    films = [[frame.rgb for frame in read_frames(each / "overlay.mp4")] for each in (one, other)]
    assert np.array_equal(films[0], films[1])


def resumed(job: Job, predictor: Predictor) -> RunReport:
    return segment(replace(job, resume=True), predictor)


@pytest.fixture
def whole(job: Job, predictor: Predictor, tmp_path: Path) -> Path:
    """A run that nothing disturbed."""
    segment(replace(job, output=tmp_path / "whole"), predictor)
    return tmp_path / "whole"


SOFT = ("masks", "alpha=ffv1", "matte=each+16", "matte=video+16")


class TestSoftMasksOfAnInterruptedRun:
    def test_are_those_of_a_whole_one(self, job: Job, predictor: Predictor, tmp_path: Path) -> None:
        whole = replace(job, outputs=SOFT, output=tmp_path / "soft")
        segment(whole, predictor)
        for frame in (1, 4, FRAMES):
            job = replace(whole, output=tmp_path / f"after {frame}")
            interrupted(job, predictor, frame)
            report = resumed(job, predictor)
            assert report.seconds.frames is not None
            assert report.seconds.frames <= FRAMES - frame + 1
            for name in ("cutout.mkv", "matte.mkv", "mattes", "masks"):
                made = [job.output / name, *(job.output / name).rglob("*.*")]
                made = [path for path in made if path.is_file()]
                assert made
                for path in made:
                    other = whole.output / path.relative_to(job.output)
                    assert path.read_bytes() == other.read_bytes(), path

    def test_that_are_damaged_are_made_again(self, job: Job, predictor: Predictor) -> None:
        job = replace(job, outputs=SOFT)
        interrupted(job, predictor, 6)
        (job.output / ".soft" / "00002.png").write_bytes(b"damaged")
        (job.output / ".state" / "00002.safetensors").unlink(missing_ok=True)
        assert resumed(job, predictor).seconds.frames == FRAMES

    def test_are_of_the_network_s_size_and_go_with_the_run(
        self, job: Job, predictor: Predictor
    ) -> None:
        segment(replace(job, outputs=SOFT), predictor)
        assert len(list((job.output / ".soft").iterdir())) == FRAMES
        segment(replace(job, outputs=("masks",), overwrite=True), predictor)
        assert not (job.output / ".soft").exists()
        assert not (job.output / "mattes").exists()


class TestAnInterruptedRun:
    def test_goes_on_to_the_same_bytes(
        self, job: Job, predictor: Predictor, whole: Path, tmp_path: Path
    ) -> None:
        for frame in range(1, FRAMES + 1):
            job = replace(job, output=tmp_path / f"after {frame}")
            interrupted(job, predictor, frame)
            report = resumed(job, predictor)
            assert report.seconds.frames is not None
            assert report.seconds.frames <= FRAMES - frame + 1
            assert_alike(job.output, whole)

    def test_goes_on_as_often_as_it_is_interrupted(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        interrupted(job, predictor, 2)
        for frame in (5, 6, 4):
            interrupted(replace(job, resume=True), predictor, frame)
        resumed(job, predictor)
        assert_alike(job.output, whole)

    def test_goes_on_where_it_and_its_inputs_were_moved_to(
        self, job: Job, predictor: Predictor, whole: Path, tmp_path: Path
    ) -> None:
        interrupted(job, predictor, 5)
        place = tmp_path / "elsewhere"
        place.mkdir()
        shutil.move(job.output, place / "out")
        shutil.copy(job.input.path, place / "copy.mp4")
        moved = replace(job, output=place / "out", video=place / "copy.mp4")
        report = resumed(moved, predictor)
        assert report.seconds.frames == FRAMES - 4
        assert pictures(place / "out") == pictures(whole)

    def test_goes_on_from_a_state_whose_masks_are_whole(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        interrupted(job, predictor, 6)
        os.truncate(job.output / "masks" / "00003.png", 0)  # as a power cut may leave it
        assert resumed(job, predictor).seconds.frames == FRAMES - 2
        assert_alike(job.output, whole)

    def test_passes_over_a_state_that_is_damaged(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        interrupted(job, predictor, 6)
        *_, last = sorted((job.output / ".state").iterdir())
        os.truncate(last, 100)
        resumed(job, predictor)
        assert_alike(job.output, whole)

    def test_passes_over_a_state_whose_content_is_damaged(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        interrupted(job, predictor, 6)
        *_, last = sorted((job.output / ".state").iterdir())
        last.write_bytes(last.read_bytes()[:-200] + bytes(200))
        resumed(job, predictor)
        assert_alike(job.output, whole)

    def test_passes_over_a_state_that_another_version_wrote(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        interrupted(job, predictor, 5)
        for path in (job.output / ".state").iterdir():
            with safe_open(path, framework="pt") as file:
                header = json.loads(file.metadata()["vostool"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            header["notes"] = json.dumps({**json.loads(header["notes"]), "later": 1})
            save_file(tensors, path, metadata={"vostool": json.dumps(header)})
        assert resumed(job, predictor).seconds.frames == FRAMES
        assert_alike(job.output, whole)

    def test_goes_on_past_states_of_which_only_some_are_its_own(
        self, job: Job, predictor: Predictor, two: Footage, tmp_path: Path
    ) -> None:
        segment(job, predictor)
        other = replace(job, output=tmp_path / "other")
        segment(other, replace(predictor, memory_frames=2))
        alien = ".state/00002.safetensors"
        shutil.copy(other.output / alien, job.output / alien)
        write_mask(two.mask, two.labels[1])  # no state is valid any more
        assert resumed(job, predictor).seconds.frames == FRAMES

    def test_does_not_trust_a_mask_that_is_damaged_before_its_end(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        interrupted(job, predictor, 6)
        path = job.output / "masks" / "00003.png"
        content = path.read_bytes()
        path.write_bytes(content[:-60] + bytes(48) + content[-12:])
        assert resumed(job, predictor).seconds.frames == FRAMES - 2
        assert_alike(job.output, whole)

    def test_removes_what_a_kill_left_of_a_state(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        interrupted(job, predictor, 5)
        (job.output / ".state" / "00003.safetensors.part").write_bytes(b"cut")
        resumed(job, predictor)
        names = [
            sorted(each.name for each in (p / ".state").iterdir()) for p in (job.output, whole)
        ]
        assert names[0] == names[1]

    def test_holds_no_picture_of_the_frames_that_were_kept(
        self, job: Job, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Watched(np.ndarray):
            """An array to which there can be weak references."""

        passes: list[list[weakref.ref[Any]]] = []
        held: list[int] = []

        def read(*arguments: Any, **named: Any) -> Iterator[Frame]:
            passes.append([])
            for frame in read_frames(*arguments, **named):
                watched = frame.rgb.view(Watched)
                passes[-1].append(weakref.ref(watched))
                yield replace(frame, rgb=watched)

        def advance(self: Tracker, *arguments: Any) -> Any:
            gc.collect()
            held.append(sum(each() is not None for each in passes[0]))
            return before(self, *arguments)

        interrupted(job, predictor, 6)
        before = Tracker._advance
        monkeypatch.setattr("vostool.inference.saved_track.read_frames", read)
        monkeypatch.setattr("vostool.media.inputs.read_frames", read)
        monkeypatch.setattr(Tracker, "_advance", advance)
        resumed(job, predictor)
        assert passes[0]
        assert held
        assert not any(held)

    def test_begins_again_without_a_state_or_without_masks(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        interrupted(replace(job, states=False), predictor, 5)
        assert not (job.output / ".state").exists()
        assert resumed(job, predictor).seconds.frames == FRAMES
        assert_alike(job.output, whole)
        film_only = replace(job, outputs=("overlay",), output=job.output.with_name("film"))
        interrupted(film_only, predictor, 5)
        assert not (film_only.output / ".state").exists()
        assert resumed(film_only, predictor).seconds.frames == FRAMES

    def test_that_is_not_there_is_begun(self, job: Job, predictor: Predictor, whole: Path) -> None:
        resumed(job, predictor)
        assert_alike(job.output, whole)

    def test_from_a_start_after_the_first_frame_goes_on_to_the_same_bytes(
        self, job: Job, predictor: Predictor, two: Footage, tmp_path: Path
    ) -> None:
        job = replace(job, start=1, masks=(mask_at(1, two),))
        segment(replace(job, output=tmp_path / "whole"), predictor)
        interrupted(job, predictor, 5)
        assert resumed(job, predictor).seconds.frames == FRAMES - 5
        assert_alike(job.output, tmp_path / "whole")

    def test_keeps_the_outputs_that_it_has_when_fewer_are_asked_for(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        interrupted(job, predictor, 3)
        resumed(replace(job, outputs=("overlay",)), predictor)
        assert_alike(job.output, whole)

    def test_writes_an_output_that_was_not_wanted_before(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        interrupted(replace(job, outputs=("masks", "cutouts")), predictor, 5)
        assert resumed(job, predictor).seconds.frames == FRAMES - 4
        assert_alike(job.output, whole)


@dataclass
class ShortOfMemory:
    """Lets memory run out on a frame, until a predictor is small enough."""

    frame: int
    small_enough: Callable[[Predictor], bool]

    def apply(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = Tracker._advance

        def advance(tracker: Tracker, *arguments: Any) -> Any:
            if tracker.frames >= self.frame and not self.small_enough(tracker.predictor):
                raise torch.OutOfMemoryError("CUDA out of memory")
            return before(tracker, *arguments)

        monkeypatch.setattr(oom, "MIN_SHORT_SIDE", 16)
        monkeypatch.setattr(Tracker, "_advance", advance)


def is_smaller(predictor: Predictor) -> bool:
    return predictor.size < HEIGHT


class TestARunShortOfMemory:
    @pytest.mark.parametrize(
        ("size", "small_enough"),
        [
            (HEIGHT, is_smaller),
            (2 * HEIGHT // 3, lambda predictor: predictor.size < HEIGHT // 2),
            (HEIGHT, lambda predictor: predictor.objects_at_once == 1),
        ],
        ids=["size", "smaller size", "objects"],
    )
    def test_goes_on_to_the_same_bytes_before_and_after_it_ran_out(
        self,
        job: Job,
        predictor: Predictor,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        size: int,
        small_enough: Callable[[Predictor], bool],
    ) -> None:
        predictor = replace(predictor, size=size)
        ShortOfMemory(4, small_enough).apply(monkeypatch)
        segment(replace(job, output=tmp_path / "whole"), predictor)
        for stop in (4, 5, 7):
            job = replace(job, output=tmp_path / f"after {stop}")
            interrupted(job, predictor, stop)
            report = resumed(job, predictor)
            assert report.limits.lowered
            assert report.seconds.frames == FRAMES - stop + 1
            assert_alike(job.output, tmp_path / "whole")

    def test_reads_its_weights_once_to_compare_all_states(
        self, job: Job, predictor: Predictor, two: Footage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ShortOfMemory(1, is_smaller).apply(monkeypatch)
        interrupted(replace(job, masks=(str(two.mask),)), predictor, 7)
        write_mask(two.mask, two.labels[1])  # no state is valid any more
        read: list[Path] = []
        monkeypatch.setattr("vostool.inference.predictor.sha256", read.append)
        found = States(job.output, two.path, 0, GivenMasks({0: two.mask}, probe(two.path)))
        same = replace(predictor)
        vars(same)["identity"] = predictor.identity
        assert len(list(found.found())) > 2
        assert found.latest(same, FRAMES) is None
        assert read == []


def test_a_resumed_run_reads_each_state_at_most_once(
    job: Job, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(job, predictor, 7)
    found: list[Path] = []

    def read(path: Path) -> SavedTrack:
        found.append(path)
        return read_track(path)

    for module in (states, tracker, saved_track):
        monkeypatch.setattr(module, "read_track", read)
    resumed(job, predictor)
    assert len(found) == 1


@pytest.mark.parametrize(("kept", "times"), [(True, 1), (False, 0)], ids=["states", "no states"])
def test_the_fingerprint_of_a_video_is_taken_where_states_are_written_and_once(
    job: Job, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, kept: bool, times: int
) -> None:
    taken: list[Path] = []

    def take(video: Path) -> str:
        taken.append(video)
        return "the video's"

    monkeypatch.setattr(states, "fingerprint", take)
    segment(replace(job, states=kept), predictor)
    assert len(taken) == times


def bound_in(folder: Path) -> int:
    """Return how many bytes the states of a run may take, by its report."""
    return int(report_in(folder)["states"]["bound"])


class TestAFinishedRun:
    def test_is_left_as_it_is(self, job: Job, predictor: Predictor) -> None:
        first = segment(job, predictor)
        before = {path: path.stat().st_mtime_ns for path in job.output.rglob("*")}
        assert resumed(job, predictor) == first
        assert {path: path.stat().st_mtime_ns for path in job.output.rglob("*")} == before

    def test_whose_film_was_lost_gets_it_from_the_masks(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        segment(job, predictor)
        (job.output / "overlay.mp4").unlink()
        assert resumed(job, predictor).seconds.frames == 0
        assert_alike(job.output, whole)

    def test_whose_cutouts_are_not_complete_gets_them_from_the_masks(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        segment(job, predictor)
        (job.output / "cutouts" / "00005.png").unlink()
        assert resumed(job, predictor).seconds.frames == 0
        assert_alike(job.output, whole)

    def test_gets_an_output_more_from_the_masks_and_loses_none(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        segment(replace(job, outputs=("masks", "cutouts")), predictor)
        assert resumed(replace(job, outputs=("overlay",)), predictor).seconds.frames == 0
        assert pictures(job.output) == pictures(whole)
        assert (job.output / "overlay.mp4").exists()

    def test_without_soft_masks_is_done_again_for_an_output_that_needs_them(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        segment(replace(job, outputs=("masks", "overlay")), predictor)
        report = resumed(replace(job, outputs=("cutouts",)), predictor)
        assert report.seconds.frames == FRAMES
        assert_alike(job.output, whole)

    def test_goes_on_past_its_end(self, job: Job, predictor: Predictor, whole: Path) -> None:
        segment(replace(job, end=5), predictor)
        assert resumed(job, predictor).seconds.frames == FRAMES - 5
        assert_alike(job.output, whole)

    def test_is_cut_short(self, job: Job, predictor: Predictor, tmp_path: Path) -> None:
        segment(job, predictor)
        resumed(replace(job, end=4), predictor)
        segment(replace(job, end=4, output=tmp_path / "short"), predictor)
        assert_alike(job.output, tmp_path / "short")

    def test_whose_states_cannot_be_written_says_so_once(
        self, job: Job, predictor: Predictor, whole: Path
    ) -> None:
        job.output.mkdir()
        (job.output / ".state").write_text("no folder")
        report = segment(job, predictor)
        assert report.status == "done"
        (warning,) = report.warnings
        assert warning.code == "state"
        assert "no more states are written" in warning.message
        assert pictures(job.output) == pictures(whole)

    def test_replaced_by_one_without_states_leaves_none(
        self, job: Job, predictor: Predictor
    ) -> None:
        segment(job, predictor)
        segment(replace(job, states=False, overwrite=True), predictor)
        assert not (job.output / ".state").exists()

    def test_whose_replacement_was_killed_at_once_is_no_obstacle_to_that(
        self, job: Job, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(_: Output) -> None:
            raise ZeroDivisionError

        segment(job, predictor)
        other = replace(predictor, memory_frames=2)
        with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(Output, "_clear", killed)
            segment(replace(job, overwrite=True), other)
        assert resumed(job, other).seconds.frames == FRAMES

    @pytest.mark.parametrize("end", [None, 4])
    def test_without_states_is_an_error_and_stays(
        self, job: Job, predictor: Predictor, end: int | None
    ) -> None:
        segment(replace(job, states=False), predictor)
        before = pictures(job.output)
        with pytest.raises(OutputError, match=r"a finished run without states \(--no-state"):
            resumed(replace(job, end=end), predictor)
        assert pictures(job.output) == before

    def test_keeps_a_state_every_so_many_frames_and_the_last(
        self, job: Job, predictor: Predictor
    ) -> None:
        report = segment(job, predictor)
        names = sorted(path.stem for path in (job.output / ".state").iterdir())
        assert names == [f"{number:05d}" for number in range(2, FRAMES + 1, 2)]
        assert report.states is not None
        assert report.states.spacing == 2

    def test_keeps_fewer_states_where_they_grow_too_large(
        self, job: Job, predictor: Predictor, whole: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sizes = [path.stat().st_size for path in (whole / ".state").iterdir()]
        monkeypatch.setattr(states, "BOUND", sum(sizes) * 3 // 4)
        monkeypatch.setattr(states, "FEWEST", 1)
        segment(job, predictor)
        left = [path.stat().st_size for path in (job.output / ".state").iterdir()]
        assert sum(left) <= sum(sizes) * 3 // 4 == bound_in(job.output)
        assert (job.output / ".state" / f"{FRAMES:05d}.safetensors").exists()
        assert len(left) > 1

    def test_reports_the_bound_that_holds_for_states_too_large_for_the_usual_one(
        self, job: Job, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(states, "BOUND", 1)
        segment(job, predictor)
        sizes = [path.stat().st_size for path in (job.output / ".state").iterdir()]
        assert bound_in(job.output) == states.FEWEST * max(sizes) >= sum(sizes)


class TestARepair:
    @pytest.mark.parametrize("frames", [(6,), (5, 4), (4, 6)])
    def test_redoes_only_what_follows(
        self, job: Job, predictor: Predictor, two: Footage, frames: tuple[int, ...], tmp_path: Path
    ) -> None:
        segment(job, predictor)
        for frame in frames:
            job = replace(job, masks=(*job.masks, mask_at(frame, two)))
            report = resumed(job, predictor)
            assert report.seconds.frames == FRAMES - frame // 2 * 2
        segment(replace(job, output=tmp_path / "both"), predictor)
        assert_alike(job.output, tmp_path / "both")

    def test_renews_all_outputs_when_fewer_are_asked_for(
        self, job: Job, predictor: Predictor, two: Footage, tmp_path: Path
    ) -> None:
        segment(job, predictor)
        job = replace(job, masks=(*job.masks, mask_at(5, two)))
        resumed(replace(job, outputs=("masks",)), predictor)
        segment(replace(job, output=tmp_path / "both"), predictor)
        assert_alike(job.output, tmp_path / "both")

    def test_that_was_interrupted_leaves_no_film_of_the_run_before(
        self, job: Job, predictor: Predictor, two: Footage
    ) -> None:
        segment(job, predictor)
        repaired = replace(job, masks=(*job.masks, mask_at(2, two)), resume=True)
        interrupted(repaired, predictor, 6)
        assert not (job.output / "overlay.mp4").exists()
        assert (job.output / "overlay.part.mp4").exists()

    def test_that_is_taken_back_is_undone(
        self, job: Job, predictor: Predictor, two: Footage, whole: Path
    ) -> None:
        segment(replace(job, masks=(*job.masks, mask_at(5, two))), predictor)
        assert resumed(job, predictor).seconds.frames == FRAMES - 4
        assert_alike(job.output, whole)

    @pytest.mark.parametrize(
        ("before", "after", "first"),
        [
            ((), ("1:5-6",), 5),
            (("1:5-6",), (), 5),
            (("1:4-6",), ("1:4-4", "1:5-7"), 7),
            (("1:3-",), ("1:3-5",), 6),
        ],
    )
    def test_of_an_absent_stretch_begins_where_it_changed(
        self,
        job: Job,
        predictor: Predictor,
        tmp_path: Path,
        before: tuple[str, ...],
        after: tuple[str, ...],
        first: int,
    ) -> None:
        job = replace(job, masks=job.masks[:1])
        segment(replace(job, absent=before), predictor)
        changed = replace(job, absent=after)
        assert resumed(changed, predictor).seconds.frames == FRAMES - first // 2 * 2
        segment(replace(changed, output=tmp_path / "changed"), predictor)
        assert_alike(job.output, tmp_path / "changed")

    def test_that_was_interrupted_leaves_nothing_of_the_run_before(
        self, job: Job, predictor: Predictor, two: Footage, whole: Path
    ) -> None:
        segment(job, predictor)
        repaired = replace(job, masks=(*job.masks, mask_at(5, two)), resume=True)
        interrupted(repaired, predictor, 6)
        resumed(job, predictor)  # as it was before the repair
        assert_alike(job.output, whole)

    def test_of_a_mask_that_was_changed_begins_at_its_frame(
        self, job: Job, predictor: Predictor, two: Footage, tmp_path: Path
    ) -> None:
        segment(job, predictor)
        write_mask(Path(job.masks[1].partition(":")[2]), np.uint8(2) * (two.labels[ARRIVAL] > 1))
        resumed(job, predictor)
        segment(replace(job, output=tmp_path / "changed"), predictor)
        assert_alike(job.output, tmp_path / "changed")


class TestWhatCannotBeResumed:
    @pytest.mark.parametrize("report", [None, "{}"], ids=["none", "unreadable"])
    def test_is_a_folder_whose_masks_no_report_accounts_for(
        self, job: Job, predictor: Predictor, report: str | None
    ) -> None:
        masks = job.output / "masks"
        masks.mkdir(parents=True)
        (masks / "00000.png").write_bytes(b"mine")
        if report is not None:
            (job.output / "run.json").write_text(report)
        with pytest.raises(OutputError, match="exists already; choose another -o or give"):
            resumed(job, predictor)
        assert [path.read_bytes() for path in masks.iterdir()] == [b"mine"]

    def test_is_a_run_beside_cutouts_that_are_not_its_own(
        self, job: Job, predictor: Predictor
    ) -> None:
        interrupted(replace(job, outputs=("masks",)), predictor, 5)
        (job.output / "cutouts").mkdir()
        with pytest.raises(OutputError, match="cutouts: exists already"):
            resumed(job, predictor)

    @pytest.mark.parametrize("begun", [True, False], ids=["interrupted", "finished"])
    def test_is_a_run_with_other_options(self, job: Job, predictor: Predictor, begun: bool) -> None:
        if begun:
            interrupted(job, predictor, 5)
        else:
            segment(job, predictor)
        before = pictures(job.output)
        for changed, words in (
            (replace(predictor, memory_frames=2), "it has memory_frames 3, now 2"),
            (replace(predictor, size=32), f"it has size {HEIGHT}, now 32"),
            (replace(predictor, correction=None), r"it has correction \{.*\}, now None"),
        ):
            with pytest.raises(OutputError, match=f"cannot be resumed: {words}; choose another"):
                resumed(job, changed)
        with pytest.raises(OutputError, match="it has threshold None, now 0\\.5"):
            resumed(replace(job, threshold=0.5), predictor)
        assert pictures(job.output) == before

    def test_is_a_run_of_another_video(
        self, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        interrupted(job, predictor, 5)
        other = film(tmp_path / "other.mp4", tmp_path / "other.png")
        with pytest.raises(OutputError, match=r"other\.mp4 is another video than the one"):
            resumed(replace(job, video=other.path), predictor)

    def test_is_a_run_of_frames_that_were_changed(
        self, job: Job, predictor: Predictor, two: Footage, tmp_path: Path
    ) -> None:
        (tmp_path / "frames").mkdir()
        for frame in read_frames(two.path):
            Image.fromarray(frame.rgb).save(tmp_path / "frames" / f"{frame.name}.bmp")
        job = replace(job, video=tmp_path / "frames", masks=(str(two.mask),))
        interrupted(job, predictor, 6)
        path = tmp_path / "frames" / "00003.bmp"
        Image.fromarray(np.roll(np.asarray(Image.open(path)), 8, axis=1)).save(path)
        before = pictures(job.output)
        with pytest.raises(OutputError, match="frames is another video than the one"):
            resumed(job, predictor)
        assert pictures(job.output) == before

    def test_is_a_run_whose_remembered_pictures_differ_and_it_stays(
        self, job: Job, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def changed(*arguments: Any) -> Iterator[Frame]:
            for frame in read_frames(*arguments):
                yield replace(frame, rgb=255 - frame.rgb)

        interrupted(job, predictor, 5)
        before = pictures(job.output)
        monkeypatch.setattr("vostool.inference.saved_track.read_frames", changed)
        with pytest.raises(OutputError, match=r"is not the picture it remembers; choose another"):
            resumed(job, predictor)
        assert pictures(job.output) == before

    @pytest.mark.parametrize("package", ["vostool", "av"])
    def test_is_a_run_of_another_version(
        self, job: Job, predictor: Predictor, package: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        interrupted(job, predictor, 5)
        now = {**versions(), package: "9.9"}
        monkeypatch.setattr(states, "versions", lambda: now)
        with pytest.raises(OutputError, match=f"cannot be resumed: it has {package} .*, now 9.9"):
            resumed(job, predictor)

    def test_is_a_run_from_another_start(self, job: Job, predictor: Predictor) -> None:
        interrupted(job, predictor, 5)
        with pytest.raises(OutputError, match="it has start 0, now 1"):
            resumed(replace(job, start=1, masks=job.masks[1:]), predictor)


class TestABatch:
    def outcome(self, job: Job, predictor: Predictor) -> Outcome:
        (outcome,) = segment_all([job], alone(predictor))
        assert outcome.error is None
        return outcome

    def test_that_was_killed_goes_on_within_the_video_to_the_same_bytes(
        self, two: Footage, by_colour: Predictor, tmp_path: Path
    ) -> None:
        out, killed = tmp_path / "all", tmp_path / "killed"
        jobs = [Job(two.path, (str(two.mask),), out / name) for name in "ab"]
        kill = copy_as_killed(out, killed, out / "b" / ".state" / "00004.safetensors")
        network = ColourNetwork(FRAMES - 1 + 4, kill)  # at frame 4 of the second video
        list(segment_all(jobs, alone(replace(by_colour, network=network.eval()))))
        whole = pictures(out / "b"), report_in(out / "b")
        shutil.rmtree(out)
        killed.rename(out)
        assert report_in(out / "b")["status"] == "running"
        first, second = segment_all(jobs, alone(by_colour))
        assert (first.already, second.already) == (True, False)
        assert second.report is not None
        assert second.report.seconds.frames == FRAMES - 4
        assert (pictures(out / "b"), report_in(out / "b")) == whole

    def test_that_is_resumed_takes_a_mask_more(
        self, job: Job, predictor: Predictor, two: Footage, tmp_path: Path
    ) -> None:
        segment(job, predictor)
        job = replace(job, masks=(*job.masks, mask_at(5, two)), resume=True)
        assert not self.outcome(job, predictor).already
        segment(replace(job, output=tmp_path / "both", resume=False), predictor)
        assert_alike(job.output, tmp_path / "both")

    def test_that_is_resumed_sees_that_a_mask_was_changed(
        self, job: Job, predictor: Predictor, two: Footage
    ) -> None:
        segment(job, predictor)
        job = replace(job, resume=True)
        assert self.outcome(job, predictor).already
        write_mask(Path(job.masks[1].partition(":")[2]), np.uint8(2) * (two.labels[ARRIVAL] > 1))
        outcome = self.outcome(job, predictor)
        assert not outcome.already
        assert outcome.report is not None
        assert outcome.report.seconds.frames == FRAMES - 2

    @pytest.mark.parametrize("resume", [True, False])
    @pytest.mark.parametrize("before", [True, False], ids=["states", "none"])
    def test_is_done_whether_it_keeps_states_or_not(
        self, job: Job, predictor: Predictor, before: bool, resume: bool
    ) -> None:
        segment(replace(job, states=before), predictor)
        assert self.outcome(replace(job, states=not before, resume=resume), predictor).already
