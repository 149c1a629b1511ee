import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vostool.train.metrics_log import Log


class Kept:
    """Stands for TensorBoard's writer; remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.told.append((tag, scalar_value, global_step))

    def add_image(self, tag: str, img_tensor: Tensor, global_step: int) -> None:
        self.told.append((tag, img_tensor.dtype, tuple(img_tensor.shape), global_step))

    def close(self) -> None:
        self.told.append(("closed",))


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Kept:
    kept = Kept()
    monkeypatch.setattr("vostool.train.metrics_log.open_board", lambda folder, step: kept)
    return kept


@pytest.fixture
def no_board(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have TensorBoard not installed."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


def picture() -> Tensor:
    return torch.zeros(3, 8, 12, dtype=torch.bfloat16)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


class TestALog:
    @pytest.mark.usefixtures("no_board")
    def test_is_a_line_of_json_per_entry_and_tells_each(self, tmp_path: Path) -> None:
        told: list[dict[str, Any]] = []
        with Log(tmp_path, told.append) as log:
            log.write(3, loss=0.25, rate=1 / 3)
            assert len(lines(tmp_path)) == 1, "an entry waits for the end"
            log.write(4, held_out_j_and_f=0.5)
        assert lines(tmp_path) == told
        assert told == [
            {"step": 3, "loss": 0.25, "rate": 0.333333},
            {"step": 4, "held_out_j_and_f": 0.5},
        ]

    @pytest.mark.usefixtures("no_board")
    def test_goes_on_where_an_earlier_one_ended(self, tmp_path: Path) -> None:
        for step in (1, 2):
            with Log(tmp_path, lambda entry: None) as log:
                log.write(step, loss=1.0)
        assert [entry["step"] for entry in lines(tmp_path)] == [1, 2]

    @pytest.mark.usefixtures("no_board")
    def test_that_goes_on_from_a_step_drops_what_came_after_it(self, tmp_path: Path) -> None:
        with Log(tmp_path, lambda entry: None) as log:
            for step in (1, 2, 3):
                log.write(step, loss=1.0)
        with (tmp_path / "log.jsonl").open("a") as file:
            file.write('{"step": 4, "lo')  # killed while it wrote
        with Log(tmp_path, lambda entry: None, step=2) as log:
            log.write(3, loss=2.0)
        assert [(entry["step"], entry["loss"]) for entry in lines(tmp_path)] == [
            (1, 1.0),
            (2, 1.0),
            (3, 2.0),
        ]

    @pytest.mark.usefixtures("no_board")
    @pytest.mark.parametrize(
        "damage",
        [
            b'{"step": 4, "lo',
            bytes(64),
            bytes(64) + b"\n",
            b"\xff\xfe\n",
            b"[1]\n",
            b"{}\n",
            b'{"step": null}\n',
            b"[" * 100_000 + b"\n",
            bytes(9) + b"\n" + bytes(9),
        ],
    )
    def test_resuming_drops_damaged_lines_with_a_warning(
        self, damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        whole = b'{"step": 1, "loss": 1.0}\n{"step": 2, "loss": 1.0}\n'
        (tmp_path / "log.jsonl").write_bytes(whole + damage)
        with Log(tmp_path, lambda entry: None, step=2):
            pass
        assert (tmp_path / "log.jsonl").read_bytes() == whole
        (warning,) = caplog.messages
        assert "log.jsonl: dropped" in warning

    def test_of_another_process_says_nothing(self, board: Kept, tmp_path: Path) -> None:
        told: list[dict[str, Any]] = []
        with Log(tmp_path, told.append, enabled=False) as log:
            log.write(1, loss=1.0)
            log.show(1, "clip", picture)
        assert told == []
        assert board.told == []
        assert list(tmp_path.iterdir()) == []


class TestTensorBoard:
    def test_is_given_every_value_and_picture_and_is_closed(
        self, board: Kept, tmp_path: Path
    ) -> None:
        with Log(tmp_path, lambda entry: None) as log:
            log.write(3, loss=0.25, rate=0.5)
            log.show(4, "clip", picture)
        assert board.told == [
            ("loss", 0.25, 3),
            ("rate", 0.5, 3),
            ("clip", torch.float32, (3, 8, 12), 4),
            ("closed",),
        ]

    def test_is_closed_after_an_error_too(self, board: Kept, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), Log(tmp_path, lambda entry: None):
            raise KeyboardInterrupt
        assert board.told == [("closed",)]

    @pytest.mark.usefixtures("no_board")
    def test_that_is_not_installed_is_not_missed_and_nothing_is_drawn_for_it(
        self, tmp_path: Path
    ) -> None:
        with Log(tmp_path, lambda entry: None) as log:
            log.write(1, loss=1.0)
            log.show(1, "clip", lambda: pytest.fail("drawn for nobody"))
        assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]

    def test_that_is_installed_writes_its_files(self, tmp_path: Path) -> None:
        pytest.importorskip("tensorboard")
        with Log(tmp_path, lambda entry: None) as log:
            log.write(1, loss=1.0)
            log.show(1, "clip", picture)
        (events,) = (tmp_path / "tensorboard").iterdir()
        content = events.read_bytes()
        assert b"loss" in content
        assert b"PNG" in content
