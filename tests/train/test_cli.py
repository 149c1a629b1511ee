"""`vostool train` on the command line: exit codes, messages, progress and signals."""

import math
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.datasets.making import write_video_clip
from vostool.cli import main
from vostool.model.checkpoint import load_checkpoint

RECIPE = """
data_root = "{root}"
frames = 2
objects = 1
multi_object_share = 0
precision = "fp32"
log_every = 1
save_every = 1
network = {{key_channels = 8, value_channels = 16, decoder_channels = [16, 8, 8]}}
data = [{{layout = "clips", root = "set"}}]
phases = [{{steps = 2, size = [32, 48]}}]
"""


@dataclass
class Outcome:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


Train = Callable[..., Outcome]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_video_clip(root / "set", "one", count=3)
    return root


@pytest.fixture
def train(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Train:
    """Run `vostool train tiny.toml` in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(RECIPE.format(root=data.as_posix()))

    def run(*arguments: object, recipe: str = "tiny.toml") -> Outcome:
        given = ("train", recipe, "--device", "cpu", *arguments)
        monkeypatch.setattr(sys, "argv", ["vostool", *map(str, given)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            assert isinstance(stop.code, int | None)
            code = stop.code or 0
        return Outcome(code, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run of two steps."""
    from vostool.train.loop import train as run
    from vostool.train.recipe import read_recipe

    path = tmp_path_factory.mktemp("finished") / "tiny.toml"
    path.write_text(RECIPE.format(root=data.as_posix()))
    run(read_recipe(path), path.parent / "run", device=torch.device("cpu"))
    return path.parent / "run"


def one_line(outcome: Outcome) -> str:
    """Return the error of a command, which is a single line."""
    (line,) = outcome.err.splitlines()
    assert line.startswith("vostool: ")
    return line


def test_progress_off_a_terminal_begins_at_once_and_quiet_prints_none(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vostool.progress.SECONDS", math.inf)  # no line of a slow step
    outcome = train("-o", "one")
    assert (outcome.code, outcome.err) == (0, "tiny on cpu: 2 steps in one\n")
    assert train("-o", "two", "--quiet").err == ""


def test_progress_is_reported_after_every_step_whatever_is_logged(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vostool.progress.SECONDS", 0.0)
    outcome = train("-o", "one", "--set", "log_every=100")
    _, first, last = outcome.err.splitlines()
    assert first.startswith("tiny on cpu: 1 of 2 steps")
    assert "loss" in first
    assert last.startswith("tiny on cpu: 2 of 2 steps")


@pytest.mark.parametrize("channels", [1_000_000_000, 2_000_000_000])
def test_a_network_too_large_for_the_memory_is_exit_code_5(train: Train, channels: int) -> None:
    outcome = train("-q", "--set", f"network.key_channels={channels}")
    assert outcome.code == 5
    assert "out of memory; try a smaller phases.size" in one_line(outcome)
    assert not Path("runs").exists()


def test_a_recipe_without_its_data_asks_for_data_root_before_a_download(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "vostool.train.state.Stm", lambda *_, **__: pytest.fail("the network was built first")
    )
    outcome = train("-q", "-o", "run", recipe="default")
    assert outcome.code == 3
    assert "--set data_root=FOLDER" in one_line(outcome)
    assert not Path("run").exists()


def test_a_run_that_diverges_in_its_last_step_is_exit_code_10_in_a_line(train: Train) -> None:
    changes = ("--set", "weight_decay=1e308", "--set", "phases.0.steps=1", "--set", "warmup=0")
    outcome = train("-q", "-o", "run", *changes)
    assert outcome.code == 10
    assert "a weight is not finite after step 0" in one_line(outcome)
    assert not Path("run/weights.safetensors").exists()


@pytest.mark.parametrize("name", ["notes.txt", "run/checkpoint.pt", "dangling"])
def test_export_never_replaces_a_file(train: Train, finished: Path, name: str) -> None:
    shutil.copytree(finished, "run")
    Path("notes.txt").write_text("mine")
    Path("dangling").symlink_to("nowhere")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    outcome = train("-o", "run", "--export", name)
    assert outcome.code == 7
    assert f"{name}: exists already" in one_line(outcome)
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


def test_export_to_a_new_file_writes_the_weights_and_prints_the_path(
    train: Train, finished: Path
) -> None:
    outcome = train("-o", finished, "--export", "new.safetensors")
    assert (outcome.code, outcome.out) == (0, "new.safetensors\n")
    assert load_checkpoint(Path("new.safetensors")).settings.key_channels == 8


@pytest.mark.parametrize("damage", [b'{"step": 1, "lo', bytes(64), bytes(64) + b"\n"])
def test_a_torn_log_does_not_keep_a_run_from_being_resumed(
    train: Train, finished: Path, damage: bytes
) -> None:
    shutil.copytree(finished, "run")
    with Path("run/log.jsonl").open("ab") as file:
        file.write(damage)
    outcome = train("-o", "run", "--resume")
    assert outcome.code == 0
    assert "run/log.jsonl: dropped 1 damaged line" in outcome.err
    assert Path("run/log.jsonl").read_bytes() == (finished / "log.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_stop_signal_saves_the_step_at_work_and_the_run_can_be_resumed(
    train: Train, finished: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    from vostool.train import loop

    take_step = loop.take_step

    def interrupted(*arguments: Any) -> float:
        signal.raise_signal(number)
        return take_step(*arguments)

    before = [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(loop, "take_step", interrupted)
    outcome = train("-q", "-o", "run", "--set", "save_every=100")
    assert outcome.code == code
    assert "saved in run: the same command with --resume" in outcome.err
    assert [signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)] == before
    assert torch.load("run/checkpoint.pt", weights_only=True)["step"] == 1
    monkeypatch.setattr(loop, "take_step", take_step)
    assert train("-q", "-o", "run", "--resume").code == 0
    resumed = Path("run/weights.safetensors")
    expected = load_checkpoint(finished / "weights.safetensors").state_dict()
    for name, weight in load_checkpoint(resumed).state_dict().items():
        assert torch.equal(weight, expected[name]), name


def test_a_checkpoint_with_the_old_keys_of_its_recipe_is_resumed(
    train: Train, finished: Path
) -> None:
    old = {"multi_object_share": "several", "max_objects": "most", "late_share": "late"}
    old |= {"encoder_weights": "start", "init_weights": "begin"}
    shutil.copytree(finished, "run")
    checkpoint = Path("run/checkpoint.pt")
    state = torch.load(checkpoint, weights_only=True)
    state["recipe"] = {old.get(key, key): value for key, value in state["recipe"].items()}
    for phase in state["recipe"]["phases"]:
        phase["imitate"] = phase.pop("distill")
    torch.save(state, checkpoint)
    outcome = train("-o", "run", "--resume", "--set", "phases.0.steps=3")
    assert outcome.code == 0
    assert "key several is now called multi_object_share" in outcome.err
    assert torch.load(checkpoint, weights_only=True)["step"] == 3
