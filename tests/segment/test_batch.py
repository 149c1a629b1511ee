import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import FRAMES, HEIGHT, ColourNetwork, film, interrupt
from tests.test_cli import Call, vostool  # noqa: F401
from vostool.errors import InputError, UsageError
from vostool.files.claims import claimed
from vostool.media.frame import VideoInfo
from vostool.media.time_codes import TimeCode
from vostool.media.video import probe as media_probe
from vostool.segment.batch import read_batch
from vostool.segment.job import Job

PATTERN = Job(Path(), (), Path("out"))


def write_table(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


class TestTheTable:
    def test_names_videos_masks_and_ranges(self, tmp_path: Path) -> None:
        table = write_table(
            tmp_path / "t.csv",
            "video,mask,start,end,output,absent",
            "a.mp4,a.png,,,,",
            "b.mp4, b.png;7:late.png ,3,9,there,1:4-5;1:8-",
        )
        first, second = read_batch(table, PATTERN)
        assert first == replace(
            PATTERN,
            video=tmp_path / "a.mp4",
            masks=(str(tmp_path / "a.png"),),
            output=Path("out/a"),
        )
        assert second.masks == (str(tmp_path / "b.png"), f"7:{tmp_path / 'late.png'}")
        assert (second.start, second.end, second.output) == (3, 9, Path("out/there"))
        assert second.absent == ("1:4-5", "1:8-")

    def test_may_give_times_which_count_in_each_video_and_before_those_of_the_template(
        self, tmp_path: Path
    ) -> None:
        table = write_table(
            tmp_path / "t.csv", "video,mask,start,end", "a.mp4,m.png,0:02,", "b.mp4,m.png,7,0:09"
        )
        template = replace(PATTERN, start=2, end_time=TimeCode("1:00"))
        first, second = read_batch(table, template)
        assert (first.start_time, first.end_time) == (TimeCode("0:02"), TimeCode("1:00"))
        assert (second.start, second.start_time) == (7, None)
        assert (second.end, second.end_time) == (None, TimeCode("0:09"))

    @pytest.mark.parametrize(
        ("lines", "words"),
        [
            ((), "expected a header such as video,mask"),
            (("video,mask",), "a line for each video"),
            (("video,mask,colour", "a,b,red"), "found 'colour'"),
            (("video;mask", "a;b"), "with commas between them, found 'video;mask'"),
            (("video,mask", "a.mp4,"), ":2: expected a mask, found none"),
            (("mask,start", "a.png,1"), ":2: expected a video, found none"),
            (("video,mask,end", "a,b,soon"), "end soon: expected the number of a frame, from 0"),
            (("video,mask,absent", "a,b,1:5-4"), ":2: --absent 1:5-4: expected the first frame"),
            (("video,mask,start,end", "a,b,4,4"), "start 4, end 4: the range is empty"),
            (("video,mask", "a,b", "", "a,b,c"), ":4: expected 2 cells as in the header, found 3"),
            (("video,mask", "a,b,"), ":2: expected 2 cells as in the header, found 3"),
            (("video,mask,mask", "a,b,c"), ":1: expected each column once, found mask twice"),
            (("video,mask", "a.mp4,;"), ":2: expected a mask, found ;"),
            (
                ("video,mask,end", f"a,b,{'9' * 5000}"),
                ":2: end: expected a frame number, found one of 5000",
            ),
            (("video,mask", "a\0,b"), ":2: expected text, found a zero byte"),
            (("video,mask", 'a,"b'), ":2: expected a CSV table"),
        ],
    )
    def test_is_refused_with_its_line(
        self, tmp_path: Path, lines: tuple[str, ...], words: str
    ) -> None:
        with pytest.raises(InputError) as refusal:
            read_batch(write_table(tmp_path / "t.csv", *lines), PATTERN)
        assert words in str(refusal.value)

    def test_gives_each_video_a_place_of_its_own(self, tmp_path: Path) -> None:
        table = write_table(tmp_path / "t.csv", "video,mask", "one/a.mp4,m.png", "two/a.mp4,m.png")
        with pytest.raises(UsageError, match="would both write out/a"):
            read_batch(table, PATTERN)

    @pytest.mark.parametrize("output", ["../escaped", "a/../../b", "..", "/tmp/x", "link/x"])
    def test_keeps_every_output_within_the_folder_for_all(
        self, tmp_path: Path, output: str
    ) -> None:
        (tmp_path / "all").mkdir()
        (tmp_path / "all" / "link").symlink_to(tmp_path)
        table = write_table(
            tmp_path / "t.csv", "video,mask,output", "a.mp4,m.png,ok", f"b.mp4,m.png,{output}"
        )
        with pytest.raises(InputError, match=rf"t\.csv:3: expected an output within .*{output}"):
            read_batch(table, replace(PATTERN, output=tmp_path / "all"))

    def test_keeps_the_output_of_a_video_named_as_the_folder_above_within_too(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "sub").mkdir()
        table = write_table(tmp_path / "sub" / "t.csv", "video,mask", "..,m.png")
        assert read_batch(table, PATTERN)[0].output == Path("out") / tmp_path.name

    def test_gives_folders_of_frames_their_whole_name(self, tmp_path: Path) -> None:
        for name in ("shot.v001", "shot.v002"):
            (tmp_path / name).mkdir()
        table = write_table(
            tmp_path / "t.csv", "video,mask", "shot.v001,m.png", "shot.v002,m.png", "a.b.mp4,m.png"
        )
        outputs = [job.output for job in read_batch(table, PATTERN)]
        assert outputs == [Path("out/shot.v001"), Path("out/shot.v002"), Path("out/a.b")]

    def test_may_name_a_video_that_no_file_system_can_hold(self, tmp_path: Path) -> None:
        table = write_table(tmp_path / "t.csv", "video,mask,output", f"{'x' * 300},m.png,a")
        assert read_batch(table, PATTERN)[0].output == Path("out/a")

    def test_must_be_there_and_be_text(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="cannot be read"):
            read_batch(tmp_path / "none.csv", PATTERN)
        (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match="expected a CSV table"):
            read_batch(tmp_path / "t.csv", PATTERN)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three videos, of which the second is none."""
    for name in ("a", "c"):
        film(tmp_path / f"{name}.mp4", tmp_path / f"{name}.png")
    (tmp_path / "b.mp4").write_text("no video")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    return write_table(
        tmp_path / "t.csv", "video,mask", "a.mp4,a.png", "b.mp4,b.png", "c.mp4,c.png"
    )


def pictures(folder: Path) -> dict[str, bytes]:
    """Return all files of runs but the reports, which tell how long they took."""
    reports = ("run.json", "batch.json")
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name not in reports)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


class TestABatch:
    @pytest.fixture(autouse=True)
    def by_colour(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "vostool.inference.predictor.load_checkpoint", lambda *_: ColourNetwork()
        )

    def test_finds_the_times_of_each_video_alone_and_is_done_when_it_is_repeated(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        weights: Path,
    ) -> None:
        write_table(
            table,
            "video,mask,start,end",
            "a.mp4,a.png,,0:00.08",
            "b.mp4,b.png,0:01,",
            "c.mp4,c.png,,3",
        )
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        outcome = vostool("segment", "--batch", table, "-o", "all", *model)
        assert outcome.code == 3
        assert "1 of 3 videos failed" in outcome.err
        counts = {
            path.parent.name: len(list(path.iterdir())) for path in Path("all").glob("*/masks")
        }
        assert counts == {"a": 2, "c": 3}
        again = vostool("segment", "--batch", table, "-o", "all", *model)
        assert again.err.count("already done") == 2

    def test_goes_on_past_a_video_that_fails_and_says_so_at_the_end(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        weights: Path,
    ) -> None:
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        outcome = vostool("segment", "--batch", table, "-o", "all", *model)
        assert outcome.code == 3
        assert outcome.out.splitlines() == [
            "all/a/masks",
            "all/a/overlay.mp4",
            "all/c/masks",
            "all/c/overlay.mp4",
        ]
        assert "b.mp4" in outcome.err
        assert outcome.err.splitlines()[-1].endswith("1 of 3 videos failed, see above")
        assert len(list(Path("all/c/masks").iterdir())) == FRAMES

    def test_does_not_repeat_what_is_done_by_the_same_options(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        weights: Path,
    ) -> None:
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        vostool("segment", "--batch", table, "-o", "all", *model)
        stamp = Path("all/a/run.json").stat().st_mtime_ns
        film(table.with_name("b.mp4"), table.with_name("b.png"))
        again = vostool("segment", "--batch", table, "-o", "all", *model, "--json")
        assert again.code == 0
        assert [report["frames"] for report in json.loads(again.out)] == [FRAMES] * 3
        assert Path("all/a/run.json").stat().st_mtime_ns == stamp
        other = vostool("segment", "--batch", table, "-o", "all", *model[:-1], 32)
        assert other.code == 7
        assert other.err.count("exists already") == 3

    @pytest.mark.parametrize("cause", [OSError(36, "File name too long", "b"), ZeroDivisionError()])
    def test_goes_on_past_a_video_that_fails_for_whatever_cause(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        weights: Path,
        monkeypatch: pytest.MonkeyPatch,
        cause: Exception,
    ) -> None:
        def probe(path: Path, rate: object) -> VideoInfo:
            if path.name == "b.mp4":
                raise cause
            return media_probe(path)

        monkeypatch.setattr("vostool.media.inputs.probe", probe)
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        outcome = vostool("segment", "--batch", table, "-o", "all", *model)
        assert outcome.code == (3 if isinstance(cause, OSError) else 1)
        assert "Traceback" not in outcome.err
        assert outcome.err.count("1 of 3 videos failed") == 1
        assert Path("all/c/overlay.mp4").exists()

    @pytest.mark.parametrize("status", ["interrupted", "running", "failed"])
    def test_redoes_what_was_interrupted_and_says_of_the_rest_that_it_is_done(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        weights: Path,
        monkeypatch: pytest.MonkeyPatch,
        status: str,
    ) -> None:
        film(table.with_name("b.mp4"), table.with_name("b.png"))
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        command = ("segment", "--batch", table, *model, "-o")
        vostool(*command, "whole")
        network = ColourNetwork(FRAMES + 3, interrupt)  # while the second video is followed
        monkeypatch.setattr("vostool.inference.predictor.load_checkpoint", lambda *_: network)
        stopped = vostool(*command, "all")
        assert stopped.code == 130
        assert "are kept in all/b; 1 of 3 videos are done; go on with: vostool" in stopped.err
        report = Path("all/b/run.json")
        assert json.loads(report.read_text())["status"] == "interrupted"
        # a killed one could not say so
        report.write_text(report.read_text().replace('"interrupted"', f'"{status}"'))
        again = vostool(*command, "all")
        assert again.code == 0
        assert again.err.count("already done") == 1
        assert pictures(Path("all")) == pictures(Path("whole"))
        assert vostool(*command, "all").err.count("already done") == 3

    def test_redoes_a_video_whose_outputs_were_removed(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        weights: Path,
    ) -> None:
        film(table.with_name("b.mp4"), table.with_name("b.png"))
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        command = ("segment", "--batch", table, *model, "-o", "all")
        vostool(*command)
        Path("all/b/overlay.mp4").unlink()
        again = vostool(*command)
        assert (again.code, again.err.count("already done")) == (0, 2)
        assert Path("all/b/overlay.mp4").exists()

    def test_leaves_a_video_to_another_process_that_is_at_work_on_it(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        weights: Path,
    ) -> None:
        film(table.with_name("b.mp4"), table.with_name("b.png"))
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        with claimed(Path("all/b")):
            outcome = vostool("segment", "--batch", table, *model, "-o", "all")
        assert outcome.code == 7
        assert "all/b: another vostool is at work in it" in outcome.err
        assert Path("all/c/run.json").exists()
        assert not Path("all/b/run.json").exists()

    @pytest.mark.parametrize("more", [("video.mp4",), ("--mask", "m.png"), ("--demo",)])
    def test_brings_its_own_videos(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        more: tuple[str, ...],
    ) -> None:
        outcome = vostool("segment", *more, "--batch", table)
        assert (outcome.code, outcome.out) == (2, "")
