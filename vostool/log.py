"""What a training run leaves to read: one line of JSON per entry, and TensorBoard's files."""

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from torch import Tensor

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
    """Entries of a run, a context manager; says nothing unless `speaks`."""

    def __init__(self, folder: Path, report: Report, speaks: bool = True) -> None:
        """Append to `folder`/log.jsonl and `folder`/tensorboard; `report` gets each entry too."""
        self._file, self._report, self._speaks = folder / "log.jsonl", report, speaks
        self._board = open_board(folder / "tensorboard") if speaks else None

    def write(self, step: int, **values: float) -> None:
        """Add an entry for a step."""
        if not self._speaks:
            return
        entry = {"step": step, **{name: round(value, 6) for name, value in values.items()}}
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


def open_board(folder: Path) -> Board | None:
    """Return a TensorBoard writer, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    board: Board = SummaryWriter(str(folder))
    return board
