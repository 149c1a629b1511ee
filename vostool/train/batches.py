"""The batches of a run's steps, drawn ahead: by a thread, or by processes.

A draw depends on seed and step alone, so that it may be made ahead of its step, and by anyone.
"""

import multiprocessing
import signal
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch.utils.data import DataLoader, Dataset

from vostool.errors import DeviceError, UsageError, VostoolError
from vostool.inference.prefetch import read_ahead
from vostool.threads import available_cores
from vostool.train.clips import Clip
from vostool.train.recipe import Recipe
from vostool.train.sampler import Library, draw_batch

Batch: TypeAlias = tuple[Clip, int, bool]  # as `draw_batch` returns it
AHEAD = 2  # batches that each process draws ahead
MOST_WORKERS = 12  # chosen without being asked; a GPU waits for fewer, memory is lost to more
CPU = torch.device("cpu")


def worker_count(asked: int | None, device: torch.device, processes: int) -> int:
    """Return how many processes draw the batches of each of a run's `processes`; 0: a thread does.

    Without being asked, a share of the cores beside a GPU, which would wait for a thread; beside a
    network on the CPU there are no cores to spare. Raises UsageError where processes cannot be
    forked, as on Windows.
    """
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    if asked and not can_fork:
        raise UsageError(f"--workers {asked}: this system cannot fork processes; use --workers 0")
    if asked is not None:
        return asked
    if device.type != "cuda" or not can_fork:
        return 0
    return min(MOST_WORKERS, (available_cores() - 1) // processes)


def draw_ahead(
    library: Library,
    recipe: Recipe,
    steps: range,
    device: torch.device,
    shard: slice = slice(None),
    workers: int = 0,
) -> Generator[Batch, None, None]:
    """Yield the batch of each step on a device; raises what `draw_batch` does.

    With `workers` processes to draw them, the library must be in the CPU's memory, which they
    share. Close the generator to end the thread or the processes. Raises DeviceError if a process
    dies.
    """
    if not workers:
        draws = (draw_batch(library, recipe, step, device, shard) for step in steps)
        with closing(read_ahead(draws, depth=1)) as batches:
            yield from batches
        return
    loader = DataLoader(
        Draws(library, recipe, shard),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        prefetch_factor=AHEAD,
        pin_memory=device.type == "cuda",
        # a forked process shares the library's memory; any other would need a copy of it
        multiprocessing_context="fork",
        worker_init_fn=ignore_signals,
        generator=torch.Generator(),  # or a number would be taken from the run's own
    )
    for drawn in drawn_by(loader):
        if isinstance(drawn, VostoolError):
            raise drawn
        clip, count, late = drawn
        yield clip.to(device), count, late


def drawn_by(loader: DataLoader[Batch | VostoolError]) -> Iterator[Batch | VostoolError]:
    """Yield what the processes of a loader draw; raises DeviceError if one of them dies."""
    try:
        yield from loader
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise  # what drawing itself raised
        raise DeviceError(
            "a process that draws clips died, possibly out of memory, or of room in /dev/shm, "
            "through which batches pass; fewer --workers need less"
        ) from error


def ignore_signals(worker: int) -> None:
    """Leave what may stop a run to its first process, which saves it and then ends the others."""
    for kind in (signal.SIGINT, signal.SIGTERM):
        signal.signal(kind, signal.SIG_IGN)


@dataclass(frozen=True)
class Draws(Dataset[Batch | VostoolError]):
    """The batches by step; what cannot be drawn is an error, to be raised where it is expected."""

    library: Library
    recipe: Recipe
    shard: slice

    def __getitem__(self, step: int) -> Batch | VostoolError:
        """Draw the batch of a step."""
        try:
            return draw_batch(self.library, self.recipe, step, CPU, self.shard)
        except VostoolError as error:
            return error
