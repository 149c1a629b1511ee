import threading
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import FRAMES, PATIENCE, Footage, Picture, segmented
from tests.segment.test_report import OLD
from vostool.errors import OutputError
from vostool.inference.prompts import GivenMasks
from vostool.inference.soft import SegmentedFrame
from vostool.inference.states import States
from vostool.media.video import probe, read_frames
from vostool.segment.output import Output, results_in
from vostool.segment.report import RunReport, read_report
from vostool.segment.writers import DEFAULT, Source
from vostool.segment.writers.mattes import Cutouts

RUNNING = RunReport.model_validate({**OLD, "status": "running"})


def output_of(video: Footage, folder: Path, *names: str) -> Output:
    info = probe(video.path)
    states = States(folder, video.path, 0, GivenMasks({0: video.mask}, info))
    return Output(folder, names or DEFAULT, Source(video.path, info), states)


def write(output: Output, video: Footage, count: int = FRAMES, resume: int = 0) -> None:
    with output.claimed((), replace=True), output.writing(RUNNING, resume):
        for frame in list(read_frames(video.path))[:count]:
            output.add(partial(segmented, frame, video.labels[frame.index]))


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_run_says_that_it_is_running_from_its_first_frame_on(
    video: Footage, tmp_path: Path
) -> None:
    write(output_of(video, tmp_path / "out"), video)
    assert read_report(tmp_path / "out") == RUNNING  # as a killed one leaves it


def test_a_run_that_is_resumed_leaves_what_an_undisturbed_one_does(
    video: Footage, tmp_path: Path
) -> None:
    write(output_of(video, tmp_path / "whole"), video)
    with pytest.raises(KeyboardInterrupt):
        output = output_of(video, tmp_path / "out")
        with output.claimed((), replace=False), output.writing(RUNNING):
            for frame in list(read_frames(video.path))[:4]:
                output.add(partial(segmented, frame, video.labels[frame.index]))
            raise KeyboardInterrupt
    assert "overlay.part.mp4" in files(tmp_path / "out")
    kept = (tmp_path / "out/masks/00002.png").stat().st_mtime_ns
    write(output_of(video, tmp_path / "out"), video, resume=4)
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert (tmp_path / "out/masks/00002.png").stat().st_mtime_ns == kept


def test_nothing_of_an_older_run_is_left_once_there_is_a_frame_of_the_new_one(
    video: Footage, tmp_path: Path
) -> None:
    write(output_of(video, tmp_path / "out"), video)
    output = output_of(video, tmp_path / "out", "masks")
    with (
        pytest.raises(KeyboardInterrupt),
        output.claimed((), replace=True),
        output.writing(RUNNING),
    ):
        output.add(partial(segmented, next(read_frames(video.path)), video.labels[0]))
        raise KeyboardInterrupt
    assert set(files(tmp_path / "out")) == {"run.json", "masks/00000.png"}


def test_a_folder_lost_to_another_run_is_written_no_more(video: Footage, tmp_path: Path) -> None:
    output = output_of(video, tmp_path, "masks")
    with (
        output.claimed((), replace=False),
        pytest.raises(OutputError, match="claim was lost"),
        output.writing(RUNNING),
    ):
        assert output._claim is not None
        output._claim._lost.set()
        output.add(partial(segmented, next(read_frames(video.path)), video.labels[0]))
    assert not (tmp_path / "masks").exists()


def test_a_report_and_every_output_are_results(tmp_path: Path) -> None:
    names = [path.name for path in results_in(tmp_path)]
    assert names[:4] == ["run.json", "masks", "overlay.mp4", "cutouts"]
    assert names[-2:] == ["check.csv", "check.png"]


def test_pictures_of_several_frames_are_written_side_by_side_and_nothing_changes(
    video: Footage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("masks", "overlay", "cutouts", "matte=each", "per-object")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write(output_of(video, tmp_path / "alone", *names), video)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    both, whole = threading.Barrier(2, timeout=PATIENCE), Cutouts.write

    def meet(self: Cutouts, path: Path, shown: SegmentedFrame) -> None:
        both.wait()  # breaks unless two frames are under way
        whole(self, path, shown)

    monkeypatch.setattr(Cutouts, "write", meet)
    output = output_of(video, tmp_path / "together", *names)
    write(output, video)
    assert output.frames == FRAMES
    assert files(tmp_path / "together") == files(tmp_path / "alone")


def test_of_a_frame_whose_picture_cannot_be_written_nothing_counts_as_written(
    video: Footage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Cutouts.write

    def fail(self: Cutouts, path: Path, shown: SegmentedFrame) -> None:
        if path.stem == "00003":
            raise OutputError("disk full")
        whole(self, path, shown)

    monkeypatch.setattr(Cutouts, "write", fail)
    output = output_of(video, tmp_path / "out", "masks", "cutouts")
    with pytest.raises(OutputError, match="disk full"):
        write(output, video)
    assert output.frames == 3


def test_a_frame_is_told_of_once_all_its_pictures_are_there(video: Footage, tmp_path: Path) -> None:
    output = output_of(video, tmp_path, "masks", "cutouts")
    told: list[int] = []

    def written(number: int, labels: Picture) -> None:
        told.append(number)
        assert (labels == video.labels[number]).all()
        for name in ("masks", "cutouts"):
            assert (tmp_path / name / f"{number:05d}.png").exists()

    with output.claimed((), replace=True), output.writing(RUNNING):
        for frame in read_frames(video.path):
            output.add(partial(segmented, frame, video.labels[frame.index]), written)
    assert told == list(range(FRAMES))
