"""Work that is queued on a GPU: seconds between two moments of it, and tensors between its streams.

A GPU works through a stream's queue while the program goes on. Nothing here has the program wait,
but for `seconds_between`.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import torch
from torch import Tensor

Moment = float | torch.cuda.Event  # when a CPU, or a GPU, got there


def moment(device: torch.device) -> Moment:
    """Return the moment when a device will have finished the work that is queued by now."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


def is_over(at: Moment) -> bool:
    """Return whether a device has got there."""
    return isinstance(at, float) or at.query()


def seconds_between(first: Moment, second: Moment) -> float:
    """Return the seconds from one moment of a device to a later one; waits for the later one."""
    if isinstance(first, torch.cuda.Event) and isinstance(second, torch.cuda.Event):
        second.synchronize()
        return first.elapsed_time(second) / 1000
    return float(second) - float(first)  # type: ignore[arg-type]


def stream_beside(device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """Return what queues the work of a `with` block on a GPU beside the network's, not behind it.

    For a CPU it does nothing: `torch.cuda.stream(None)` would initialise CUDA where there is a GPU.
    """
    if device.type != "cuda":
        return nullcontext
    return partial(torch.cuda.stream, torch.cuda.Stream(device))


class Handover:
    """A tensor from the thread and stream that make it to those that use it."""

    def __init__(self, tensor: Tensor) -> None:
        """Take a tensor in the thread that makes it."""
        self._tensor, self._ready = tensor, None
        if tensor.is_cuda:
            self._ready = torch.cuda.current_stream(tensor.device).record_event()

    def take(self) -> Tensor:
        """Return the tensor in the thread that uses it, whose stream waits until it is made."""
        if self._ready is not None:
            stream = torch.cuda.current_stream(self._tensor.device)
            stream.wait_event(self._ready)
            self._tensor.record_stream(stream)  # it is not overwritten before this one is done
        return self._tensor
