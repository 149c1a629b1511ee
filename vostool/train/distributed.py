"""Data-parallel training in several processes, started by `torchrun`.

Each computes the gradient of its own clips of a step; the sum over all is what one process
would have computed. Without torchrun there is one process, and nothing to do.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class Processes:
    """Which of the processes this one is."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    @property
    def shard(self) -> slice:
        """The numbers of this process's clips."""
        return slice(self.rank, None, self.count)

    def all_reduce_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its sum over all processes.

        A weight without a gradient in any process keeps none, so that the optimiser leaves it.
        """
        if self.count == 1:
            return
        held = [parameter for parameter in parameters if parameter.requires_grad]
        parts = [p.grad if p.grad is not None else torch.zeros_like(p) for p in held]
        used = parts[0].new_tensor([p.grad is not None for p in held])
        total = torch.cat([used, *(part.flatten() for part in parts)])
        distributed.all_reduce(total)
        used, *sums = total.split([len(held), *(p.numel() for p in held)])
        for parameter, in_use, summed in zip(held, used.tolist(), sums, strict=True):
            if in_use:
                gradient = summed.view_as(parameter)
                parameter.grad = gradient.clone(memory_format=torch.preserve_format)

    def wait(self) -> None:
        """Wait for all processes (a barrier)."""
        if self.count > 1:
            distributed.barrier()

    def any(self, flag: bool, device: torch.device) -> bool:
        """Return whether a flag is set in any process, so that all decide alike."""
        if self.count == 1:
            return flag
        return bool(self.total(torch.tensor(float(flag), device=device)) > 0)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum of a value over all processes."""
        whole = value.clone()
        if self.count > 1:
            distributed.all_reduce(whole)
        return whole


ALONE = Processes()


@contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that torchrun has started, if it has."""
    if "LOCAL_RANK" not in os.environ:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    # the others wait while the first validates
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(hours=2))
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def own_device(device: torch.device) -> torch.device:
    """Return this process's CUDA device where there are several, else the device given."""
    if device.type == "cuda" and device.index is None and "LOCAL_RANK" in os.environ:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device
