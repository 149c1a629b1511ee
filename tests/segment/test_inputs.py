"""Segmenting what is no file: pipes, cameras, every Nth frame; and masks as a stream."""

import io
import json
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import FRAMES, HEIGHT, WIDTH, ColourNetwork, Footage, Picture, draw
from tests.media.making import hear_clicks, make_video
from tests.media.streaming import stdin_of
from tests.segment.test_resume import interrupted, mask_at, pictures
from vostool.errors import InputError, OutputError, UsageError
from vostool.inference import states
from vostool.inference.predictor import Predictor
from vostool.media import streams
from vostool.media.inputs import camera, parse_input
from vostool.media.masks import read_mask
from vostool.media.time_codes import TimeCode
from vostool.media.video import probe, read_frames
from vostool.model.stm import Stm
from vostool.segment.job import Job
from vostool.segment.run import segment

STDIN = parse_input("-")


@pytest.fixture(autouse=True)
def states_of_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "INTERVAL", -1.0)
    monkeypatch.setattr(states, "SPACING", 2)


@pytest.fixture
def by_colour(weights: Path) -> Predictor:
    device = torch.device("cpu")
    return Predictor(cast(Stm, ColourNetwork()), weights, device, torch.float32, size=HEIGHT)


@pytest.fixture
def y4m(tmp_path: Path, video: Footage) -> Path:
    """The square as `ffmpeg -i square.mp4 -f yuv4mpegpipe -` writes it."""
    path = tmp_path / "square.y4m"
    with av.open(str(video.path)) as source, av.open(str(path), "w") as output:
        stream = output.add_stream("wrapped_avframe", rate=25, width=WIDTH, height=HEIGHT)
        stream.pix_fmt = "yuv420p"
        for index, frame in enumerate(source.decode(video=0)):
            frame.pts, frame.time_base = index, Fraction(1, 25)
            output.mux(stream.encode(frame))
    return path


def masks_in(folder: Path) -> dict[str, Picture]:
    paths = sorted(folder.glob("masks/*.png"))
    return {path.name: read_mask(path, allow_empty=True) for path in paths}


class TestAPipe:
    def test_has_the_masks_and_times_of_the_file_that_it_carries(
        self,
        y4m: Path,
        video: Footage,
        by_colour: Predictor,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        job = Job(y4m, (str(video.mask),), tmp_path / "file", ("masks", "overlay", "table"))
        segment(job, by_colour)
        with stdin_of(y4m.read_bytes(), monkeypatch):
            piped = replace(job, video=parse_input("-"), output=tmp_path / "pipe")
            report = segment(piped, by_colour)
        assert (report.status, report.warnings, report.frames) == ("done", [], FRAMES)
        assert pictures(piped.output) == pictures(job.output)
        tables = [(each / "table.csv").read_text() for each in (job.output, piped.output)]
        assert tables[0] == tables[1]
        films = [list(read_frames(each / "overlay.mp4")) for each in (job.output, piped.output)]
        for one, other in zip(*films, strict=True):
            assert one.time == other.time
            assert (one.rgb == other.rgb).all()
        assert not (piped.output / ".state").exists()
        assert report.options["video"] == report.input.path == "stdin"

    def test_of_a_film_copied_into_matroska_has_the_masks_of_the_film(
        self, video: Footage, by_colour: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What `ffmpeg -i square.mp4 -c copy -f matroska -` sends; Y4M has no colour matrix."""
        job = Job(video.path, (str(video.mask),), tmp_path / "file", ("masks",))
        segment(job, by_colour)
        copied = io.BytesIO()
        with av.open(str(video.path)) as source, av.open(copied, "w", "matroska") as output:
            stream = output.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.size:
                    packet.stream = stream
                    output.mux(packet)
        with stdin_of(copied.getvalue(), monkeypatch):
            piped = replace(job, video=parse_input("-"), output=tmp_path / "pipe")
            assert segment(piped, by_colour).frames == FRAMES
        assert pictures(piped.output) == pictures(job.output)

    def test_that_breaks_off_keeps_the_frames_before(
        self,
        y4m: Path,
        video: Footage,
        by_colour: Predictor,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        job = Job(parse_input("-"), (str(video.mask),), tmp_path / "out")
        cut = y4m.read_bytes()[:-100]
        with (
            stdin_of(cut, monkeypatch),
            pytest.raises(InputError, match="stdin: breaks off in the middle of a picture"),
        ):
            segment(job, by_colour)
        assert len(masks_in(job.output)) == FRAMES - 1
        assert json.loads((job.output / "run.json").read_text())["status"] == "failed"
        assert len(list(read_frames(job.output / "overlay.part.mp4"))) == FRAMES - 1

    def test_loses_its_sound_with_a_warning(
        self, video: Footage, by_colour: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = make_video(tmp_path / "clicks.mkv", sound="aac", width=WIDTH, height=HEIGHT)
        job = Job(parse_input("-"), (str(video.mask),), tmp_path / "out")
        with stdin_of(path.read_bytes(), monkeypatch):
            report = segment(job, by_colour)
        assert [(each.code, each.message) for each in report.warnings] == [
            ("overlay", "stdin: its sound is left out: it can be read only once")
        ]
        assert report.input.has_audio
        assert not probe(job.output / "overlay.mp4").has_audio

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({"backward": True}, "--backward"),
            ({"resume": True}, "--resume"),
            ({"start_time": TimeCode("0:01")}, "--start 0:01"),
            ({"end_time": TimeCode("0:01")}, "--end 0:01"),
            ({"masks": ("0:00.1:mask.png",)}, "--mask 0:00.1:mask.png"),
            ({"fps": Fraction(10)}, "--fps"),
        ],
    )
    def test_refuses_what_needs_a_file_by_name(
        self, changes: dict[str, object], name: str, tmp_path: Path
    ) -> None:
        job = Job(STDIN, ("mask.png",), tmp_path / "out")
        with pytest.raises(UsageError, match=f"^{name}: "):
            replace(job, **changes)  # type: ignore[arg-type]


class TestACamera:
    def test_that_is_stopped_leaves_everything_whole(
        self, video: Footage, by_colour: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        device = ("lavfi", f"testsrc=size={WIDTH}x{HEIGHT}:rate=25", dict[str, str]())
        monkeypatch.setattr(streams, "DEVICES", {"linux": device, sys.platform: device})
        source = camera(0)
        job = Job(source, (str(video.mask),), tmp_path / "out", ("masks", "overlay", "coco"))

        def stop(number: int, labels: object) -> None:
            if number == 5:
                source.stop()

        report = segment(job, by_colour, written=stop)
        assert report.status == "done"
        assert report.frames >= 6
        assert len(masks_in(job.output)) == report.frames
        assert len(list(read_frames(job.output / "overlay.mp4"))) == report.frames
        images = json.loads((job.output / "coco.json").read_text())["images"]
        assert len(images) == report.frames
        assert not list(job.output.rglob("*part*"))


class TestAStride:
    @pytest.fixture
    def job(self, two: Footage, tmp_path: Path) -> Job:
        masks = (mask_at(1, two), mask_at(5, two))
        outputs = ("masks", "overlay", "cutouts", "table")
        return Job(two.path, masks, tmp_path / "out", outputs, start=1, stride=2, check=1)

    def test_takes_every_nth_frame_under_its_own_number_and_time(
        self, job: Job, two: Footage, by_colour: Predictor
    ) -> None:
        report = segment(job, by_colour)
        found = masks_in(job.output)
        assert list(found) == ["00001.png", "00003.png", "00005.png", "00007.png"]
        for name, labels in found.items():
            truth = two.labels[int(name[:5])]
            assert ((labels == 1) != (truth == 1)).mean() < 0.02
            assert (2 in labels) == (int(name[:5]) >= 5)
        assert (report.frames, report.options["stride"], report.input.rate) == (4, 2, "25")
        assert report.checks is not None
        assert report.checks.objects[1].frames == [3, 7]  # the others are given
        assert report.warnings == []
        film = job.output / "overlay.mp4"
        assert [frame.time * 25 for frame in read_frames(film)] == [0, 2, 4, 6]
        assert probe(film).seconds == pytest.approx(8 / 25)
        assert "\n3,00003,0.120000,1," in (job.output / "table.csv").read_text()

    def test_keeps_the_sound_in_step_and_shows_the_last_frame_as_long_as_others(
        self, video: Footage, by_colour: Predictor, tmp_path: Path
    ) -> None:
        path = make_video(tmp_path / "clicks.mp4", 50, WIDTH, HEIGHT, sound="aac")
        job = Job(path, (str(video.mask),), tmp_path / "out", ("overlay",), stride=10)
        segment(job, by_colour)
        film = job.output / "overlay.mp4"
        assert [frame.time for frame in read_frames(film)] == [Fraction(n, 5) * 2 for n in range(5)]
        assert np.allclose(hear_clicks(film), hear_clicks(path), atol=0.003)
        assert probe(film).seconds == pytest.approx(2, abs=0.03)

    def test_is_resumed_to_the_same_bytes(
        self, job: Job, predictor: Predictor, tmp_path: Path
    ) -> None:
        whole = replace(job, output=tmp_path / "whole")
        segment(whole, predictor)
        interrupted(job, predictor, 3)
        report = segment(replace(job, resume=True), predictor)
        assert report.seconds.frames is not None
        assert report.seconds.frames < 4
        assert pictures(job.output) == pictures(whole.output)

    def test_is_resumed_with_the_same_stride_only(self, job: Job, predictor: Predictor) -> None:
        segment(job, predictor)
        other = replace(job, stride=4, resume=True)
        with pytest.raises(OutputError, match="stride 2, now 4"):
            segment(other, predictor)

    def test_works_backward_too(self, job: Job, two: Footage, by_colour: Predictor) -> None:
        late = replace(job, masks=(mask_at(5, two),), backward=True)
        segment(late, by_colour)
        found = masks_in(job.output)
        assert list(found) == ["00001.png", "00003.png", "00005.png", "00007.png"]
        for name, labels in found.items():
            assert (labels != two.labels[int(name[:5])]).mean() < 0.02

    def test_refuses_a_mask_of_a_frame_that_it_leaves_out(
        self, job: Job, two: Footage, by_colour: Predictor
    ) -> None:
        with pytest.raises(UsageError, match=r"frame 4, which --stride 2 leaves out.* are 3 and 5"):
            segment(replace(job, masks=(mask_at(1, two), mask_at(4, two))), by_colour)

    def test_of_a_folder_names_masks_as_its_files(
        self, by_colour: Predictor, video: Footage, tmp_path: Path
    ) -> None:
        (tmp_path / "frames").mkdir()
        for index in range(FRAMES):
            Image.fromarray(draw(index)[0]).save(tmp_path / "frames" / f"shot-{index}.png")
        job = Job(
            tmp_path / "frames", (str(video.mask),), tmp_path / "out", stride=3, fps=Fraction(10)
        )
        report = segment(job, by_colour)
        assert list(masks_in(job.output)) == ["shot-0.png", "shot-3.png", "shot-6.png"]
        assert report.frame_names == ["shot-0", "shot-3", "shot-6"]
        assert (report.input.rate, report.options["fps"]) == ("10", "10")
        times = [frame.time for frame in read_frames(job.output / "overlay.mp4")]
        assert times == [0, Fraction(3, 10), Fraction(6, 10)]


class TestMasksAsAStream:
    def test_are_read_back_by_ffmpeg_as_ids(
        self, two: Footage, by_colour: Predictor, tmp_path: Path
    ) -> None:
        job = Job(two.path, (mask_at(0, two), mask_at(4, two)), tmp_path / "out")
        segment(job, by_colour)
        sink = io.BytesIO()
        segment(
            replace(job, output=tmp_path / "none", outputs=(), states=False), by_colour, sink=sink
        )
        assert {path.name for path in (tmp_path / "none").iterdir()} <= {"run.json", "check.csv"}
        sink.seek(0)
        with av.open(sink, "r") as stream:
            assert stream.format.name == "yuv4mpegpipe"
            assert stream.streams.video[0].average_rate == 25
            found = [frame.to_ndarray(format="gray") for frame in stream.decode(video=0)]
        for labels, expected in zip(found, masks_in(job.output).values(), strict=True):
            assert (labels == expected).all()
        assert max(labels.max() for labels in found) == 2

    def test_are_finished_as_masks_in_files_are(
        self, video: Footage, by_colour: Predictor, tmp_path: Path
    ) -> None:
        job = Job(video.path, (str(video.mask),), tmp_path / "out", finish="grow=2")
        sink = io.BytesIO()
        segment(job, by_colour, sink=sink)
        header, _, content = sink.getvalue().partition(b"\n")
        assert header == b"YUV4MPEG2 W64 H48 F25:1 Ip A1:1 Cmono XCOLORRANGE=FULL"
        frames = np.frombuffer(content, np.uint8).reshape(FRAMES, -1)[:, len(b"FRAME\n") :]
        for one, other in zip(frames, masks_in(job.output).values(), strict=True):
            assert (one == other.ravel()).all()

    def test_without_them_there_must_be_an_output(
        self, video: Footage, by_colour: Predictor, tmp_path: Path
    ) -> None:
        job = Job(video.path, (str(video.mask),), tmp_path / "out", outputs=())
        with pytest.raises(UsageError, match="expected outputs among"):
            segment(job, by_colour)
