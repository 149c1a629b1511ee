"""What a training run leaves to read: one line of JSON per entry, and TensorBoard's files."""

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from torch import Tensor

from vostool.files import write_text

LOG = "log.jsonl"
Report = Callable[[dict[str, Any]], None]


class Board(Protocol):
    """What is used of TensorBoard's writer."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Add a point to a curve."""

    def add_image(self, tag: str, img_tensor: Tensor, global_step: int) -> None:
        """Add a picture."""

    def close(self) -> None:
        """Write what is left."""


class Log:
    """Entries of a run, a context manager; says nothing unless `enabled`."""

    def __init__(
        self, folder: Path, report: Report, enabled: bool = True, step: int | None = None
    ) -> None:
        """Append to `folder`/log.jsonl and `folder`/tensorboard; `report` gets each entry too.

        What they hold of steps after `step`, from which the run goes on, is dropped.
        """
        self._file, self._report, self._enabled = folder / LOG, report, enabled
        if enabled and step is not None:
            drop_after(self._file, step)
        self._board = open_board(folder / "tensorboard", step) if enabled else None

    def write(self, step: int, **values: float) -> None:
        """Add an entry for a step."""
        if not self._enabled:
            return
        entry = {"step": step, **{name: float(f"{v:.6g}") for name, v in values.items()}}
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)
        self._report(entry)

    def show(self, step: int, name: str, draw: Callable[[], Tensor]) -> None:
        """Add a picture (3, H, W) in [0, 1]; drawn only if TensorBoard is there to keep it."""
        if self._board is not None:
            self._board.add_image(name, draw().float().cpu(), step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._board is not None:
            self._board.close()


def drop_after(file: Path, step: int) -> None:
    """Drop the entries of steps after one, as of a run that was killed and goes on from there."""
    if file.exists():
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = [line for line in lines if line.endswith("\n")]  # the last may be cut off
        write_text(file, "".join(line for line in whole if json.loads(line)["step"] <= step))


def open_board(folder: Path, step: int | None = None) -> Board | None:
    """Return a TensorBoard writer that goes on after a step, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    board: Board = SummaryWriter(str(folder), purge_step=None if step is None else step + 1)
    return board
