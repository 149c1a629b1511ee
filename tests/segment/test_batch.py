import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import FRAMES, HEIGHT, ColourNetwork, film, interrupt
from tests.segment.test_batch_table import write_table
from tests.test_cli import Call, vostool  # noqa: F401
from vostool.errors import WeightsError
from vostool.files.claims import claimed
from vostool.media.frame import VideoInfo
from vostool.media.video import probe as media_probe


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
    reports = ("run.json", "batch.json", "batch.png")
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name not in reports)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


class TestABatch:
    @pytest.fixture(autouse=True)
    def by_colour(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: ColourNetwork())

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

    def test_has_the_options_of_each_row_and_loads_a_model_once_for_rows_that_share_it(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        weights: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        loaded: list[object] = []

        def load(*given: object) -> ColourNetwork:
            loaded.append(given)
            return ColourNetwork()

        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", load)
        lines = [f"{name}.mp4,{name[0]}.png,{name}{number},{size}"
                 for name in "ac" for number, size in enumerate(("", 64))]  # fmt: skip
        write_table(table, "video,mask,output,size", *lines)
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        command = ("segment", "--batch", table, "-o", "all", *model)
        assert vostool(*command).code == 0
        assert len(loaded) == 2
        sizes = {
            path.parent.name: json.loads(path.read_text())["options"]["size"]
            for path in Path("all").glob("*/run.json")
        }
        assert sizes == {"a0": HEIGHT, "a1": 64, "c0": HEIGHT, "c1": 64}
        assert vostool(*command).err.count("already done") == 4
        write_table(table, "video,mask,output,size", "a.mp4,a.png,a1,96")
        other = vostool(*command)
        assert (other.code, other.err.count("exists already")) == (7, 1)

    def test_goes_on_past_a_row_whose_model_cannot_be_loaded(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        weights: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def load(path: Path, *_: object) -> ColourNetwork:
            if path.name == "other.safetensors":
                raise WeightsError(f"{path}: no weights")
            return ColourNetwork()

        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", load)
        weights.with_name("other.safetensors").write_bytes(b"")
        rows = "a.mp4,a.png,other.safetensors", "c.mp4,c.png,"
        write_table(table, "video,mask,weights", *rows)
        command = ("segment", "--batch", table, "-o", "all", "--weights", weights)
        outcome = vostool(*command, "--device", "cpu", "--size", HEIGHT)
        assert outcome.code == WeightsError.exit_code
        assert "1 of 2 videos failed" in outcome.err
        assert Path("all/c/run.json").exists()

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
        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: network)
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

    @pytest.mark.parametrize("removed", ["overlay.mp4", "masks/00001.png", "masks"])
    def test_redoes_a_video_whose_outputs_were_removed(
        self,
        vostool: Call,  # noqa: F811
        table: Path,
        weights: Path,
        removed: str,
    ) -> None:
        film(table.with_name("b.mp4"), table.with_name("b.png"))
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        command = ("segment", "--batch", table, *model, "-o", "all")
        vostool(*command)
        before = pictures(Path("all"))
        path = Path("all/b") / removed
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        again = vostool(*command)
        assert (again.code, again.err.count("already done")) == (0, 2)
        assert pictures(Path("all")) == before

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
