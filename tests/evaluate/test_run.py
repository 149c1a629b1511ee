import json
import math
import os
import shutil
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import HEIGHT, ColourNetwork, copy_as_killed, draw, film, interrupt
from tests.evaluate.making import (
    COUNT,
    predict_truth,
    write_davis16,
    write_davis17,
    write_youtube,
)
from tests.media.making import delay_last_picture
from vostool.errors import InputError, MaskError, OutputError
from vostool.evaluate.predict import predict_clip
from vostool.evaluate.protocols import Benchmark, BenchmarkClip, open_benchmark
from vostool.evaluate.report import worst_frames
from vostool.evaluate.results import Results, read_results, summary
from vostool.evaluate.results_writer import score
from vostool.evaluate.run import evaluate, holds
from vostool.evaluate.state import ClipDone
from vostool.files.claims import claimed
from vostool.inference import states
from vostool.inference.predictor import Predictor
from vostool.inference.states import FOLDER
from vostool.model.stm import Stm
from vostool.progress import ProgressCallback
from vostool.scale.work import Alone

pytestmark = pytest.mark.usefixtures("scored_here")


def colour_model(weights: Path, network: ColourNetwork) -> Predictor:
    return Predictor(cast(Stm, network), weights, torch.device("cpu"), torch.float32, size=HEIGHT)


@pytest.fixture
def predictor(weights: Path) -> Predictor:
    return colour_model(weights, ColourNetwork())


def masks_of(folder: Path) -> dict[str, bytes]:
    """Return all that lies among the masks of a run."""
    found = [path for path in (folder / "masks").rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.fixture
def states_of_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "INTERVAL", -1.0)


@pytest.fixture
def davis16(tmp_path: Path) -> Benchmark:
    return open_benchmark("davis16", write_davis16(tmp_path / "set", "a", "b"), "val")


class TestARun:
    def test_predicts_scores_and_reports(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        results = evaluate(davis16, predictor, out)
        assert list(results.objects) == ["a_1", "b_1"]
        assert summary(results.objects.values())["J-Mean"] > 0.95
        assert {path.name for path in out.iterdir()} == {
            "masks",
            "results.json",
            "run.json",
            "report.html",
            "global_results-val.csv",
            "per-sequence_results-val.csv",
        }
        assert read_results(out) == results

    def test_writes_masks_as_the_benchmark_has_them(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        evaluate(davis16, predictor, tmp_path / "out")
        masks = sorted((tmp_path / "out" / "masks" / "a").iterdir())
        assert [path.name for path in masks] == [f"{index:05d}.png" for index in range(COUNT)]
        assert set(np.unique(np.asarray(Image.open(masks[2])))) == {0, 255}

    def test_keeps_the_ids_of_davis_2017(self, predictor: Predictor, tmp_path: Path) -> None:
        root = write_davis17(tmp_path / "set", "a")
        evaluate(open_benchmark("davis17", root, "val"), predictor, tmp_path / "out")
        mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "a" / "00003.png"))
        assert set(np.unique(mask)) == {0, 1}

    def test_is_scored_just_as_its_masks_are(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        results = evaluate(davis16, predictor, tmp_path / "out")
        assert score(davis16, tmp_path / "out" / "masks", None).clips == results.clips

    def test_follows_late_objects_and_keeps_those_already_followed(
        self, predictor: Predictor, tmp_path: Path
    ) -> None:
        write_youtube(tmp_path / "valid", whole_truth=False)
        benchmark = open_benchmark("youtube-vos", tmp_path, "valid")
        results = evaluate(benchmark, predictor, tmp_path / "out")
        assert results.clips == []
        for place in (5, 8):
            mask = np.asarray(Image.open(tmp_path / "out" / "masks" / "a" / f"{5 * place:05d}.png"))
            truth = draw(place, two=True)[1]
            assert (mask == truth).mean() > 0.97
            assert set(np.unique(mask)) == {0, 1, 2}
        assert not (tmp_path / "out" / "report.html").exists()

    def test_tells_what_made_it(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        results = evaluate(davis16, predictor, tmp_path / "out")
        assert results.options["size"] == HEIGHT
        assert len(results.options["weights_sha256"]) == 64
        assert {"vostool", "torch", "av"} <= set(results.versions)
        assert results.speed is not None
        assert results.speed.frames == 2 * COUNT
        assert 0 < results.speed.total_fps <= results.speed.network_fps

    def test_tells_of_a_clip_that_memory_ran_out_on(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        def run_out() -> None:
            raise torch.OutOfMemoryError("CUDA out of memory.")

        network = ColourNetwork(COUNT + 1, run_out)  # on the third frame of the second clip
        model = replace(colour_model(weights, network), size=192)
        results = evaluate(davis16, model, tmp_path / "out")
        step = {"frame": 2, "size": 144, "objects_at_once": None, "memory_frames": None}
        assert results.lowered == {"b": [step]}
        assert read_results(tmp_path / "out") == results
        state = json.loads((tmp_path / "out" / "run.json").read_text())
        assert [clip["lowered"] for clip in state["done"].values()] == [[], [step]]

    def test_tells_what_was_put_right_in_a_video_even_if_it_was_interrupted_since(
        self, davis16: Benchmark, predictor: Predictor, weights: Path, tmp_path: Path
    ) -> None:
        delay_last_picture(davis16.root / "videos" / "a.mp4")
        with pytest.raises(KeyboardInterrupt):
            evaluate(davis16, colour_model(weights, ColourNetwork(8, interrupt)), tmp_path / "out")
        (warning,) = evaluate(davis16, predictor, tmp_path / "out").warnings
        assert f"{davis16.root / 'videos' / 'a.mp4'}: its clock breaks off at frame 5" in warning
        assert read_results(tmp_path / "out").warnings == [warning]

    def test_writes_the_official_tool_s_columns(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        results = evaluate(davis16, predictor, tmp_path / "out")
        header, row = (tmp_path / "out" / "global_results-val.csv").read_text().splitlines()
        assert header == "J&F-Mean,J-Mean,J-Recall,J-Decay,F-Mean,F-Recall,F-Decay"
        whole = summary(results.objects.values())
        assert row == ",".join(f"{value:.3f}" for value in whole.values())
        lines = (tmp_path / "out" / "per-sequence_results-val.csv").read_text().splitlines()
        assert lines[0] == "Sequence,J-Mean,F-Mean"
        assert [line.split(",")[0] for line in lines[1:]] == ["a_1", "b_1"]

    def test_needs_the_frames_of_every_clip(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        first, second = davis16.clips
        lacking = replace(davis16, clips=(first, replace(second, source=None)))
        with pytest.raises(InputError, match="no frames of the clip 'b'"):
            evaluate(lacking, predictor, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_needs_as_many_frames_as_there_are_masks(
        self, predictor: Predictor, tmp_path: Path
    ) -> None:
        root = write_davis16(tmp_path / "set", "a")
        film(root / "videos" / "a.mp4", tmp_path / "first.png", COUNT + 1)
        benchmark = open_benchmark("davis16", root, "val")
        with pytest.raises(InputError, match=rf"a\.mp4: has {COUNT + 1} frames, the truth {COUNT}"):
            evaluate(benchmark, predictor, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_has_its_folder_for_itself(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        here = f"another vostool is at work in it, process {os.getpid()} on {socket.gethostname()}"
        with claimed(tmp_path / "out"), pytest.raises(OutputError, match=here):
            evaluate(davis16, predictor, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        assert evaluate(davis16, predictor, tmp_path / "out").clips

    def test_of_youtube_vos_shows_its_worst_frames(
        self, predictor: Predictor, tmp_path: Path
    ) -> None:
        write_youtube(tmp_path / "train", whole_truth=True)
        benchmark = open_benchmark("youtube-vos", tmp_path, "train")
        results = evaluate(benchmark, predictor, tmp_path / "out")
        assert [worst.clip for worst in worst_frames(results)] == ["a"]


def interrupted(benchmark: Benchmark, weights: Path, out: Path, frame: int, **options: Any) -> str:
    """Have Ctrl-C come while a frame is segmented; return the note of what is done."""
    with pytest.raises(KeyboardInterrupt) as stop:
        evaluate(benchmark, colour_model(weights, ColourNetwork(frame, interrupt)), out, **options)
    (note,) = stop.value.__notes__
    return note


def gone_on(benchmark: Benchmark, weights: Path, out: Path, **options: Any) -> tuple[Results, int]:
    """Go on with a run; return its results, and how many frames are segmented for them."""
    counting = ColourNetwork(10**6)
    results = evaluate(benchmark, colour_model(weights, counting), out, **options)
    return results, 10**6 - counting.left


IN_SECOND = COUNT + 2  # a frame that is segmented in the second clip


class TestAnInterruptedRun:
    def test_goes_on_with_the_next_clip(
        self, davis16: Benchmark, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(states, "INTERVAL", math.inf)  # none of the clip that is begun again
        out = tmp_path / "out"
        note = interrupted(davis16, weights, out, IN_SECOND)
        assert note == f"1 of 2 clips are done in {out}"
        resumed, count = gone_on(davis16, weights, out)
        assert count == COUNT - 1  # one clip, less its first frame
        whole = evaluate(davis16, colour_model(weights, ColourNetwork()), tmp_path / "whole")
        assert resumed.clips == whole.clips
        assert resumed.speed is not None
        assert resumed.speed.frames == 2 * COUNT

    @pytest.mark.parametrize("frame", [2, COUNT - 1, COUNT + 1])
    @pytest.mark.usefixtures("states_of_every_frame")
    def test_goes_on_within_a_clip_to_the_same_bytes(
        self, davis16: Benchmark, weights: Path, tmp_path: Path, frame: int
    ) -> None:
        out = tmp_path / "out"
        interrupted(davis16, weights, out, frame)
        resumed, count = gone_on(davis16, weights, out)
        # a clip's first frame is not segmented, and the one at hand is begun again
        assert count == 2 * (COUNT - 1) - (frame - 1)
        whole = evaluate(davis16, colour_model(weights, ColourNetwork()), tmp_path / "whole")
        assert resumed.clips == whole.clips
        assert masks_of(out) == masks_of(tmp_path / "whole")
        assert resumed.speed is not None
        assert whole.speed is not None
        assert whole.speed.frames - resumed.speed.frames == (frame - 1) % (COUNT - 1) + 1

    @pytest.mark.usefixtures("states_of_every_frame")
    def test_that_was_killed_goes_on_within_the_clip_to_the_same_bytes(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        out, killed = tmp_path / "out", tmp_path / "killed"
        kill = copy_as_killed(out, killed, out / "masks" / "b" / FOLDER / "00003.safetensors")
        network = ColourNetwork(COUNT - 1 + 3, kill)  # at frame 3 of the second clip
        whole = evaluate(davis16, colour_model(weights, network), out)
        assert json.loads((killed / "run.json").read_text())["status"] == "running"
        resumed, count = gone_on(davis16, weights, killed)
        assert count == COUNT - 3
        assert resumed.clips == whole.clips
        assert resumed.objects == whole.objects
        assert masks_of(killed) == masks_of(out)

    @pytest.mark.usefixtures("states_of_every_frame")
    def test_begins_a_clip_again_whose_masks_are_damaged(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        interrupted(davis16, weights, out, 4)
        (out / "masks" / "a" / "00000.png").write_bytes(b"")
        assert gone_on(davis16, weights, out)[1] == 2 * (COUNT - 1)

    @pytest.mark.usefixtures("states_of_every_frame")
    def test_that_is_overwritten_goes_on_with_nothing(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        interrupted(davis16, weights, out, 4)
        assert gone_on(davis16, weights, out, overwrite=True)[1] == 2 * (COUNT - 1)

    def test_does_not_count_a_clip_that_was_cut_short(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        interrupted(davis16, weights, out, IN_SECOND)
        state = json.loads((out / "run.json").read_text())
        assert (list(state["done"]), state["status"]) == (["a"], "interrupted")
        assert not (out / "results.json").exists()

    def test_that_was_to_replace_another_leaves_nothing_of_that_one(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        evaluate(davis16, colour_model(weights, ColourNetwork()), out)
        interrupted(davis16, weights, out, IN_SECOND, overwrite=True)
        assert {path.name for path in out.iterdir()} == {"masks", "run.json"}
        evaluate(davis16, colour_model(weights, ColourNetwork()), out)
        assert (out / "results.json").exists()

    def test_whose_report_has_a_number_that_is_none_is_told(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        interrupted(davis16, weights, tmp_path / "out", IN_SECOND)
        path = tmp_path / "out" / "run.json"
        path.write_text(path.read_text().replace(f'"frames": {COUNT}', '"frames": NaN'))
        with pytest.raises(InputError, match=r"run\.json: damaged: done\.a\.frames: "):
            evaluate(davis16, colour_model(weights, ColourNetwork()), tmp_path / "out")

    def test_with_other_options_is_refused(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        interrupted(davis16, weights, tmp_path / "out", IN_SECOND)
        other = replace(colour_model(weights, ColourNetwork()), size=32)
        with pytest.raises(OutputError, match="another size"):
            evaluate(davis16, other, tmp_path / "out")

    def test_with_other_weights_is_refused(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        interrupted(davis16, weights, tmp_path / "out", IN_SECOND)
        weights.write_bytes(b"others, of the same name")
        with pytest.raises(OutputError, match="another weights_sha256"):
            evaluate(davis16, colour_model(weights, ColourNetwork()), tmp_path / "out")

    def test_of_another_version_is_refused(
        self, davis16: Benchmark, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        interrupted(davis16, weights, tmp_path / "out", IN_SECOND)
        monkeypatch.setattr("vostool.evaluate.run.__version__", "99.0")
        with pytest.raises(OutputError, match="another vostool"):
            evaluate(davis16, colour_model(weights, ColourNetwork()), tmp_path / "out")


def test_a_run_json_with_the_mark_of_windows_notepad_is_read(
    davis16: Benchmark, predictor: Predictor, tmp_path: Path
) -> None:
    evaluate(davis16, predictor, tmp_path / "out")
    path = tmp_path / "out" / "run.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert holds(tmp_path / "out", davis16, predictor)


class TestAFinishedRun:
    def test_is_not_done_again_nor_taken_for_a_new_one(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        evaluate(davis16, predictor, tmp_path / "out")
        with pytest.raises(OutputError, match="finished; choose another -o or give --overwrite"):
            evaluate(davis16, predictor, tmp_path / "out")

    def test_is_replaced_on_request_and_nothing_else_with_it(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        evaluate(davis16, predictor, out)
        (out / "notes.txt").write_text("mine")
        (out / "masks" / "a" / "99999.png").write_text("stale")
        evaluate(davis16, replace(predictor, size=32), out, overwrite=True)
        assert read_results(out).options["size"] == 32
        assert (out / "notes.txt").exists()
        assert not (out / "masks" / "a" / "99999.png").exists()

    def test_is_known_by_its_options(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        assert not holds(out, davis16, predictor)
        evaluate(davis16, predictor, out)
        assert holds(out, davis16, predictor)
        assert not holds(out, davis16, replace(predictor, size=32))

    def test_of_something_else_is_left_alone(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        (tmp_path / "out" / "masks").mkdir(parents=True)
        with pytest.raises(OutputError, match=r"masks: exists already; choose another -o$"):
            evaluate(davis16, predictor, tmp_path / "out")

    @pytest.mark.parametrize(
        "text",
        [
            '{"mine": true}',
            "[1]",
            '{"status": "done", "done": [], "options": {}}',
            '{"status": "running", "done": {}, "options": []}',
            "[" * 100_000,
        ],
    )
    def test_of_something_else_is_told(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path, text: str
    ) -> None:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "run.json").write_text(text)
        with pytest.raises(OutputError, match=r"run\.json: not a run of vostool"):
            evaluate(davis16, predictor, tmp_path / "out")
        with pytest.raises(OutputError, match=r"run\.json: not a run of vostool"):
            holds(tmp_path / "out", davis16, predictor)


def test_a_run_json_with_damaged_figures_is_an_input_error_that_names_it(
    davis16: Benchmark, predictor: Predictor, tmp_path: Path
) -> None:
    evaluate(davis16, predictor, tmp_path / "out")
    path = tmp_path / "out" / "run.json"
    state = {**json.loads(path.read_text()), "status": "running"}
    clip = davis16.clips[0].name
    changes: tuple[dict[str, object], ...] = (
        {"frames": float("nan")},
        {"frames": -1},
        {"network": float("inf")},
        {"total": "soon"},
        {"lowered": 3},
        {"lowered": [7]},
        {"lowered": [{"frame": float("nan")}]},
        {"unknown": 1},
    )
    for change in changes:
        done = {**state["done"], clip: state["done"][clip] | change}
        path.write_text(json.dumps({**state, "done": done}))
        with pytest.raises(InputError, match=r"run\.json: damaged: done\..*give --overwrite"):
            evaluate(davis16, predictor, tmp_path / "out")
    evaluate(davis16, predictor, tmp_path / "out", overwrite=True)


class TestMasksMadeElsewhere:
    def test_are_scored_without_writing_anything(self, davis16: Benchmark, tmp_path: Path) -> None:
        made = predict_truth(tmp_path / "set", tmp_path / "made")
        before = {str(path) for path in tmp_path.rglob("*")}
        results = score(davis16, made, None)
        assert summary(results.objects.values())["J&F-Mean"] == 1
        assert results.speed is None
        assert {str(path) for path in tmp_path.rglob("*")} == before

    def test_get_a_report_where_one_is_asked_for(self, davis16: Benchmark, tmp_path: Path) -> None:
        made = predict_truth(tmp_path / "set", tmp_path / "made", worse=2)
        score(davis16, made, tmp_path / "out")
        assert {path.name for path in (tmp_path / "out").iterdir()} == {
            "results.json",
            "report.html",
            "global_results-val.csv",
            "per-sequence_results-val.csv",
        }

    def test_are_scored_anew_when_they_change(self, davis16: Benchmark, tmp_path: Path) -> None:
        made = predict_truth(tmp_path / "set", tmp_path / "made")
        score(davis16, made, tmp_path / "out")
        black = np.zeros((48, 64), np.uint8)
        for path in made.rglob("*.png"):
            Image.fromarray(black).save(path)
        with pytest.raises(OutputError, match="exists already"):
            score(davis16, made, tmp_path / "out")
        replaced = score(davis16, made, tmp_path / "out", overwrite=True)
        assert summary(replaced.objects.values())["J&F-Mean"] == 0
        assert read_results(tmp_path / "out") == replaced

    def test_never_replace_a_run(
        self, davis16: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        run = evaluate(davis16, predictor, tmp_path / "out")
        with pytest.raises(OutputError, match=r"run\.json: exists already; it is of a run"):
            score(davis16, tmp_path / "out" / "masks", tmp_path / "out", overwrite=True)
        assert read_results(tmp_path / "out") == run

    def test_that_are_broken_leave_nothing_behind(self, davis16: Benchmark, tmp_path: Path) -> None:
        made = predict_truth(tmp_path / "set", tmp_path / "made")
        (made / "b" / "00002.png").write_bytes(b"")
        with pytest.raises(MaskError, match=r"00002\.png"):
            score(davis16, made, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_must_be_somewhere(self, davis16: Benchmark, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such folder of predictions"):
            score(davis16, tmp_path / "nowhere", None)


class TestAPool:
    """Clips that are predicted by a pool of workers; here it is one, in this process."""

    @pytest.fixture
    def longer_last(self, tmp_path: Path) -> Benchmark:
        """Two clips, of which the second one is the longer."""
        root = write_davis16(tmp_path / "set", "b", count=COUNT + 2)
        shutil.copytree(write_davis16(tmp_path / "more", "a"), root, dirs_exist_ok=True)
        (root / "ImageSets" / "2016" / "val.txt").write_text("a\nb\n")
        return open_benchmark("davis16", root, "val")

    def test_gives_the_results_of_one_process_though_the_longest_clip_is_first(
        self, longer_last: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        for clip in longer_last.clips:  # for a warning of each
            assert clip.source is not None
            delay_last_picture(clip.source)
        one, many = tmp_path / "one", tmp_path / "many"
        expected = evaluate(longer_last, predictor, one)
        pool = Alone(partial(predict_clip, predictor, many / "masks"))
        found = evaluate(longer_last, predictor, many, pool=pool)
        free = {"speed", "created", "predictions"}
        assert found.model_dump(exclude=free) == expected.model_dump(exclude=free)
        assert len(found.warnings) == 2
        assert masks_of(many) == masks_of(one)
        assert list(json.loads((many / "run.json").read_text())["done"]) == ["b", "a"]

    def test_stops_at_the_first_error_and_goes_on_with_what_is_left(
        self, longer_last: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        done: list[str] = []

        def work(clip: BenchmarkClip, progress: ProgressCallback) -> ClipDone:
            if done == ["b"]:
                raise InputError(f"{clip.name}: damaged")
            done.append(clip.name)
            return predict_clip(predictor, tmp_path / "out" / "masks", clip, progress)

        with pytest.raises(InputError, match="a: damaged"):
            evaluate(longer_last, predictor, tmp_path / "out", pool=Alone(work))
        done.clear()
        results = evaluate(longer_last, predictor, tmp_path / "out", pool=Alone(work))
        assert done == ["a"]
        assert [clip.name for clip in results.clips] == ["a", "b"]

    def test_that_is_interrupted_says_once_how_many_clips_are_done(
        self, longer_last: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        stopped = colour_model(weights, ColourNetwork(COUNT + 4, interrupt))
        pool = Alone(partial(predict_clip, stopped, tmp_path / "out" / "masks"))
        with pytest.raises(KeyboardInterrupt) as stop:
            evaluate(longer_last, stopped, tmp_path / "out", pool=pool)
        assert stop.value.__notes__ == [f"1 of 2 clips are done in {tmp_path / 'out'}"]

    def test_reports_the_frames_of_all_clips_as_progress(
        self, longer_last: Benchmark, predictor: Predictor, tmp_path: Path
    ) -> None:
        calls: list[tuple[int, int | None, str]] = []
        pool = Alone(partial(predict_clip, predictor, tmp_path / "out" / "masks"))
        evaluate(
            longer_last,
            predictor,
            tmp_path / "out",
            progress=lambda *call: calls.append(call),
            pool=pool,
        )
        total = 2 * COUNT + 2
        assert calls[0] == (1, total, "0 of 2 clips")
        assert calls[-1] == (total, total, "scoring")
        frames = [done for done, _, _ in calls]
        assert frames == sorted(frames)
