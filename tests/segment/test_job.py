import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import (
    ARRIVAL,
    FRAMES,
    HEIGHT,
    PATIENCE,
    RATE,
    WIDTH,
    ColourNetwork,
    Footage,
    Picture,
    draw,
    film,
    interrupt,
)
from vostool.errors import DeviceError, InputError, MaskError, OutputError, UsageError, VostoolError
from vostool.evaluate.metrics import jaccard
from vostool.files import default_output
from vostool.inference.predictor import Predictor
from vostool.media.masks import read_mask, write_mask
from vostool.media.overlay import COLOURS
from vostool.media.video import probe, read_frames
from vostool.media.writer import VideoWriter
from vostool.model.stm import Stm
from vostool.model.weights import sha256
from vostool.propagation.references import References
from vostool.segment.job import Job
from vostool.segment.report import RunReport
from vostool.segment.run import segment

CPU = torch.device("cpu")
RIGHT = 0.9  # J of a mask found in a lossy video


def model_of(network: ColourNetwork, weights: Path) -> Predictor:
    return Predictor(cast(Stm, network), weights, CPU, torch.float32, size=HEIGHT)


def fail() -> None:
    raise RuntimeError("a fault of the network")


@pytest.fixture
def predictor(weights: Path) -> Predictor:
    return model_of(ColourNetwork(), weights)


@pytest.fixture
def job(video: Footage, tmp_path: Path) -> Job:
    return Job(video.path, (str(video.mask),), tmp_path / "out")


def messages(report: RunReport) -> list[str]:
    """Return the warnings of a report, without their codes."""
    return [warning.message for warning in report.warnings]


def masks_of(job: Job) -> dict[str, Picture]:
    return {
        path.name: read_mask(path, allow_empty=True) for path in sorted(job.output.glob("masks/*"))
    }


def content(folder: Path) -> set[str]:
    """Return the names of all files in a folder, however deep."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if path.parts[0] not in (".state", ".soft")}


def report_of(job: Job) -> dict[str, Any]:
    return json.loads((job.output / "run.json").read_text())


def names(*frames: int) -> set[str]:
    return {f"masks/{frame:05d}.png" for frame in frames}


class TestMasks:
    def test_follow_the_object_through_every_frame(
        self, job: Job, predictor: Predictor, video: Footage
    ) -> None:
        segment(job, predictor)
        found = masks_of(job)
        assert list(found) == [f"{index:05d}.png" for index in range(FRAMES)]
        for labels, truth in zip(found.values(), video.labels, strict=True):
            assert jaccard(truth == 1, labels == 1) > RIGHT

    def test_have_the_size_of_the_video_whatever_the_network_s(
        self, job: Job, predictor: Predictor
    ) -> None:
        segment(job, replace(predictor, size=33))
        assert {labels.shape for labels in masks_of(job).values()} == {(HEIGHT, WIDTH)}

    def test_keep_the_ids_given(self, job: Job, predictor: Predictor, video: Footage) -> None:
        write_mask(video.mask, video.labels[0] * 200)
        report = segment(job, predictor)
        assert report.objects == [200]
        assert all(np.unique(labels).tolist() == [0, 200] for labels in masks_of(job).values())

    def test_on_the_annotated_frame_are_those_given(
        self, job: Job, predictor: Predictor, video: Footage
    ) -> None:
        shifted = np.roll(video.labels[0], 11, axis=1)
        write_mask(video.mask, shifted)
        segment(job, predictor)
        assert (masks_of(job)["00000.png"] == shifted).all()

    def test_follow_an_object_from_the_frame_it_is_shown_on(
        self, tmp_path: Path, predictor: Predictor
    ) -> None:
        two = film(tmp_path / "two.mp4", tmp_path / "two.png", two=True)
        late = np.where(two.labels[ARRIVAL] == 2, 2, 0).astype(np.uint8)
        write_mask(tmp_path / "late.png", late)
        masks = (str(two.mask), f"{ARRIVAL}:{tmp_path / 'late.png'}")
        job = Job(two.path, masks, tmp_path / "out")
        assert segment(job, predictor).objects == [1, 2]
        for index, (labels, truth) in enumerate(
            zip(masks_of(job).values(), two.labels, strict=True)
        ):
            if index < ARRIVAL:
                assert labels.max() == 1
            else:
                for id_ in (1, 2):
                    assert jaccard(truth == id_, labels == id_) > RIGHT

    def test_are_all_background_before_the_first_one_given(
        self, job: Job, predictor: Predictor, video: Footage
    ) -> None:
        write_mask(video.mask, video.labels[5])
        segment(replace(job, masks=(f"5:{video.mask}",)), predictor)
        areas = [np.count_nonzero(labels) for labels in masks_of(job).values()]
        assert areas[:5] == [0] * 5
        assert min(areas[5:]) > 0


class TestRanges:
    def test_are_numbered_as_in_the_whole_video(
        self, job: Job, predictor: Predictor, video: Footage
    ) -> None:
        write_mask(video.mask, video.labels[2])
        report = segment(replace(job, start=2, end=6), predictor)
        found = masks_of(job)
        assert list(found) == [f"{index:05d}.png" for index in range(2, 6)]
        for labels, truth in zip(found.values(), video.labels[2:], strict=False):
            assert jaccard(truth == 1, labels == 1) > RIGHT
        assert report.frames == 4
        assert len(list(read_frames(job.output / "overlay.mp4"))) == 4

    def test_count_late_masks_from_the_beginning_of_the_video(
        self, job: Job, predictor: Predictor, video: Footage
    ) -> None:
        write_mask(video.mask, video.labels[4])
        segment(replace(job, masks=(f"4:{video.mask}",), start=3), predictor)
        found = masks_of(job)
        assert not found["00003.png"].any()
        assert jaccard(found["00004.png"] == 1, video.labels[4] == 1) == 1

    @pytest.mark.parametrize(("frame", "start", "end"), [(1, 2, None), (6, 2, 6), (7, 0, 3)])
    def test_that_leave_a_mask_out_are_refused(
        self,
        frame: int,
        start: int,
        end: int | None,
        job: Job,
        predictor: Predictor,
        video: Footage,
    ) -> None:
        wrong = replace(job, masks=(f"{frame}:{video.mask}",), start=start, end=end)
        with pytest.raises(
            UsageError, match=f"is for frame {frame}, outside of the range {start} "
        ):
            segment(wrong, predictor)
        assert not job.output.exists()

    def test_beyond_the_end_are_refused(self, job: Job, predictor: Predictor) -> None:
        with pytest.raises(InputError, match=f"cannot start at frame 50, it has {FRAMES} frames"):
            segment(replace(job, start=50), predictor)
        assert not job.output.exists()


class TestFolders:
    @pytest.fixture
    def frames(self, tmp_path: Path) -> Path:
        folder = tmp_path / "frames"
        folder.mkdir()
        for index in range(4):
            Image.fromarray(draw(index)[0]).save(folder / f"img_{10 * index}.png")
        return folder

    def test_are_read_as_a_video(self, frames: Path, job: Job, predictor: Predictor) -> None:
        report = segment(replace(job, video=frames), predictor)
        assert list(masks_of(job)) == ["img_0.png", "img_10.png", "img_20.png", "img_30.png"]
        for index, labels in enumerate(masks_of(job).values()):
            assert (labels == draw(index)[1]).all()
        assert report.input.codec == "png"

    def test_find_their_masks_by_the_names_of_the_frames(
        self, frames: Path, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        masks = tmp_path / "masks"
        masks.mkdir()
        write_mask(masks / "img_20.png", draw(2)[1])
        segment(replace(job, video=frames, masks=(str(masks),)), predictor)
        assert [labels.any() for labels in masks_of(job).values()] == [False, False, True, True]

    def test_give_masks_that_land_on_their_own_frames_when_given_back(
        self, frames: Path, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        segment(replace(job, video=frames), predictor)
        again = replace(job, video=frames, masks=(f"{job.output}/masks",), output=tmp_path / "2")
        segment(again, predictor)
        for path in sorted((job.output / "masks").iterdir()):
            assert (tmp_path / "2" / "masks" / path.name).read_bytes() == path.read_bytes()

    def test_replace_an_older_result_of_other_names_as_a_whole(
        self, frames: Path, job: Job, predictor: Predictor, video: Footage
    ) -> None:
        report = segment(replace(job, video=frames, start=1, masks=(f"1:{video.mask}",)), predictor)
        assert report.frame_names == ["img_10", "img_20", "img_30"]
        (job.output / "masks" / "mine.png").write_bytes(b"precious")
        segment(replace(job, end=2, overwrite=True), predictor)
        assert content(job.output) == {"run.json", "overlay.mp4", *names(0, 1), "masks/mine.png"}

    def test_do_not_replace_a_mask_that_is_given(
        self, frames: Path, job: Job, predictor: Predictor
    ) -> None:
        segment(replace(job, video=frames), predictor)
        given = f"2:{job.output}/masks/img_20.png"
        with pytest.raises(OutputError, match=r"img_20\.png: is an input"):
            segment(replace(job, video=frames, masks=(given,), overwrite=True), predictor)

    def test_of_several_kinds_are_told_by_a_warning(
        self, frames: Path, job: Job, predictor: Predictor
    ) -> None:
        Image.fromarray(draw(0)[0]).save(frames / "preview.jpg")
        Image.fromarray(draw(0)[0]).save(frames / "raw.tga")
        passed, kinds = messages(segment(replace(job, video=frames), predictor))
        assert "1 pictures are passed over, as their kinds cannot be read: raw.tga" in passed
        assert "beside 4 png files, these are taken for frames too: preview.jpg" in kinds

    def test_whose_frames_hold_several_pictures_are_told_by_a_warning(
        self, tmp_path: Path, job: Job, predictor: Predictor
    ) -> None:
        (tmp_path / "animated").mkdir()
        first, *others = (Image.fromarray(draw(index)[0]) for index in range(3))
        first.save(tmp_path / "animated" / "0.gif", save_all=True, append_images=others)
        report = segment(replace(job, video=tmp_path / "animated"), predictor)
        assert report.frames == 1
        (warning,) = messages(report)
        assert "0.gif: holds 3 pictures, the first is taken" in warning


class TestGivenMasks:
    def folder(self, tmp_path: Path, masks: dict[str, Picture]) -> str:
        (tmp_path / "given").mkdir()
        for name, labels in masks.items():
            write_mask(tmp_path / "given" / name, labels)
        return str(tmp_path / "given")

    def test_all_black_in_a_folder_say_that_nothing_is_there(
        self, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        black = np.zeros((HEIGHT, WIDTH), np.uint8)
        given = self.folder(
            tmp_path, {"0.png": black, "1.png": black, "2.png": draw(2)[1], "5.png": black}
        )
        report = segment(replace(job, masks=(given,)), predictor)
        found = [labels.any() for labels in masks_of(job).values()]
        assert found == [False, False, True, True, True, False, True, True]
        assert report.warnings == []

    def test_all_black_are_an_absent_stretch_of_one_frame(
        self, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        black = np.zeros((HEIGHT, WIDTH), np.uint8)
        given = self.folder(tmp_path, {"0.png": draw(0)[1], "5.png": black})
        segment(replace(job, masks=(given,)), predictor)
        first = masks_of(job)
        job = replace(job, absent=("1:5",), output=tmp_path / "absent")
        segment(job, predictor)
        assert all((first[name] == labels).all() for name, labels in masks_of(job).items())

    def test_all_black_everywhere_are_refused(
        self, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        black = np.zeros((HEIGHT, WIDTH), np.uint8)
        given = self.folder(tmp_path, {"0.png": black, "1.png": black})
        with pytest.raises(MaskError, match=r"0\.png: expected at least one object, all is back"):
            segment(replace(job, masks=(given,)), predictor)
        assert not job.output.exists()

    def test_that_start_after_the_first_frame_are_told_by_a_warning(
        self, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        given = self.folder(tmp_path, {"frame0002.png": draw(2)[1], "frame0003.png": draw(3)[1]})
        (warning,) = messages(segment(replace(job, masks=(given,)), predictor))
        assert "frame 2 is the first with a mask (frame0002.png): the masks of 2 frames" in warning
        assert [labels.any() for labels in masks_of(job).values()][:3] == [False, False, True]

    def test_for_a_frame_far_beyond_the_video_take_no_memory(
        self, job: Job, predictor: Predictor, video: Footage
    ) -> None:
        with pytest.raises(MaskError, match="is for frame 99999999999999999, the video has 8"):
            segment(replace(job, masks=(f"99999999999999999:{video.mask}",)), predictor)

    def test_that_are_doubtful_are_told_by_a_warning(
        self, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        masks = {f"{index}.png": 1 - np.minimum(draw(index)[1], 1) for index in range(8)}
        given = self.folder(tmp_path, masks)
        warnings = messages(segment(replace(job, masks=(given,)), predictor))
        assert len(warnings) == 6
        assert "0.png: object 1 covers " in warnings[0]
        assert warnings[-1] == "3 more warnings of this kind about masks"

    def test_of_single_objects_are_followed_as_one_of_all_is(
        self, predictor: Predictor, tmp_path: Path
    ) -> None:
        two = film(tmp_path / "two.mp4", tmp_path / "two.png", two=True)
        truth = two.labels[ARRIVAL]
        for id_ in (1, 2):
            write_mask(tmp_path / f"{id_}.png", np.where(truth == id_, np.uint8(1), np.uint8(0)))
        write_mask(two.mask, truth)
        both = Job(two.path, (str(two.mask),), tmp_path / "both", start=ARRIVAL)
        masks = tuple(f"{id_}@{tmp_path / f'{id_}.png'}" for id_ in (1, 2))
        each = replace(both, masks=masks, output=tmp_path / "each")
        assert segment(both, predictor).objects == segment(each, predictor).objects == [1, 2]
        pairs = zip(masks_of(both).values(), masks_of(each).values(), strict=True)
        assert all((one == other).all() for one, other in pairs)

    def test_with_soft_edges_are_taken_with_a_threshold(
        self, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        soft = Image.fromarray(draw(0)[1] * 255).resize((WIDTH, HEIGHT), box=(1, 1, 63, 47))
        soft.save(tmp_path / "soft.jpg")
        given = replace(job, masks=(str(tmp_path / "soft.jpg"),))
        with pytest.raises(MaskError, match="threshold"):
            segment(given, predictor)
        segment(replace(given, threshold=0.5), predictor)
        assert masks_of(job)["00000.png"].max() == 1


class TestTheOverlay:
    def test_shows_every_frame_at_its_time(
        self, job: Job, predictor: Predictor, video: Footage
    ) -> None:
        segment(job, predictor)
        frames = list(read_frames(job.output / "overlay.mp4"))
        assert [frame.time for frame in frames] == [index / RATE for index in range(FRAMES)]
        info = probe(job.output / "overlay.mp4")
        assert (info.width, info.height, info.rate) == (WIDTH, HEIGHT, RATE)

    def test_tints_the_object_and_nothing_else(
        self, job: Job, predictor: Predictor, video: Footage
    ) -> None:
        segment(job, predictor)
        for shown, plain, truth in zip(
            read_frames(job.output / "overlay.mp4"),
            read_frames(video.path),
            video.labels,
            strict=True,
        ):
            middle = np.argwhere(truth).mean(axis=0).astype(int)
            inside = np.s_[middle[0] - 3 : middle[0] + 3, middle[1] - 3 : middle[1] + 3]
            mixed = (plain.rgb[inside].astype(float) + COLOURS[1]) / 2
            assert np.abs(shown.rgb[inside] - mixed).mean() < 10
            assert np.abs(shown.rgb[:20].astype(float) - plain.rgb[:20]).mean() < 5

    def test_may_be_left_out(self, job: Job, predictor: Predictor) -> None:
        report = segment(replace(job, outputs=("masks",)), predictor)
        assert content(job.output) == {"run.json", *names(*range(FRAMES))}
        assert report.outputs["overlay"] is None

    def test_may_be_joined_by_cut_outs(
        self, job: Job, predictor: Predictor, video: Footage
    ) -> None:
        report = segment(replace(job, outputs=("masks", "overlay", "cutouts")), predictor)
        cuts = sorted((job.output / "cutouts").iterdir())
        assert [cut.name for cut in cuts] == [f"{index:05d}.png" for index in range(FRAMES)]
        assert report.outputs["cutouts"] == str(job.output / "cutouts")
        for cut, frame, labels in zip(
            cuts, read_frames(video.path), masks_of(job).values(), strict=True
        ):
            rgba = np.array(Image.open(cut))
            assert jaccard(rgba[..., 3] > 127, labels > 0) > 0.99
            certain = rgba[..., 3] > 250
            assert certain.sum() > 100
            assert np.abs(rgba[certain, :3].astype(int) - frame.rgb[certain]).max() < 3
        segment(replace(job, end=3, overwrite=True), predictor)
        assert content(job.output) == {"run.json", "overlay.mp4", *names(0, 1, 2)}
        assert not (job.output / "cutouts").exists(), "cut-outs of the result before"

    def test_leaves_pictures_that_are_not_of_a_result(self, job: Job, predictor: Predictor) -> None:
        for folder in ("masks", "cutouts"):
            (job.output / folder).mkdir(parents=True)
            (job.output / folder / "logo.png").write_bytes(b"mine")
        segment(replace(job, overwrite=True), predictor)
        for folder in ("masks", "cutouts"):
            assert (job.output / folder / "logo.png").read_bytes() == b"mine"

    def test_may_be_all_there_is(self, job: Job, predictor: Predictor) -> None:
        report = segment(replace(job, outputs=("overlay",)), predictor)
        assert content(job.output) == {"run.json", "overlay.mp4"}
        assert not (job.output / "masks").exists()
        assert report.outputs["masks"] is None


class TestTheReport:
    def test_is_returned_and_written_alike(self, job: Job, predictor: Predictor) -> None:
        report = segment(job, predictor)
        assert json.loads(report.model_dump_json()) == report_of(job)

    def test_tells_all_that_is_needed_to_repeat_the_run(
        self, job: Job, predictor: Predictor, weights: Path, video: Footage
    ) -> None:
        segment(
            replace(job, start=1, end=7),
            replace(predictor, references=References(every=3), memory_frames=4),
        )
        report = report_of(job)
        assert report["schema_version"] == 2
        assert set(report["versions"]) == {"vostool", "python", "torch", "av"}
        network = report["network"]
        assert (network["model"], network["file"]) == ("stm", str(weights))
        assert network["sha256"] == sha256(weights)
        assert network["settings"]["backbone"] == "resnet18"
        options = report["options"]
        assert options["video"] == str(video.path)
        assert options["masks"] == [str(video.mask)]
        chosen = ("start", "end", "size", "references", "memory_frames")
        assert [options[name] for name in chosen] == [1, 7, HEIGHT, asdict(References(every=3)), 4]
        assert (options["device"], options["precision"]) == ("cpu", "float32")
        assert (report["input"]["width"], report["input"]["height"]) == (WIDTH, HEIGHT)
        assert (report["status"], report["error"], report["warnings"]) == ("done", None, [])

    def test_tells_how_fast_it_was(self, job: Job, predictor: Predictor) -> None:
        report = segment(job, predictor)
        seconds, speed = report.seconds, report.fps
        assert 0 < seconds.network <= seconds.total
        assert speed.network is not None and speed.end_to_end is not None
        assert speed.network >= speed.end_to_end > 0
        assert speed.end_to_end == pytest.approx(FRAMES / seconds.total, rel=0.1)

    def test_warns_of_a_mask_that_the_video_never_reached(
        self, job: Job, predictor: Predictor, video: Footage
    ) -> None:
        report = segment(replace(job, masks=(*job.masks, f"99:{video.mask}")), predictor)
        (warning,) = report.warnings
        assert warning.code == "mask_not_reached"
        assert warning.message == "the video ended before frame 99, which has a mask"


def test_progress_is_told_frame_by_frame(job: Job, predictor: Predictor) -> None:
    told: list[tuple[int, int | None]] = []
    segment(replace(job, end=5), predictor, lambda done, all_, words: told.append((done, all_)))
    assert told == [(done, 5) for done in range(1, 6)]


class TestAnOlderResult:
    @pytest.mark.parametrize(
        "name", ["overlay.mp4", "run.json", "masks/00000.png", "cutouts/00000.png"]
    )
    def test_is_not_overwritten(self, name: str, job: Job, predictor: Predictor) -> None:
        (job.output / name).parent.mkdir(parents=True, exist_ok=True)
        (job.output / name).write_bytes(b"precious")
        with pytest.raises(
            OutputError, match="exists already; --resume goes on with it; else choose"
        ):
            segment(job, predictor)
        assert content(job.output) == {name}
        assert (job.output / name).read_bytes() == b"precious"

    def test_is_replaced_as_a_whole_on_request(self, job: Job, predictor: Predictor) -> None:
        segment(job, predictor)
        segment(replace(job, end=3, outputs=("masks",), overwrite=True), predictor)
        assert content(job.output) == {"run.json", *names(0, 1, 2)}

    def test_goes_with_all_that_killed_runs_left_of_it(
        self, job: Job, predictor: Predictor
    ) -> None:
        segment(job, predictor)
        for name in ("overlay.part.mp4", "overlay.mp4.part", "masks/00001.png.part"):
            (job.output / name).write_bytes(b"half")
        report = segment(replace(job, overwrite=True), predictor)
        assert content(job.output) == {"run.json", "overlay.mp4", *names(*range(report.frames))}

    def test_stays_if_there_is_nothing_to_put_in_its_place(
        self, job: Job, predictor: Predictor
    ) -> None:
        segment(job, predictor)
        before = content(job.output)
        with pytest.raises(InputError):
            segment(replace(job, start=FRAMES, overwrite=True), predictor)
        assert content(job.output) == before

    def test_may_lie_beside_other_files(self, job: Job, predictor: Predictor) -> None:
        job.output.mkdir()
        (job.output / "notes.txt").write_text("mine")
        segment(job, predictor)
        assert (job.output / "notes.txt").read_text() == "mine"

    def test_is_not_destroyed_where_the_new_one_is_made_from_it(
        self, job: Job, predictor: Predictor, weights: Path
    ) -> None:
        segment(job, predictor)
        slow = model_of(ColourNetwork(2, lambda: time.sleep(0.2)), weights)
        given = job.output / "masks" / "00004.png"  # mended by hand, say
        before = given.read_bytes()
        with suppress(VostoolError):  # to refuse is as good as to do it
            segment(replace(job, masks=(*job.masks, f"4:{given}"), overwrite=True), slow)
        assert given.read_bytes() == before

    def test_is_not_destroyed_where_it_is_the_input(self, job: Job, predictor: Predictor) -> None:
        segment(job, predictor)
        overlay = job.output / "overlay.mp4"
        before = overlay.read_bytes()
        with suppress(VostoolError):
            segment(replace(job, video=overlay, overwrite=True), predictor)
        assert overlay.read_bytes() == before

    def test_is_not_destroyed_where_it_holds_the_frames(
        self, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        frames = job.output / "masks"
        frames.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(draw(index)[0]).save(frames / f"f{index}.png")
        with suppress(VostoolError):
            segment(replace(job, video=frames, overwrite=True), predictor)
        assert {path.name for path in frames.iterdir()} >= {"f0.png", "f1.png", "f2.png"}


class TestWhatGoesWrong:
    def test_by_ctrl_c_leaves_what_is_done_and_says_so(self, job: Job, weights: Path) -> None:
        with pytest.raises(KeyboardInterrupt):
            segment(job, model_of(ColourNetwork(4, interrupt), weights))
        assert content(job.output) == {"run.json", "overlay.part.mp4", *names(0, 1, 2, 3)}
        assert len(list(read_frames(job.output / "overlay.part.mp4"))) == 4
        report = report_of(job)
        assert (report["status"], report["error"], report["frames"]) == ("interrupted", None, 4)

    def test_by_ctrl_c_does_not_speak_of_masks_to_come(
        self, job: Job, weights: Path, video: Footage
    ) -> None:
        late = replace(job, masks=(*job.masks, f"7:{video.mask}"))
        with pytest.raises(KeyboardInterrupt):
            segment(late, model_of(ColourNetwork(4, interrupt), weights))
        assert report_of(job)["warnings"] == []

    def test_in_the_network_leaves_what_is_done_and_says_why(self, job: Job, weights: Path) -> None:
        with pytest.raises(RuntimeError, match="a fault of the network"):
            segment(job, model_of(ColourNetwork(3, fail), weights))
        assert content(job.output) == {"run.json", "overlay.part.mp4", *names(0, 1, 2)}
        report = report_of(job)
        assert (report["status"], report["error"]) == ("failed", "a fault of the network")

    def test_for_want_of_memory_is_told_with_what_helps(self, job: Job, weights: Path) -> None:
        def no_memory() -> None:
            raise torch.OutOfMemoryError("CUDA out of memory")

        with pytest.raises(DeviceError, match="out of memory; try a smaller --size"):
            segment(job, model_of(ColourNetwork(2, no_memory), weights))
        assert "out of memory; try" in report_of(job)["error"]

    def test_before_the_first_frame_leaves_nothing(
        self, job: Job, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vostool.inference.placement.resized_frame", lambda *arguments: fail())
        with pytest.raises(RuntimeError):
            segment(job, predictor)
        assert not job.output.exists()

    def test_before_the_first_frame_leaves_a_folder_that_was_there(
        self, job: Job, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job.output.mkdir()
        monkeypatch.setattr("vostool.inference.placement.resized_frame", lambda *arguments: fail())
        with pytest.raises(RuntimeError):
            segment(job, predictor)
        assert list(job.output.iterdir()) == []

    @pytest.mark.parametrize("frame", [0, 3])
    def test_on_a_full_disk_is_told_and_leaves_no_overlay(
        self, job: Job, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, frame: int
    ) -> None:
        def write(path: Path, labels: Picture) -> None:
            if path.name == f"{frame:05}.png":
                raise OutputError(f"{path}: cannot be written: No space left on device")
            write_mask(path, labels)

        monkeypatch.setattr("vostool.segment.writers.pictures.write_mask", write)
        with pytest.raises(OutputError, match="No space left on device"):
            segment(job, predictor)
        begun = {"overlay.part.mp4"} if frame else set()
        assert content(job.output) >= {"run.json", *begun, *names(*range(frame))}
        assert not (job.output / "overlay.mp4").exists()
        report = report_of(job)
        assert (report["status"], report["frames"]) == ("failed", frame)

    def test_where_a_video_is_cut_off_keeps_the_frames_before(
        self, tmp_path: Path, predictor: Predictor
    ) -> None:
        path, noise = tmp_path / "long.mp4", np.random.default_rng(0)
        with VideoWriter(path, width=WIDTH, height=HEIGHT, rate=RATE) as writer:
            for index in range(8):  # pictures that do not foretell each other
                rgb = noise.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
                writer.write(rgb, index / RATE)
        write_mask(tmp_path / "long.png", draw(0)[1])
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 3 // 4])
        job = Job(path, (str(tmp_path / "long.png"),), tmp_path / "out")
        with pytest.raises(InputError, match="breaks off after frame"):
            segment(job, predictor)
        report = report_of(job)
        assert report["status"] == "failed"
        assert 0 < report["frames"] < 8
        kept = content(job.output)
        assert kept == {"run.json", "overlay.part.mp4", *names(*range(report["frames"]))}

    def test_in_a_mask_is_told_before_anything_is_written(
        self, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        write_mask(tmp_path / "late.png", np.ones((9, 9), np.uint8))
        with pytest.raises(MaskError, match=r"late\.png: mask is 9x9, video is 64x48"):
            segment(replace(job, masks=(*job.masks, f"6:{tmp_path / 'late.png'}")), predictor)
        assert not job.output.exists()

    def test_where_no_mask_is_ever_reached_is_an_error(
        self, job: Job, predictor: Predictor, video: Footage
    ) -> None:
        with pytest.raises(MaskError, match="is for frame 99, the video has 8"):
            segment(replace(job, masks=(f"99:{video.mask}",)), predictor)
        assert not (job.output / "overlay.mp4").exists()

    @pytest.mark.parametrize("act", [fail, interrupt, lambda: None])
    def test_leaves_no_thread_behind(
        self,
        act: Callable[[], object],
        job: Job,
        weights: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("vostool.inference.prefetch.GRACE", PATIENCE)
        before = set(threading.enumerate())
        with suppress(RuntimeError, KeyboardInterrupt):
            segment(job, model_of(ColourNetwork(3, act), weights))
        names = {thread.name for thread in set(threading.enumerate()) - before}
        assert not [name for name in names if "behind" in name or "ahead" in name]


class TestTheDefaultOutput:
    def test_is_named_after_the_video_and_lies_here(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert default_output(Path("elsewhere/party.mp4")) == tmp_path / "party"
        (tmp_path / "sub" / "frames.v2").mkdir(parents=True)
        assert default_output(Path("sub/frames.v2")) == tmp_path / "frames.v2"

    def test_is_never_the_input_itself(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "frames").mkdir()
        (tmp_path / "party").touch()
        monkeypatch.chdir(tmp_path)
        assert default_output(Path("frames/")) == tmp_path / "frames-vostool"
        assert default_output(Path("party")) == tmp_path / "party-vostool"
