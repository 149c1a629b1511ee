"""A batch over several processes, or in shards that do not know of each other."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import FRAMES, HEIGHT, TINY, ColourNetwork, film
from tests.segment.test_batch import pictures
from tests.segment.test_batch_report import ENTRY, report
from tests.segment.test_left_over import leave_claim
from tests.test_cli import Call, vostool
from vostool.files.claims import claimed
from vostool.model.checkpoint import save_checkpoint
from vostool.model.stm import Stm
from vostool.segment.batch_report import read_batch_report, write_report

__all__ = ["vostool"]  # a fixture


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Four videos, of which the second is the longest and the third is none."""
    for name, count in (("a", FRAMES), ("b", 2 * FRAMES), ("d", FRAMES)):
        film(tmp_path / f"{name}.mp4", tmp_path / f"{name}.png", count)
    (tmp_path / "c.mp4").write_text("no video")
    return write_table(tmp_path / "t.csv", "abcd")


def write_table(path: Path, names: str) -> Path:
    """Write a table of videos, which all begin alike."""
    path.write_text("video,mask\n" + "".join(f"{name}.mp4,a.png\n" for name in names))
    return path


def report_in(path: str) -> dict[str, Any]:
    return json.loads(Path(path).read_text())


def statuses(path: str) -> dict[str, str]:
    """Return the status of each job in a batch's report, by its folder's name."""
    return {Path(each["output"]).name: each["status"] for each in report_in(path)["jobs"]}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ("x.mp4", "-m", "m.png", "--workers", "2"),
            "--workers: is for the videos of a --batch TABLE",
        ),
        (("--demo", "--on", "ray"), "--on: is for the videos of a --batch TABLE"),
        (("--batch", "t.csv", "--shard", "0/3"), "--shard 0/3: expected NUMBER/COUNT"),
        (("--batch", "t.csv", "--on", "mars"), "--on mars: expected local, ray or ray:HOST:PORT"),
        (("--batch", "t.csv", "--on", "ray:"), "--on ray:: expected local, ray or"),
        (("--batch", "t.csv", "--merge", "--shard", "1/2"), "--merge segments nothing"),
        (
            ("--batch", "t.csv", "--on", "ray", "--device", "cuda:0"),
            "--on ray --device cuda:0: Ray deals out the GPUs of its nodes: give --device cuda",
        ),
    ],
)
def test_options_that_do_not_go_together_are_a_usage_error(
    vostool: Call, options: tuple[str, ...], words: str
) -> None:
    outcome = vostool("segment", *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_without_ray_the_error_says_how_to_install_it(
    vostool: Call, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    Path("all").mkdir()
    Path("all/batch.json").write_text("of a former batch")
    outcome = vostool("segment", "--batch", table, "-o", "all", "--on", "ray")
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].endswith("pip install 'vostool[cluster]'")
    assert Path("all/batch.json").read_text() == "of a former batch"


def test_a_model_that_cannot_be_loaded_leaves_the_report_of_a_former_batch(
    vostool: Call, table: Path, tmp_path: Path
) -> None:
    path, former = tmp_path / "all" / "batch.json", report(ENTRY)
    write_report(path, former)
    picture = path.with_suffix(".png")
    picture.write_bytes(b"its picture")
    weights = tmp_path / "damaged.safetensors"
    weights.write_bytes(b"no weights")
    outcome = vostool("segment", "--batch", table, "-o", path.parent, "--weights", weights)
    assert outcome.code == 6
    assert read_batch_report(path) == former
    assert picture.exists()


class TestShards:
    @pytest.fixture(autouse=True)
    def by_colour(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: ColourNetwork())

    @pytest.fixture
    def command(self, table: Path, weights: Path) -> tuple[object, ...]:
        model = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
        return ("segment", "--batch", table, "-o", "all", *model)

    def test_do_their_own_videos_then_those_not_begun_and_are_merged(
        self, vostool: Call, command: tuple[object, ...]
    ) -> None:
        second = vostool(*command, "--shard", "2/2")
        assert second.code == 0  # what it took over and failed is reported by the first
        assert statuses("all/batch-2of2.json") == {
            **dict.fromkeys("abd", "done"),
            "c": "failed",
        }
        early = vostool(*command, "--merge")
        assert (early.code, early.err.count("batch-1of2.json: not found")) == (3, 1)
        first = vostool(*command, "--shard", "1/2")
        assert first.code == 3
        assert first.err.splitlines()[-1].endswith("1 of 2 videos failed, see above")
        assert statuses("all/batch-1of2.json") == {"a": "already done", "c": "failed"}
        merged = vostool(*command, "--merge")
        assert (merged.code, merged.out) == (3, "all/batch.json\n")
        assert statuses("all/batch.json") == statuses("all/batch-2of2.json")
        assert report_in("all/batch.json")["frames"] == 4 * FRAMES
        # those of single processes are not drawn
        assert [path.name for path in Path("all").glob("*.png")] == ["batch.png"]

    def test_leave_a_video_that_another_process_is_at_work_on_which_is_no_error(
        self, vostool: Call, command: tuple[object, ...]
    ) -> None:
        with claimed(Path("all/b")):
            second = vostool(*command, "--shard", "2/2")
        assert second.code == 0
        assert "b.mp4: left to another process" in second.err
        assert statuses("all/batch-2of2.json")["b"] == "elsewhere"
        # the other process was killed: who still runs takes its video over
        vostool(*command, "--shard", "1/2")
        assert statuses("all/batch-1of2.json") == {
            "a": "already done",
            "b": "done",
            "c": "failed",
        }
        assert vostool(*command, "--merge").code == 3
        assert statuses("all/batch.json")["b"] == "done"

    def test_that_begin_again_wait_for_the_claim_of_a_process_that_was_killed_on_another_host(
        self, vostool: Call, command: tuple[object, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim = leave_claim(Path("all/d"))
        # its claim ages while there is nothing else to do
        monkeypatch.setattr("vostool.scale.work.time.sleep", lambda _: os.utime(claim, (0, 0)))
        second = vostool(*command, "--shard", "2/2")
        assert (second.code, second.err.count("d.mp4: left to another process")) == (0, 1)
        assert second.err.count("all/d: waiting up to 60 s for a sign of life") == 1
        assert statuses("all/batch-2of2.json")["d"] == "done"
        assert report_in("all/batch-2of2.json")["totals"]["elsewhere"] == 0

    def test_that_overwrite_do_each_video_once(
        self, vostool: Call, command: tuple[object, ...]
    ) -> None:
        for number in (1, 2):
            vostool(*command, "--shard", f"{number}/2", "--overwrite")
        assert statuses("all/batch-1of2.json") == {"a": "done", "c": "failed"}
        assert statuses("all/batch-2of2.json") == {"b": "done", "d": "done"}

    def test_that_left_a_video_to_each_other_are_told_when_they_are_merged(
        self, vostool: Call, table: Path, command: tuple[object, ...]
    ) -> None:
        write_table(table, "ab")
        with claimed(Path("all/b")):
            codes = [vostool(*command, "--shard", f"{number}/2").code for number in (1, 2)]
        assert codes == [0, 0]
        merged = vostool(*command, "--merge", "--quiet")
        assert merged.code == 7
        assert "all/b: left to a process that has not done it; run the shards again" in merged.err
        assert "1 of 2 videos are not done" in merged.err

    def test_of_another_table_or_a_foreign_file_are_refused_before_any_work(
        self, vostool: Call, command: tuple[object, ...]
    ) -> None:
        Path("all").mkdir()
        Path("all/batch.json").write_text("[]")
        outcome = vostool(*command)
        assert outcome.code == 7
        assert "is not the report of a batch" in outcome.err
        assert [path.name for path in Path("all").iterdir()] == ["batch.json"]


def test_two_workers_make_the_same_files_as_one_and_begin_with_the_longest_video(
    vostool: Call, table: Path, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "w.safetensors", Stm(TINY).eval(), {})
    model = ("--weights", tmp_path / "w.safetensors", "--device", "cpu", "--size", HEIGHT)
    command = ("segment", "--batch", table, *model, "--precision", "fp32", "-o")
    assert vostool(*command, "one").code == 3
    two = vostool(*command, "two", "--workers", "2", "--progress", "json")
    assert two.code == 3
    assert pictures(Path("two")) == pictures(Path("one"))
    assert two.out.splitlines() == [
        f"two/{name}/{output}" for name in "abd" for output in ("masks", "overlay.mp4")
    ]
    last = json.loads([line for line in two.err.splitlines() if line.startswith("{")][-1])
    assert (last["done"], last["failed"], last["total"], last["running"]) == (3, 1, 4, [])
    report = report_in("two/batch.json")
    began = {Path(job["video"]).stem: job["began"] for job in report["jobs"]}
    assert began["b"] == min(began.values())  # another may begin in the same millisecond
    assert (report["status"], report["frames"]) == ("done", 4 * FRAMES)
    assert [job["status"] for job in report["jobs"]] == ["done", "done", "failed", "done"]
    assert Path("two/batch.png").exists()
    # what is done is so for one process too, which draws no picture
    assert vostool(*command, "two", "--quiet").code == 3
    assert not Path("two/batch.png").exists()
    assert set(statuses("two/batch.json").values()) == {"already done", "failed"}
