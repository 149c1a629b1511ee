import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import HEIGHT, ColourNetwork
from tests.evaluate.making import predict_truth, write_davis16, write_davis17, write_youtube
from tests.test_cli import Call, Outcome, vostool  # noqa: F401

Eval = Callable[..., Outcome]


@pytest.fixture
def predict(vostool: Call, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Eval:  # noqa: F811
    """Run `vostool eval` with a network that goes by colour."""
    monkeypatch.setattr("vostool.follow.load_checkpoint", lambda *_: ColourNetwork())
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


@pytest.mark.parametrize(
    ("breakage", "code", "words"),
    [
        (lambda made: (made / "a" / "00002.png").unlink(), 3, "00002.png: no such mask"),
        (lambda made: (made / "a" / "00002.png").write_bytes(b""), 4, "00002.png: cannot be read"),
        (lambda made: (made / "a").rename(made / "b"), 3, "a: no such folder"),
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
    assert "J&F" in vostool("eval", "compare", "one", "two").out


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


def test_a_zip_for_the_server_needs_no_truth(predict: Eval, tmp_path: Path) -> None:
    write_youtube(tmp_path / "valid", whole_truth=False)
    outcome = predict("youtube-vos", tmp_path, "-o", "out", "--pack", "up.zip")
    assert outcome.code == 0
    assert outcome.out.splitlines() == ["up.zip", "out/results.json"]


@pytest.mark.parametrize(
    "options",
    [
        ("--predictions", "made", "--sweep", "size=1,2"),
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
    assert "holds no truth to score by" in outcome.err
