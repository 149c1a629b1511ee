"""The bench of Tables 5 and 6: which runs its lines are made of, and what they say."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.bench import disturbances
from tests.evaluate.making import write_davis16
from vostool.evaluate.protocols import Benchmark
from vostool.evaluate.results import ClipScores, ObjectScores, Results
from vostool.inference.options import ModelOptions

CLEAN, DISTURBED, CORRECTED = 0.8, 0.5, 0.7  # J of every frame


class Runs:
    """Stands in for the network: keeps the options of every run, and the scores it gives it."""

    def __init__(self) -> None:
        self.options: dict[str, ModelOptions] = {}
        self.results: dict[str, Results] = {}

    def load(self, options: ModelOptions) -> SimpleNamespace:
        return SimpleNamespace(options=options)

    def evaluate(self, benchmark: Benchmark, model: SimpleNamespace, folder: Path) -> Results:
        assert folder.name not in self.options, "a run is not repeated"
        options = self.options[folder.name] = model.options
        j = CLEAN if options.disturb is None else CORRECTED if options.gc_every else DISTURBED
        self.results[folder.name] = Results(
            benchmark=benchmark.name,
            split=benchmark.split,
            root=benchmark.root,
            predictions=folder / "masks",
            clips=[
                ClipScores(
                    name=clip.name,
                    frames=list(clip.truth),
                    objects={1: ObjectScores(j=[j] * 4, f=[j] * 4)},
                )
                for clip in benchmark.clips
            ],
        )
        return self.results[folder.name]

    def holds(self, folder: Path, *_: object) -> bool:
        return folder.name in self.results

    def read(self, folder: Path) -> Results:
        return self.results[folder.name]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    found = Runs()
    monkeypatch.setattr(disturbances, "load_predictor", found.load)
    monkeypatch.setattr(disturbances, "evaluate", found.evaluate)
    monkeypatch.setattr(disturbances, "holds", found.holds)
    monkeypatch.setattr(disturbances, "read_results", found.read)
    return found


def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> list[str]:
    """Return the lines that the bench writes."""
    root = write_davis16(tmp_path / "set", "a", "b")
    always = [str(root), "-o", str(tmp_path / "out"), "--cycle", "C"]
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(sys, "argv", ["disturbances", *always, *options])
    disturbances.main()
    return (tmp_path / "out" / "tables.md").read_text().splitlines()


def cells(lines: list[str], name: str) -> list[str]:
    (line,) = [each for each in lines if each.startswith(f"| {name} |")]
    return line.strip("| ").split(" | ")


def asked(runs: Runs, name: str) -> dict[str, Any]:
    """Return what a run was asked for, where that is not the default."""
    return runs.options[name].model_dump(exclude_defaults=True)


def test_the_line_of_boxes_shows_harm_and_gain_with_intervals(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = run(tmp_path, monkeypatch, "--parts", "box", "--size", "64", "--gc-iters", "3")
    scores, differences = cells(lines, "box")[1:7], cells(lines, "box")[7:]
    assert scores == ["50.0"] * 3 + ["70.0"] * 3
    assert differences == ["-30.00 (-30.00 to -30.00)"] * 2 + ["+20.00 (+20.00 to +20.00)"] * 2
    plain = {"weights": "C", "size": 64}
    boxes = {**plain, "disturb": "box"}
    correction = {"gc_every": 5, "gc_iters": 3}
    assert {name: asked(runs, name) for name in runs.options} == {
        "clean": plain,
        "box": boxes,
        "box-corrected": {**boxes, **correction},
    }


def test_the_tables_attack_the_papers_victims_by_their_attackers(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = ("--parts", "table5", "white", "black")
    lines = run(tmp_path, monkeypatch, *parts, "--baseline", "B", "--attacker", "A")
    masks = f"masks:{tmp_path / 'out' / 'baseline' / 'masks'}"
    assert asked(runs, "low-quality") == {"weights": "C", "disturb": masks}
    assert asked(runs, "fgsm-white") == {"weights": "C", "disturb": "fgsm"}
    assert asked(runs, "mi-fgsm-white") == {"weights": "C", "disturb": "mi-fgsm"}
    black = {"weights": "B", "attacker": "A"}
    assert asked(runs, "fgsm-black") == {**black, "disturb": "fgsm"}
    assert asked(runs, "mi-fgsm-black-corrected") == {**black, "disturb": "mi-fgsm", "gc_every": 5}
    assert cells(lines, "no noise")[7] == "+0.00 (+0.00 to +0.00)"


@pytest.mark.parametrize(("part", "needed"), [("table5", "--baseline"), ("black", "--baseline")])
def test_a_part_without_the_weights_that_it_needs_is_refused(
    part: str,
    needed: str,
    runs: Runs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path, monkeypatch, "--parts", part)
    assert f"--parts {part}: expected {needed} with it" in capsys.readouterr().err
    assert not runs.options
