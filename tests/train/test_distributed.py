import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.datasets.making import write_library
from vostool.model.checkpoint import read_header
from vostool.train.distributed import ALONE, Processes, own_device, processes
from vostool.train.loop import train
from vostool.train.recipe import read_recipe

CPU = torch.device("cpu")

RECIPE = """
data_root = "{root}"
data_short_side = 32
clips = 3
frames = 2
multi_object_share = 0.5
late_share = 0.5
seed = 1  # a step of one object with the cycle, then one of two of which one is late
warmup = 0
precision = "fp32"
log_every = 1
hold_out = ["two"]
validate_size = 32
learning_rate = 1e-3
encoder_learning_rate = 1e-3
network = {{ key_channels = 8, value_channels = 16, decoder_channels = [16, 8, 8] }}
data = [{{ layout = "clips", root = "clips" }}, {{ layout = "photographs", root = "photographs" }}]
phases = [{{ steps = 2, size = [32, 48], cycle = true }}]
"""


class TestOneProcess:
    def test_is_what_there_is_without_torchrun(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("LOCAL_RANK", raising=False)
        with processes(CPU) as team:
            assert team is ALONE
        assert not torch.distributed.is_initialized()

    def test_has_all_clips_speaks_and_adds_nothing_up(self) -> None:
        assert ALONE.first
        assert range(7)[ALONE.shard] == range(7)
        weight = torch.nn.Parameter(torch.ones(2))
        weight.grad = gradient = torch.tensor([1.0, 2.0])
        ALONE.all_reduce_gradients([weight])
        assert weight.grad is gradient
        assert ALONE.total(torch.tensor(3.0)) == 3


class TestSeveralProcesses:
    @pytest.mark.parametrize("count", [2, 3, 4])
    def test_share_all_clips_none_twice(self, count: int) -> None:
        shares = [range(10)[Processes(rank, count).shard] for rank in range(count)]
        assert sorted(number for shard in shares for number in shard) == list(range(10))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
        assert [Processes(rank, count).first for rank in range(count)] == [True] + [False] * (
            count - 1
        )

    def test_gradients_are_summed_over_processes_for_all_weights_that_one_of_them_trains(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mine = torch.arange(18.0).view(1, 2, 3, 3)
        theirs = torch.full_like(mine, 10)

        def reduce(total: Tensor) -> None:
            # the other process has a gradient of the first two of the three that are trained
            total += torch.cat(
                [torch.tensor([1.0, 1, 0]), theirs.flatten(), theirs.flatten(), torch.zeros(18)]
            )

        monkeypatch.setattr("vostool.train.distributed.distributed.all_reduce", reduce)
        held, elsewhere, unused, frozen = (
            torch.nn.Parameter(torch.ones(1, 2, 3, 3)) for _ in range(4)
        )
        frozen.requires_grad_(False)
        held.data = held.data.contiguous(memory_format=torch.channels_last)
        held.grad = mine.contiguous(memory_format=torch.channels_last)
        Processes(0, 2).all_reduce_gradients([held, frozen, elsewhere, unused])
        assert held.grad is not None
        assert elsewhere.grad is not None
        assert torch.equal(held.grad, mine + 10)
        assert torch.equal(elsewhere.grad, theirs)
        assert frozen.grad is None
        assert unused.grad is None, "the optimiser would decay a weight that nothing trains"

    def test_the_sum_over_processes_leaves_this_one_s_value_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def reduce(total: Tensor) -> None:
            total += 10  # the other's

        monkeypatch.setattr("vostool.train.distributed.distributed.all_reduce", reduce)
        loss = torch.tensor(2.0)
        assert Processes(0, 2).total(loss) == 12
        assert loss == 2

    def test_have_a_device_each(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LOCAL_RANK", "3")
        assert own_device(torch.device("cuda")) == torch.device("cuda:3")
        assert own_device(torch.device("cuda:1")) == torch.device("cuda:1")
        assert own_device(CPU) == CPU
        monkeypatch.delenv("LOCAL_RANK")
        assert own_device(torch.device("cuda")) == torch.device("cuda")

    def test_train_what_one_would_have_trained(self, tmp_path: Path) -> None:
        path, folder = tmp_path / "recipe.toml", tmp_path / "two"
        path.write_text(RECIPE.format(root=write_library(tmp_path / "data").as_posix()))
        launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        order = [
            "-m",
            "vostool",
            "train",
            str(path),
            "-o",
            str(folder),
            "--device",
            "cpu",
            "--quiet",
        ]
        done = subprocess.run(
            [sys.executable, "-m", *launch, *order],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(folder / "weights.safetensors")]
        one = train(read_recipe(path), tmp_path / "one", device=CPU)
        assert len((folder / "log.jsonl").read_text().splitlines()) == 3
        assert read_header(folder / one.name)["card"]["recipe"]["clips"] == 3
        states = [
            torch.load(run / "checkpoint.pt", weights_only=True)["average"]
            for run in (folder, one.parent)
        ]
        for name, weight in states[0].items():
            torch.testing.assert_close(weight, states[1][name], atol=1e-4, rtol=1e-4, msg=name)
