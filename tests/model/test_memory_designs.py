"""A fourth memory design costs one class and one line of a table."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.conftest import FRAMES, TINY, Footage
from tests.datasets.making import recipe_of, square_clip
from tests.test_cli import Call, vostool  # noqa: F401
from vostool.errors import UsageError, WeightsError
from vostool.inference.options import ModelOptions
from vostool.model.check import check_segmenter
from vostool.model.checkpoint import load_stm, read_header, save_checkpoint
from vostool.model.memory import MemoryOptions, StackedMemory
from vostool.model.memory_designs import MEMORIES
from vostool.model.stm import Stm
from vostool.model.stm_settings import StmSettings
from vostool.train.distributed import ALONE
from vostool.train.loop import take_step
from vostool.train.recipe import read_recipe
from vostool.train.sampler import Library, draw_batch
from vostool.train.state import export, start_run

CPU = torch.device("cpu")
EXPECTED = "expected 'stm', 'kmn' or 'gcm'"


@dataclass(frozen=True)
class LatestFrame:
    """Keep the latest frame, and read from each of its positions what is at the same place."""

    readout: ClassVar[str] = "in place"

    options: MemoryOptions
    value: Tensor | None = None  # (B, G, D, h, w)

    def add(self, key: Tensor, value: Tensor, annotated: bool) -> Self:
        return replace(self, value=value)

    def read(self, query: Tensor) -> Tensor:
        if self.value is None:
            raise ValueError("nothing is remembered")
        return self.value


class SofterMemory(StackedMemory):
    """STM's memory at half the similarity; reads with its weights, as KMN does."""

    def similarities(self, keys: Tensor, query: Tensor) -> Tensor:
        return super().similarities(keys, query) / 2


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add a design to the table: the line that it costs."""
    monkeypatch.setitem(MEMORIES, "mine", f"{__name__}:LatestFrame")


@pytest.fixture
def stm_weights(untrained: Stm, tmp_path: Path) -> Path:
    path = tmp_path / "stm.safetensors"
    save_checkpoint(path, untrained, {})
    return path


def test_a_fourth_design_fulfils_the_contract_in_the_network(mine: None) -> None:
    torch.manual_seed(0)
    check_segmenter(Stm(TINY.model_copy(update={"memory": "mine"})).eval())


def test_a_fourth_design_is_trained_saved_loaded_and_segments_a_video(
    mine: None,
    vostool: Call,  # noqa: F811
    video: Footage,
    tmp_path: Path,
) -> None:
    recipe = recipe_of(network={**TINY.model_dump(), "memory": "mine"})
    run = start_run(recipe, CPU)
    before = run.network.memory_value.weight.clone()
    batch = draw_batch(Library(videos=[square_clip()]), recipe, 0, CPU)
    take_step(run, batch, ALONE)
    assert not torch.equal(run.network.memory_value.weight, before)
    weights = tmp_path / "mine.safetensors"
    export(run, weights)
    assert isinstance(load_stm(weights).empty_memory(), LatestFrame)
    model = ("--weights", weights, "--memory", "mine", "--size", 32, "--device", "cpu")
    outcome = vostool(
        "segment", video.path, "--mask", video.mask, *model, "-o", tmp_path / "out", "--json"
    )
    report = json.loads(outcome.out)
    assert (outcome.code, report["frames"]) == (0, FRAMES)
    assert report["network"]["settings"]["memory"] == "mine"


def test_a_fourth_design_of_a_readout_of_its_own_needs_its_own_weights(
    mine: None,
    vostool: Call,  # noqa: F811
    video: Footage,
    stm_weights: Path,
) -> None:
    model = ("--weights", stm_weights, "--memory", "mine", "--device", "cpu")
    outcome = vostool("segment", video.path, "--mask", video.mask, *model)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"--memory mine: {stm_weights} is trained for stm; expected weights of" in outcome.err


def test_a_fourth_design_of_the_same_readout_reads_with_the_weights_of_stm(
    monkeypatch: pytest.MonkeyPatch,
    vostool: Call,  # noqa: F811
    video: Footage,
    stm_weights: Path,
    tmp_path: Path,
) -> None:
    monkeypatch.setitem(MEMORIES, "mine", f"{__name__}:SofterMemory")
    model = ("--weights", stm_weights, "--memory", "mine", "--size", 32, "--device", "cpu")
    outcome = vostool("segment", video.path, "--mask", video.mask, *model, "-o", tmp_path / "out")
    assert outcome.code == 0


def test_an_unknown_design_in_settings_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=EXPECTED):
        StmSettings(memory="mine")


def test_an_unknown_design_in_a_weights_file_is_a_weights_error(
    stm_weights: Path, tmp_path: Path
) -> None:
    header = read_header(stm_weights)
    header["settings"]["memory"] = "mine"
    path = tmp_path / "mine.safetensors"
    save_file(load_file(stm_weights), path, metadata={"vostool": json.dumps(header)})
    with pytest.raises(WeightsError, match=f"network settings: memory: {EXPECTED}, found 'mine'"):
        load_stm(path)


def test_an_unknown_design_among_the_options_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match=f"--memory mine: {EXPECTED}"):
        ModelOptions().changed({"memory": "mine"})


def test_an_unknown_design_in_a_recipe_is_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[network]\nmemory = "mine"\n[[data]]\nlayout = "clips"\nroot = "clips"\n'
        "[[phases]]\nsteps = 1\n"
    )
    with pytest.raises(UsageError, match=f"network.memory: {EXPECTED}, found 'mine'"):
        read_recipe(path)


def test_help_lists_the_designs(vostool: Call) -> None:  # noqa: F811
    words = vostool("segment", "--help-all").out.split()
    assert f"built-in network: {', '.join(MEMORIES)} (" in " ".join(words)
