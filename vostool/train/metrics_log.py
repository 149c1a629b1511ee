"""The log of a training run: one line of JSON per entry, and TensorBoard's files."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from torch import Tensor

from vostool.errors import InputError
from vostool.files import write_bytes

log = logging.getLogger(__name__)

LOG = "log.jsonl"
Report = Callable[[dict[str, Any]], None]


class Board(Protocol):
    """The part of TensorBoard's writer that is used."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Add a point to a curve."""

    def add_image(self, tag: str, img_tensor: Tensor, global_step: int) -> None:
        """Add a picture."""

    def close(self) -> None:
        """Write what is left."""


class Log:
    """The log of a run, a context manager; does nothing unless `enabled`."""

    def __init__(
        self, folder: Path, report: Report, enabled: bool = True, step: int | None = None
    ) -> None:
        """Append to `folder`/log.jsonl and `folder`/tensorboard; `report` gets each entry too.

        Their entries of steps after `step`, from which the run is resumed, are dropped.
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
    """Drop the entries of steps after one, as of a run that was killed and resumes from there.

    Lines that are no entries, as a power cut leaves them, are dropped with a warning.
    """
    if not file.exists():
        return
    try:
        lines = file.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    steps = [step_of(line) for line in lines]
    damaged = sum(number is None for number in steps)
    if damaged:
        noun = "line" if damaged == 1 else "lines"
        log.warning("%s: dropped %d damaged %s; nothing else is lost", file, damaged, noun)
    kept = (
        line
        for line, number in zip(lines, steps, strict=True)
        if number is not None and number <= step
    )
    write_bytes(file, b"".join(kept))


def step_of(line: bytes) -> int | None:
    """Return the step of an entry of the log, or None if the line is damaged or cut off."""
    try:
        step = json.loads(line)["step"] if line.endswith(b"\n") else None
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return step if isinstance(step, int) else None


def open_board(folder: Path, step: int | None = None) -> Board | None:
    """Return a TensorBoard writer that goes on after a step, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    board: Board = SummaryWriter(str(folder), purge_step=None if step is None else step + 1)
    return board
