import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import HEIGHT, ColourNetwork, Picture, draw
from tests.evaluate.making import COUNT, predict_truth, write_davis16, write_davis17, write_youtube
from tests.test_cli import Call, Outcome, vostool  # noqa: F401
from vostool.evaluate.results import read_results
from vostool.media.masks import encode_mask, write_mask
from vostool.model.checkpoint import save_checkpoint
from vostool.model.stm import Stm

Eval = Callable[..., Outcome]
pytestmark = pytest.mark.usefixtures("scored_here")


@pytest.fixture
def predict(vostool: Call, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Eval:  # noqa: F811
    """Run `vostool eval` with a network that goes by colour."""
    monkeypatch.setattr("vostool.inference.loading.load_checkpoint", lambda *_: ColourNetwork())
    always = ("--weights", weights, "--device", "cpu", "--size", HEIGHT)
    return lambda *arguments: vostool("eval", *arguments, *always)


def test_a_benchmark_is_predicted_and_scored_by_one_command(predict: Eval, tmp_path: Path) -> None:
    root = write_davis16(tmp_path / "set", "a")
    outcome = predict("davis16", root)
    assert outcome.code == 0
    assert outcome.out.splitlines() == ["davis16-val/results.json", "davis16-val/report.html"]
    assert "STM-ResNet18-cycle" in outcome.err  # the published rows beside ours
    assert Path("davis16-val/masks/a/00000.png").exists()


def test_masks_made_elsewhere_are_scored(vostool: Call, tmp_path: Path) -> None:  # noqa: F811
    root = write_davis17(tmp_path / "set", "a")
    made = predict_truth(root, tmp_path / "made")
    outcome = vostool("eval", "davis17", root, "--predictions", made, "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["scores"]["J&F-Mean"] == 1


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
def test_scores_of_given_masks_are_printed_on_stdout_if_no_folder_is_written(
    quiet: tuple[str, ...], vostool: Call, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    root = write_davis17(tmp_path / "set", "a")
    made = predict_truth(root, tmp_path / "made")
    outcome = vostool("eval", "davis17", root, "--predictions", made, *quiet)
    assert (outcome.code, outcome.err) == (0, "")
    (row,) = [line for line in outcome.out.splitlines() if "this run" in line]
    assert row.count("100.0") == 3  # J, F and J&F, in per cent
    assert not list(Path.cwd().iterdir())


def test_scores_of_given_masks_are_on_stderr_beside_the_paths_of_a_written_folder(
    vostool: Call, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    root = write_davis17(tmp_path / "set", "a")
    made = predict_truth(root, tmp_path / "made")
    outcome = vostool("eval", "davis17", root, "--predictions", made, "-o", "run")
    assert outcome.out.splitlines() == ["run/results.json", "run/report.html"]
    assert "this run" in outcome.err


def spoil(content: bytes | Picture) -> Callable[[Path], object]:
    """Return what puts another file, or a picture of other pixels, in the place of a mask."""

    def breakage(made: Path) -> None:
        path = made / "a" / "00002.png"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            Image.fromarray(content).save(path)

    return breakage


COLOURS = np.zeros((48, 64, 3), np.uint8)
COLOURS[:9, :, 1] = 128


@pytest.mark.parametrize(
    ("breakage", "code", "words"),
    [
        (lambda made: (made / "a" / "00002.png").unlink(), 3, "00002.png: no such mask"),
        (lambda made: (made / "a").rename(made / "b"), 3, "a: no such folder"),
        (lambda made: [p.unlink() for p in (made / "a").iterdir()], 3, "a: expected masks such as"),
        (shutil.rmtree, 3, "made: no such folder of predictions"),
        (spoil(b""), 4, "00002.png: cannot be read as a PNG"),
        (spoil(b"no picture"), 4, "00002.png: cannot be read as a PNG"),
        (spoil(encode_mask(draw(2)[1])[:-60]), 4, "00002.png: cannot be read as a PNG"),
        (spoil(COLOURS), 4, "00002.png: expected an indexed or 8-bit grey PNG, found colours"),
        (spoil(np.zeros((48, 64), np.uint16)), 4, "found mode I;16"),
        (spoil(np.zeros((24, 64), np.uint8)), 4, "mask is 64x24, the truth 64x48"),
        (spoil(np.full((48, 64), 9, np.uint8)), 4, "holds object 9 (3072 pixels), the clip has 1"),
        (spoil(np.full((48, 64), 255, np.uint8)), 4, "holds object 255"),
    ],
)
def test_broken_predictions_give_one_line_and_an_exit_code(
    vostool: Call,  # noqa: F811
    tmp_path: Path,
    breakage: Callable[[Path], object],
    code: int,
    words: str,
) -> None:
    root = write_davis17(tmp_path / "set", "a")
    made = predict_truth(root, tmp_path / "made")
    breakage(made)
    outcome = vostool("eval", "davis17", root, "--predictions", made, "-o", tmp_path / "out")
    assert (outcome.code, outcome.out) == (code, "")
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_two_runs_are_compared(predict: Eval, vostool: Call, tmp_path: Path) -> None:  # noqa: F811
    root = write_davis16(tmp_path / "set", "a", "b")
    predict("davis16", root, "-o", "one")
    predict("davis16", root, "-o", "two", "--reference", "first")
    outcome = vostool("eval", "compare", "one", "two", "--json")
    assert outcome.code == 0
    assert set(json.loads(outcome.out)["objects"]) == {"a_1", "b_1"}
    table = vostool("eval", "compare", "one", "two")
    assert table.out.startswith("first run: one\nsecond run: two\n")
    assert "J&F" in table.out
    assert "warning: the intervals rest on 2 clips" in table.err


def test_two_runs_are_drawn_side_by_side_on_request(
    predict: Eval,
    vostool: Call,  # noqa: F811
    tmp_path: Path,
) -> None:
    root = write_davis16(tmp_path / "set", "a", "b")
    predict("davis16", root, "-o", "one")
    predict("davis16", root, "-o", "two", "--reference", "first")
    compare = ("eval", "compare", "one", "two", "--picture")
    same = vostool(*compare, "both.png")
    assert (same.code, same.out) == (3, "")
    assert "their masks are the same on every frame" in same.err
    write_mask(Path("two/masks/a/00002.png"), draw(4)[1] * np.uint8(255))
    outcome = vostool(*compare, "both.png", "--rows", "1")
    assert outcome.code == 0, outcome.err
    assert outcome.out.endswith("\nboth.png\n")
    with Image.open("both.png") as picture:
        picture.load()
    again = vostool(*compare, "both.png")
    assert (again.code, again.out) == (7, "")
    assert again.err == "vostool: both.png: exists already; choose another file\n"
    document = vostool(*compare, "more.png", "--json").out
    assert json.loads(document)["picture"] == "more.png"


def test_two_runs_are_drawn_side_by_side_also_without_truth(
    predict: Eval,
    vostool: Call,  # noqa: F811
    tmp_path: Path,
) -> None:
    write_youtube(tmp_path / "valid", whole_truth=False)
    predict("youtube-vos", tmp_path, "-o", "one")
    predict("youtube-vos", tmp_path, "-o", "two")
    write_mask(Path("two/masks/a/00010.png"), draw(8)[1])
    outcome = vostool("eval", "compare", "one", "two", "--picture", "both.png")
    assert (outcome.code, outcome.out) == (0, "both.png\n"), outcome.err
    refused = vostool("eval", "compare", "one", "two")
    assert (refused.code, refused.out) == (3, "")
    assert "nothing was scored, there is no truth" in refused.err


def test_a_sweep_runs_each_value_once(predict: Eval, tmp_path: Path) -> None:
    root = write_davis16(tmp_path / "set", "a")
    outcome = predict("davis16", root, "-o", "grid", "--sweep", "reference=first,memory")
    assert outcome.out.splitlines() == ["grid/sweep.csv", "grid/sweep.png"]
    first = Path("grid/reference=first/run.json")
    stamp = first.stat().st_mtime_ns
    again = predict("davis16", root, "-o", "grid", "--sweep", "reference=first,previous")
    assert again.code == 0
    assert first.stat().st_mtime_ns == stamp
    assert Path("grid/reference=previous/results.json").exists()


def test_a_sweep_does_not_repeat_what_changes_nothing(predict: Eval, tmp_path: Path) -> None:
    root = write_davis16(tmp_path / "set", "a")
    correction = ("--gc-every", "2", "--sweep", "gc-rate=0", "--sweep", "gc-smooth=0,0.5")
    outcome = predict("davis16", root, "-o", "grid", *correction, "--json")
    document = json.loads(outcome.out)
    assert [point["options"]["gc-smooth"] for point in document["points"]] == ["0", "0.5"]
    assert len({point["predictions"] for point in document["points"]}) == 1
    assert len(list(Path("grid").glob("*/run.json"))) == 1


def test_a_zip_for_the_server_needs_no_truth(predict: Eval, tmp_path: Path) -> None:
    write_youtube(tmp_path / "valid", whole_truth=False)
    outcome = predict("youtube-vos", tmp_path, "-o", "out", "--pack", "up.zip")
    assert outcome.code == 0
    assert outcome.out.splitlines() == ["up.zip", "out/results.json"]


@pytest.mark.parametrize(
    "options",
    [
        ("--predictions", "made", "--sweep", "size=1,2"),
        ("--predictions", "made", "--gc-every", "5"),
        ("--pack", "up.zip", "--sweep", "size=240,480"),
        ("--train-meta", "meta.json"),
        ("--reference", "all"),
    ],
)
def test_options_that_make_no_sense_are_told(
    predict: Eval, tmp_path: Path, options: tuple[str, ...]
) -> None:
    outcome = predict("davis16", write_davis16(tmp_path / "set", "a"), *options)
    assert outcome.code == 2
    assert outcome.out == ""


def test_scoring_needs_a_truth(vostool: Call, tmp_path: Path) -> None:  # noqa: F811
    write_youtube(tmp_path / "valid", whole_truth=False)
    made = tmp_path / "valid" / "Annotations"
    outcome = vostool("eval", "youtube-vos", tmp_path, "--predictions", made)
    assert outcome.code == 3
    assert "holds no truth to score against" in outcome.err


def test_to_score_masks_needs_no_torch(tmp_path: Path) -> None:
    root = write_davis17(tmp_path / "set", "a")
    made = predict_truth(root, tmp_path / "made")
    script = (
        "import contextlib, sys; from vostool.cli import main\n"
        f"sys.argv = ['vostool', 'eval', 'davis17', {str(root)!r}, '--predictions', {str(made)!r},"
        " '-q', '--json']\n"
        "with contextlib.suppress(SystemExit): main()\n"
        "print('torch' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip()) == (0, "False")
    assert json.loads(done.stdout)["scores"]["J&F-Mean"] == 1


def test_several_workers_give_the_results_of_one(
    vostool: Call,  # noqa: F811
    untrained: Stm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # one for each
    root = write_davis16(tmp_path / "set", "a", "b")
    save_checkpoint(tmp_path / "tiny.safetensors", untrained, {})
    options = ("--weights", tmp_path / "tiny.safetensors", "--device", "cpu", "--size", HEIGHT)
    for number in (1, 2):
        outcome = vostool(
            "eval", "davis16", root, *options, "--workers", number, "-o", f"out{number}"
        )
        assert outcome.code == 0
    one, two = (read_results(Path(f"out{number}")) for number in (1, 2))
    free = {"speed", "created", "command", "predictions"}
    assert one.model_dump(exclude=free) == two.model_dump(exclude=free)
    assert two.speed is not None
    masks = sorted(Path("out1/masks").rglob("*.png"))
    assert len(masks) == two.speed.frames == 2 * COUNT
    for path in masks:
        assert path.read_bytes() == (Path("out2") / path.relative_to("out1")).read_bytes()
