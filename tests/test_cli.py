import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.conftest import (
    ARRIVAL,
    FRAMES,
    HEIGHT,
    WIDTH,
    ColourNetwork,
    Footage,
    draw,
    film,
    interrupt,
    needs_int8,
)
from tests.datasets.making import write_video_clip
from tests.media.making import add_sound, hear_clicks, make_video, write_clicks
from vostool import __version__
from vostool.cli import main
from vostool.errors import EXIT_CODES
from vostool.files.claims import claimed
from vostool.media.masks import read_mask, write_mask
from vostool.media.video import read_frames
from vostool.model.checkpoint import load_checkpoint, save_checkpoint
from vostool.model.stm import Stm
from vostool.propagation.correction import GradientCorrection


@dataclass
class Outcome:
    """What a person gets to see of a command."""

    code: int
    out: str
    err: str


Call = Callable[..., Outcome]


@pytest.fixture
def vostool(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Call:
    """Run the command line in this process, in a folder of its own."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["vostool", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            assert isinstance(stop.code, int | None)
            code = stop.code or 0
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture
def segment(vostool: Call, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run `vostool segment` with a network that goes by colour."""
    monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: ColourNetwork())
    always = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
    return lambda *arguments: vostool("segment", *arguments, *always)


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, check=False
    )


def files(folder: Path) -> set[str]:
    """Return the files in a folder, without those to resume from."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in found if path.parts[0] not in (".state", ".soft")}


class TestSegment:
    def test_writes_masks_an_overlay_and_a_report_named_after_the_video(
        self, segment: Call, video: Footage
    ) -> None:
        outcome = segment(video.path, "--mask", video.mask)
        assert outcome.code == 0
        folder = Path("square").absolute()
        masks = {f"masks/{index:05d}.png" for index in range(FRAMES)}
        assert files(folder) == {"overlay.mp4", "run.json", *masks}
        assert read_mask(folder / "masks" / "00000.png").shape == (HEIGHT, WIDTH)

    def test_prints_the_paths_of_its_results_and_nothing_else(
        self, segment: Call, video: Footage, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        outcome = segment(video.path, "--mask", video.mask, "-o", out)
        assert outcome.out.splitlines() == [str(out / "masks"), str(out / "overlay.mp4")]
        assert f"{FRAMES} frames, " in outcome.err

    @pytest.mark.parametrize(
        ("options", "left"),
        [
            (["--no-overlay"], "masks"),
            (["--no-masks"], "overlay.mp4"),
            (["--no-masks", "--no-overlay", "--cutouts"], "cutouts"),
        ],
    )
    def test_writes_what_is_wanted_and_no_more(
        self, options: list[str], left: str, segment: Call, video: Footage, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        outcome = segment(video.path, "--mask", video.mask, "-o", out, *options)
        assert outcome.out.splitlines() == [str(out / left)]
        states = {".state"} if left == "masks" else set()
        assert {path.name for path in out.iterdir()} == {left, "run.json", *states}

    @pytest.mark.parametrize("where", ["before", "after"])
    def test_prints_one_json_document_on_request(
        self, where: str, segment: Call, video: Footage, tmp_path: Path
    ) -> None:
        given: tuple[object, ...] = (video.path, "--mask", video.mask, "-o", tmp_path / "out")
        outcome = segment(*(("--json", *given) if where == "before" else (*given, "--json")))
        report: dict[str, Any] = json.loads(outcome.out)
        assert report == json.loads((tmp_path / "out" / "run.json").read_text())
        assert (report["status"], report["frames"]) == ("done", FRAMES)

    def test_is_silent_on_request(self, segment: Call, video: Footage) -> None:
        outcome = segment(video.path, "--mask", video.mask, "--quiet")
        assert (outcome.code, outcome.err) == (0, "")
        assert outcome.out

    def test_takes_a_range_of_frames(self, segment: Call, video: Footage) -> None:
        write_mask(video.mask, video.labels[3])
        outcome = segment(video.path, "--mask", video.mask, "--start", 3, "--end", 5)
        assert outcome.code == 0
        assert sorted(path.name for path in Path("square/masks").iterdir()) == [
            "00003.png",
            "00004.png",
        ]

    def test_takes_times_for_frames(self, segment: Call, video: Footage) -> None:
        write_mask(video.mask, video.labels[3])
        given = ("--mask", f"0:00.12:{video.mask}", "--start", "0:00.1", "--end", "0:00.2")
        outcome = segment(video.path, *given)
        assert outcome.code == 0
        names = sorted(path.name for path in Path("square/masks").iterdir())
        assert names == ["00002.png", "00003.png", "00004.png"]
        options = json.loads(Path("square/run.json").read_text())["options"]
        assert (options["start"], options["end"]) == (2, 5)
        assert not {"start_time", "end_time"} & options.keys()

    def test_goes_on_to_the_end_where_a_time_is_after_it(
        self, segment: Call, video: Footage
    ) -> None:
        assert segment(video.path, "--mask", video.mask, "--end", "1:00").code == 0
        assert len(list(Path("square/masks").iterdir())) == FRAMES

    def test_takes_masks_for_later_frames(self, segment: Call, tmp_path: Path) -> None:
        two = film(tmp_path / "two.mp4", tmp_path / "first.png", two=True)
        late = np.where(two.labels[ARRIVAL] == 2, 9, 0).astype(np.uint8)
        write_mask(tmp_path / "late.png", late)
        masks = ("--mask", two.mask, "--mask", f"{ARRIVAL}:{tmp_path / 'late.png'}")
        assert segment(two.path, *masks).code == 0
        ids = [np.unique(read_mask(path)).tolist() for path in sorted(Path("two/masks").iterdir())]
        assert ids == [[0, 1]] * ARRIVAL + [[0, 1, 9]] * (FRAMES - ARRIVAL)

    def test_takes_a_folder_of_frames_and_a_folder_of_masks(
        self, segment: Call, tmp_path: Path
    ) -> None:
        for name in ("frames", "given"):
            (tmp_path / name).mkdir()
        for index in range(3):
            Image.fromarray(draw(index)[0]).save(tmp_path / "frames" / f"{index}.jpg", quality=95)
        write_mask(tmp_path / "given" / "0.png", draw(0)[1])
        outcome = segment(tmp_path / "frames", "--mask", tmp_path / "given")
        assert outcome.code == 0
        assert len(list(Path("frames/masks").iterdir())) == 3
        assert len(list(read_frames("frames/overlay.mp4"))) == 3

    def test_keeps_the_sound(self, segment: Call, tmp_path: Path) -> None:
        loud = make_video(tmp_path / "loud.mp4", count=25, sound="aac")
        labels = np.zeros((48, 64), np.uint8)
        labels[:12] = 1
        write_mask(tmp_path / "m.png", labels)
        assert segment(loud, "--mask", tmp_path / "m.png").code == 0
        assert hear_clicks(Path("loud/overlay.mp4")) == pytest.approx(hear_clicks(loud), abs=0.03)

    def test_replaces_a_result_only_on_request(self, segment: Call, video: Footage) -> None:
        first = segment(video.path, "--mask", video.mask)
        again = segment(video.path, "--mask", video.mask)
        assert (first.code, again.code) == (0, 7)
        assert "exists already" in again.err
        replaced = segment(video.path, "--mask", video.mask, "--end", 2, "--overwrite")
        assert replaced.code == 0
        assert len(list(Path("square/masks").iterdir())) == 2

    def test_corrects_on_request_and_says_so_in_the_report(
        self, segment: Call, video: Footage
    ) -> None:
        given = ("--gc-every", 2, "--gc-iters", 3, "--gc-rate", 9e4, "--gc-smooth", 0, "--json")
        plain = json.loads(segment(video.path, "--mask", video.mask, "-o", "plain", "--json").out)
        assert plain["options"]["correction"] is None
        outcome = segment(video.path, "--mask", video.mask, "-o", "moved", *given)
        assert json.loads(outcome.out)["options"]["correction"] == {
            "every": 2,
            "steps": 3,
            "rate": 9e4,
            "length": None,
            "smooth": 0.0,
            "tolerance": None,
            "memory_only": False,
        }
        assert len(list(Path("moved/masks").iterdir())) == FRAMES

    def test_corrects_by_the_defaults_of_the_papers(self, segment: Call, video: Footage) -> None:
        outcome = segment(video.path, "--mask", video.mask, "--gc-every", 5, "--json")
        correction = json.loads(outcome.out)["options"]["correction"]
        assert correction == asdict(GradientCorrection())

    @pytest.mark.parametrize("idle", [("--gc-iters", 0), ("--gc-rate", 0)])
    def test_writes_the_same_where_the_correction_moves_nothing(
        self, idle: tuple[object, ...], segment: Call, video: Footage
    ) -> None:
        segment(video.path, "--mask", video.mask, "-o", "plain")
        segment(video.path, "--mask", video.mask, "-o", "same", "--gc-every", 1, *idle)
        for path in Path("plain/masks").iterdir():
            assert path.read_bytes() == (Path("same/masks") / path.name).read_bytes()

    def test_tells_of_warnings(self, segment: Call, video: Footage) -> None:
        late = ("--mask", f"50:{video.mask}")
        outcome = segment(video.path, "--mask", video.mask, *late)
        assert outcome.code == 0
        assert "warning: the video ended before frame 50" in outcome.err

    def test_interrupted_keeps_the_frames_done_so_far(
        self, segment: Call, video: Footage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        network = ColourNetwork(4, interrupt)
        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: network)
        outcome = segment(video.path, "--mask", video.mask)
        assert outcome.code == 130
        assert "Traceback" not in outcome.err
        assert outcome.out == ""
        folder = Path("square")
        assert files(folder) >= {"run.json", "overlay.part.mp4", "masks/00003.png"}
        assert not (folder / "overlay.mp4").exists()
        assert len(list(read_frames(folder / "overlay.part.mp4"))) == 4
        assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"

        words = "vostool: interrupted: the first 4 frames of "
        assert outcome.err.splitlines()[-1].startswith(words)
        assert outcome.err.splitlines()[-1].endswith(" --resume")

    def test_terminated_keeps_the_frames_as_ctrl_c_does(
        self, segment: Call, video: Footage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def terminate() -> None:
            for _ in range(2):  # as `timeout` does
                signal.raise_signal(signal.SIGTERM)

        before = signal.getsignal(signal.SIGTERM)
        network = ColourNetwork(4, terminate)
        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: network)
        outcome = segment(video.path, "--mask", video.mask)
        assert (outcome.code, outcome.out) == (143, "")
        report = json.loads(Path("square/run.json").read_text())
        assert (report["status"], report["frames"]) == ("interrupted", 4)
        assert report["overlay"] == str(Path("square/overlay.part.mp4").absolute())
        assert len(list(read_frames("square/overlay.part.mp4"))) == 4
        assert signal.getsignal(signal.SIGTERM) == before

    def test_with_a_warning_fails_on_request_and_is_complete(
        self, segment: Call, video: Footage
    ) -> None:
        given = (video.path, "--mask", video.mask, "--fail-on-warning", "--json")
        late = ("--mask", f"50:{video.mask}")
        assert segment(*given, "-o", "well").code == 0
        outcome = segment(*given, *late, "-o", "warned")
        assert outcome.code == 9
        assert outcome.err.splitlines()[-1] == (
            "vostool: --fail-on-warning: the video ended before frame 50, which has a mask"
        )
        report = json.loads(outcome.out)
        assert [warning["code"] for warning in report["warnings"]] == ["mask_not_reached"]
        assert report["status"] == "done"
        assert Path("warned/overlay.mp4").exists()

    @pytest.mark.parametrize("given", [("--demo",), ("--demo", "-o", "there")])
    def test_that_exists_is_refused_before_the_model_is_loaded(
        self, given: tuple[str, ...], vostool: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = Path(given[-1] if len(given) > 1 else "vostool-demo")
        folder.mkdir()
        (folder / "run.json").touch()
        outcome = vostool("segment", *given, "--weights", "none.safetensors")
        assert outcome.code == 7
        assert "run.json: exists already" in outcome.err

    @pytest.mark.parametrize("more", [(), ("--overwrite",)])
    def test_beside_another_run_in_the_folder_says_who_is_at_work(
        self, more: tuple[str, ...], segment: Call, video: Footage, tmp_path: Path
    ) -> None:
        segment(video.path, "--mask", video.mask, "-o", tmp_path / "out")
        before = files(tmp_path / "out")
        with claimed(tmp_path / "out"):
            outcome = segment(video.path, "--mask", video.mask, "-o", tmp_path / "out", *more)
        assert outcome.code == 7
        assert f"another vostool is at work in it, process {os.getpid()} on " in outcome.err
        assert files(tmp_path / "out") == before

    def test_refuses_a_memory_that_the_weights_are_not_made_for(
        self, vostool: Call, untrained: Stm, video: Footage, tmp_path: Path
    ) -> None:
        save_checkpoint(tmp_path / "w.safetensors", untrained, {})
        model = ("--weights", tmp_path / "w.safetensors", "--size", 32, "--device", "cpu")
        given = ("segment", video.path, "--mask", video.mask, *model)
        assert vostool(*given, "--memory", "kmn", "-o", tmp_path / "out").code == 0
        outcome = vostool(*given, "--memory", "gcm", "-o", tmp_path / "none")
        assert (outcome.code, outcome.out) == (2, "")
        assert "--memory gcm: " in outcome.err
        assert "is trained for stm; expected weights of its own" in outcome.err

    @pytest.mark.parametrize("precision", ["fp32", "bf16", pytest.param("int8", marks=needs_int8)])
    def test_goes_the_whole_way_with_a_real_network(
        self, precision: str, vostool: Call, untrained: Stm, video: Footage, tmp_path: Path
    ) -> None:
        save_checkpoint(tmp_path / "w.safetensors", untrained, {})
        model = ("--weights", tmp_path / "w.safetensors", "--size", 32, "--precision", precision)
        given = ("segment", video.path, "--mask", video.mask, "--device", "cpu", *model)
        correction = ("--gc-every", 3, "--gc-iters", 2)
        outcome = vostool(*given, *correction, "-o", tmp_path / "out", "--json", "--quiet")
        assert (outcome.code, outcome.err) == (0, "")
        report: dict[str, Any] = json.loads(outcome.out)
        assert report["frames"] == FRAMES
        assert report["network"]["settings"] == untrained.settings.model_dump(mode="json")
        found = [read_mask(path, allow_empty=True) for path in (tmp_path / "out/masks").iterdir()]
        assert len(found) == FRAMES
        assert {labels.shape for labels in found} == {(HEIGHT, WIDTH)}

    def test_renders_its_own_input_for_the_demo(
        self, segment: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vostool.segment.demo.FRAMES", 2)
        outcome = segment("--demo")
        assert outcome.code == 0
        assert files(Path("vostool-demo")) == {
            "demo.mp4",
            "demo-mask.png",
            "overlay.mp4",
            "run.json",
            "masks/00000.png",
            "masks/00001.png",
        }

    def test_leaves_no_demo_behind_where_the_weights_are_missing(
        self, vostool: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("vostool.segment.demo.FRAMES", 2)
        assert vostool("segment", "--demo", "--weights", "none.safetensors").code == 6
        assert not Path("vostool-demo").exists()


Setup = Callable[[Path, Footage], list[object]]  # makes a wrong input, returns the arguments


def empty_file(folder: Path, video: Footage) -> list[object]:
    (folder / "empty.mp4").touch()
    return [folder / "empty.mp4", "--mask", video.mask]


def text(folder: Path, video: Footage) -> list[object]:
    (folder / "notes.mp4").write_text("not a video\n" * 50)
    return [folder / "notes.mp4", "--mask", video.mask]


def sound_only(folder: Path, video: Footage) -> list[object]:
    with av.open(str(folder / "song.m4a"), "w", format="mp4") as output:
        add_sound(output, "aac")
        write_clicks(output, Fraction(1))
    return [folder / "song.m4a", "--mask", video.mask]


def empty_folder(folder: Path, video: Footage) -> list[object]:
    (folder / "nothing").mkdir()
    return [folder / "nothing", "--mask", video.mask]


def other_size(folder: Path, video: Footage) -> list[object]:
    write_mask(folder / "big.png", np.ones((99, 99), np.uint8))
    return [video.path, "--mask", folder / "big.png"]


def empty_mask(folder: Path, video: Footage) -> list[object]:
    write_mask(folder / "black.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    return [video.path, "--mask", folder / "black.png"]


def smooth_mask(folder: Path, video: Footage) -> list[object]:
    shape = Image.fromarray(video.labels[0] * 255).rotate(20, Image.Resampling.BILINEAR)
    shape.save(folder / "smooth.png")
    return [video.path, "--mask", folder / "smooth.png"]


def dim_mask(folder: Path, video: Footage) -> list[object]:
    Image.fromarray(video.labels[0] * 99).save(folder / "dim.png")
    return [video.path, "--mask", folder / "dim.png", "--threshold", 0.9]


def file_for_folder(folder: Path, video: Footage) -> list[object]:
    (folder / "taken").touch()
    return [video.path, "--mask", video.mask, "-o", folder / "taken"]


def below_a_file(folder: Path, video: Footage) -> list[object]:
    (folder / "taken").touch()
    return [video.path, "--mask", video.mask, "-o", folder / "taken" / "out"]


def no_weights(folder: Path, video: Footage) -> list[object]:
    return [video.path, "--mask", video.mask, "--weights", folder / "none.safetensors"]


def wrong_weights(folder: Path, video: Footage) -> list[object]:
    (folder / "w.safetensors").write_bytes(b"not weights")
    return [video.path, "--mask", video.mask, "--weights", folder / "w.safetensors"]


def given(*more: object) -> Setup:
    return lambda folder, video: [video.path, "--mask", video.mask, *more]


WRONG: dict[str, tuple[int, str, Setup]] = {
    "no such video": (3, "No such file", lambda f, v: [f / "none.mp4", "--mask", v.mask]),
    "an empty file": (3, "0 bytes", empty_file),
    "a text": (3, "notes.mp4", text),
    "sound only": (3, "found only audio", sound_only),
    "an empty folder": (3, "found none", empty_folder),
    "a range beyond the end": (3, "cannot start at frame 90", given("--start", 90)),
    "no such mask": (4, "no such mask file", lambda f, v: [v.path, "--mask", f / "none.png"]),
    "a mask of another size": (4, "mask is 99x99, video is 64x48", other_size),
    "a mask without objects": (4, "expected at least one object", empty_mask),
    "a smoothed mask": (4, "threshold it", smooth_mask),
    "a threshold that nothing reaches": (4, "nothing reaches --threshold 0.9", dim_mask),
    "a frame number without end": (2, "found one of 5000 digits", lambda f, v: [
        v.path, "--mask", f"{'9' * 5000}:{v.mask}"]),
    "a video for a mask": (4, "cannot be read", lambda f, v: [v.path, "--mask", v.path]),
    "a file where the folder should be": (7, "cannot be written", file_for_folder),
    "a name too long": (7, "File name too long", given("-o", "x" * 300)),
    "a folder that cannot be made": (7, "cannot be written", below_a_file),
    "no such weights": (6, "no such weights file", no_weights),
    "weights that are none": (6, "not a safetensors file", wrong_weights),
    "no video": (2, "expected a VIDEO", lambda f, v: ["--mask", v.mask]),
    "no mask": (2, "expected --mask", lambda f, v: [v.path]),
    "an empty range": (2, "the range is empty", given("--start", 5, "--end", 5)),
    "an empty range of times": (
        2, "start 2, end 2: the range is empty", given("--start", "0:00.09", "--end", "0:00.11")
    ),
    "no time": (2, "--end 5s: expected the number of a frame, from 0, or", given("--end", "5s")),
    "nothing to write": (2, "nothing is left to write", given("--no-overlay", "--no-masks")),
    "a demo with a video": (2, "--demo brings its own", given("--demo")),
    "two masks for a frame": (2, "frame 0 has two masks", lambda f, v: [
        v.path, "--mask", v.mask, "--mask", f"0:{v.mask}"]),
    "a mask out of range": (2, "outside of the range", lambda f, v: [
        v.path, "--mask", f"7:{v.mask}", "--end", 5]),
    "an absent stretch that is none": (2, "--absent 2: expected ID:FROM-TO", given(
        "--absent", "2")),
    "an absent object that is shown": (2, "--absent 1:0-3: the mask of frame 0", given(
        "--absent", "1:0-3")),
    "an absent object that no mask shows": (2, "no mask shows object 2, they show 1", given(
        "--absent", "2:1-3")),
    "correction that is not asked for": (2, "--gc-every", given("--gc-iters", 3)),
    "two ways to say how far": (2, "give one", given(
        "--gc-every", 5, "--gc-rate", 9, "--gc-length", 0.1)),
    "memory only of no correction": (2, "--gc-every", given("--gc-memory-only")),
    "an unknown device": (2, "expected auto, cpu, cuda", given("--device", "tpu")),
    "an unknown precision": (2, "expected auto, fp32", given("--precision", "int4")),
    "fp16 on a cpu": (2, "needs a CUDA device", given("--precision", "fp16", "--device", "cpu")),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_input_is_told_in_one_line_with_its_exit_code(
    case: str, vostool: Call, video: Footage, weights: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    code, words, setup = WRONG[case]
    if code != 6:
        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: ColourNetwork())
    arguments = setup(tmp_path, video)
    before = files(tmp_path)
    usual = () if "--weights" in arguments else ("--weights", weights)
    outcome = vostool("segment", *usual, *arguments)
    assert outcome.code == code
    assert words in outcome.err
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("vostool: ")
    assert outcome.out == ""
    assert files(tmp_path) == before, "something was left behind"
    assert not list(Path.cwd().iterdir())


def test_a_device_that_is_absent_is_exit_code_5(
    vostool: Call, video: Footage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    outcome = vostool("segment", video.path, "--mask", video.mask, "--device", "cuda")
    assert outcome.code == 5
    assert outcome.err == ("vostool: --device cuda: expected a CUDA device, PyTorch finds 0\n")


class TestErf:
    @pytest.fixture
    def erf(self, vostool: Call, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: ColourNetwork())
        always = ("--weights", weights, "--device", "cpu", "--size", HEIGHT, "--iters", 3)
        return lambda *arguments: vostool("erf", *arguments, *always)

    def test_writes_beside_nothing_of_the_video_and_prints_the_paths(
        self, erf: Call, video: Footage
    ) -> None:
        outcome = erf(video.path, "--mask", video.mask, "--frame", 4, "--strip", 2)
        assert outcome.code == 0
        names = ("erf.png", "strip.png", "steps.mp4", "erf.npy")
        assert outcome.out.splitlines() == [f"square-erf/{name}" for name in names]
        assert files(Path("square-erf")) == {*names, "erf.json"}
        assert "of the response inside the object, which covers 8.3%" in outcome.err

    def test_prints_one_json_document_on_request(
        self, erf: Call, video: Footage, weights: Path
    ) -> None:
        given = ("--mask", video.mask, "--strip", 0, "--json", "--quiet", "--weights", weights)
        outcome = erf(video.path, *given)
        assert outcome.err == ""
        report = json.loads(outcome.out)
        assert [each["frame"] for each in report["responses"]] == [4, 4]
        assert all(0 < each["share"] < 1 for each in report["responses"])

    def test_interrupted_or_terminated_leaves_nothing(
        self, erf: Call, video: Footage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
            network = ColourNetwork(4, partial(signal.raise_signal, number))
            monkeypatch.setattr(
                "vostool.inference.loading.load_checkpoint", lambda *_, net=network: net
            )
            outcome = erf(video.path, "--mask", video.mask)
            assert (outcome.code, outcome.err) == (code, "vostool: interrupted\n")
            assert not list(Path.cwd().iterdir())

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            (("--frame", 8), 2, "expected one from 1 to 7"),
            (("--object", 5), 4, "has no object 5"),
            (("--truth", "none.png"), 4, "no such mask file"),
        ],
    )
    def test_tells_what_is_wrong(
        self, arguments: tuple[object, ...], code: int, words: str, erf: Call, video: Footage
    ) -> None:
        outcome = erf(video.path, "--mask", video.mask, *arguments)
        assert (outcome.code, outcome.out) == (code, "")
        assert words in outcome.err
        assert not list(Path.cwd().iterdir())


class TestSpectrum:
    @pytest.fixture
    def spectrum(self, vostool: Call, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: ColourNetwork())
        always = ("--weights", weights, "--device", "cpu", "--size", HEIGHT, "--gc-iters", 2)
        return lambda *arguments: vostool("spectrum", *arguments, *always)

    def test_writes_maps_and_tells_the_bands(self, spectrum: Call, video: Footage) -> None:
        outcome = spectrum(video.path, "--mask", video.mask, "--gc-every", 2)
        assert outcome.code == 0
        names = ("spectrum.png", "before.npy", "after.npy", "ratio.npy")
        assert outcome.out.splitlines() == [f"square-spectrum/{name}" for name in names]
        assert files(Path("square-spectrum")) == {*names, "spectrum.json"}
        assert "high frequencies: after / before" in outcome.err

    def test_prints_one_json_document_on_request(self, spectrum: Call, video: Footage) -> None:
        outcome = spectrum(video.path, "--mask", video.mask, "--json", "--quiet")
        report = json.loads(outcome.out)
        assert (outcome.err, report["masks"]) == ("", 1)
        assert report["options"]["correction"]["every"] == 5

    @pytest.mark.parametrize(
        ("arguments", "code", "words"),
        [
            ((), 2, "expected --mask"),
            (("--mask", "none.png"), 4, "no such mask file"),
            (("--mask", "{mask}", "--gc-rate", 0), 2, "expected a correction"),
        ],
    )
    def test_tells_what_is_wrong(
        self, arguments: tuple[object, ...], code: int, words: str, spectrum: Call, video: Footage
    ) -> None:
        given = (str(each).format(mask=video.mask) for each in arguments)
        outcome = spectrum(video.path, *given)
        assert (outcome.code, outcome.out) == (code, "")
        assert words in outcome.err
        assert not list(Path.cwd().iterdir())


class TestUsage:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("segment", "--colour", "red"),
            ("segment", "video.mp4", "--start", "-1"),
            ("segment", "video.mp4", "--size", "large"),
            ("segment", "video.mp4", "--memory-frames", "1"),
            ("segment", "video.mp4", "--gc-every", "0"),
            ("segment", "video.mp4", "--gc-every", "5", "--gc-rate", "-1"),
            ("segment", "one.mp4", "two.mp4"),
            ("cut", "video.mp4"),
            ("train",),
        ],
    )
    def test_wrong_options_are_exit_code_2(self, arguments: tuple[str, ...], vostool: Call) -> None:
        outcome = vostool(*arguments)
        assert outcome.code == 2
        assert outcome.out == ""
        assert "Traceback" not in outcome.err

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--help",),
            ("-h",),
            ("segment", "-h"),
            ("train", "-h"),
            ("erf", "-h"),
            ("spectrum", "-h"),
        ],
    )
    def test_help_is_on_stdout(self, arguments: tuple[str, ...], vostool: Call) -> None:
        outcome = vostool(*arguments)
        assert outcome.code == 0
        assert "Usage" in outcome.out
        assert outcome.err == ""

    def test_help_names_every_exit_code_with_its_meaning(self, vostool: Call) -> None:
        words = " ".join(vostool("--help").out.split())
        for code, meaning in EXIT_CODES.items():
            assert f" {code} {meaning}" in words

    def test_a_bug_keeps_its_traceback(
        self, segment: Call, video: Footage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> None:
            raise ZeroDivisionError

        network = ColourNetwork(2, fail)
        monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: network)
        with pytest.raises(ZeroDivisionError):
            segment(video.path, "--mask", video.mask)


class TestTrain:
    @pytest.fixture
    def recipe(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        write_video_clip(tmp_path / "data" / "set", "one", count=3)
        path = tmp_path / "tiny.toml"
        path.write_text(
            """
            frames = 2
            objects = 1
            multi_object_share = 0
            precision = "fp32"
            log_every = 1
            network = {key_channels = 8, value_channels = 16, decoder_channels = [16, 8, 8]}
            data = [{layout = "clips", root = "set"}]
            phases = [{steps = 1, size = [32, 48]}]
            """
        )
        return path

    def test_writes_weights_that_load_and_prints_their_path(
        self, vostool: Call, recipe: Path, tmp_path: Path
    ) -> None:
        data = f"data_root={tmp_path / 'data'}"
        outcome = vostool("train", recipe, "--set", data, "--device", "cpu")
        assert outcome.code == 0
        (printed,) = outcome.out.splitlines()
        assert Path(printed) == Path("runs/tiny/weights.safetensors")
        assert load_checkpoint(Path(printed)).settings.key_channels == 8
        assert vostool("train", recipe, "--set", data, "--device", "cpu").code == 7

    def test_tells_what_is_wrong_with_a_recipe(
        self, vostool: Call, recipe: Path, tmp_path: Path
    ) -> None:
        cases: dict[int, tuple[object, ...]] = {
            2: (recipe, "--set", "speed=3"),
            3: (tmp_path / "none.toml",),
        }
        for code, arguments in cases.items():
            outcome = vostool("train", *arguments)
            assert outcome.code == code
            assert len(outcome.err.splitlines()) == 1
            assert outcome.out == ""
        outcome = vostool("train", recipe, "--resume", "--device", "cpu")
        assert outcome.code == 3
        assert "found none" in outcome.err
        assert not Path("runs").exists()

    def test_without_its_data_leaves_nothing_behind(self, vostool: Call, recipe: Path) -> None:
        outcome = vostool("train", recipe, "--device", "cpu")
        assert outcome.code == 3
        assert not Path("runs").exists()


class TestProcesses:
    """What only a process of its own shows."""

    @pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["segment", "--help"]])
    def test_help_and_version_import_nothing_heavy(self, arguments: list[str]) -> None:
        script = (
            "import sys; from vostool.cli import main; import contextlib\n"
            f"sys.argv = ['vostool', *{arguments}]\n"
            "with contextlib.suppress(SystemExit): main()\n"
            "heavy = {'torch', 'numpy', 'av', 'PIL', 'matplotlib', 'rich.markdown'}\n"
            "heavy &= set(sys.modules)\n"
            "print(*sorted(heavy), file=sys.stderr)"
        )
        done = python("-c", script)
        assert done.returncode == 0
        assert done.stderr.strip() == ""
        assert done.stdout

    def test_the_module_can_be_run(self) -> None:
        done = python("-m", "vostool", "--version")
        assert (done.returncode, done.stdout, done.stderr) == (0, f"vostool {__version__}\n", "")
