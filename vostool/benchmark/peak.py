"""How fast a device multiplies at best: the two operations of which networks are made, alone.

A large square matrix product and a convolution of the middle of a backbone, in the memory layout
and under the settings of PyTorch with which the network runs.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from vostool.device import synchronize

SECONDS = 0.4  # for each operation, at most if it is done twice within
MATRIX = {"cpu": 1536, "cuda": 8192}  # side of the square matrices
CHANNELS, HEIGHT, WIDTH = 256, 60, 108  # of the convolution
BATCH = {"cpu": 1, "cuda": 16}  # a fast GPU would wait for the launch of one alone


@dataclass(frozen=True)
class Ceiling:
    """The most that was reached, GFLOP/s, where a multiplication and an addition are two."""

    matrix_product: float
    convolution: float


@torch.no_grad()
def measure_ceiling(device: torch.device, precision: torch.dtype) -> Ceiling:
    """Measure how fast a device computes in a precision, in about a second."""
    side = MATRIX[device.type]
    matrix = torch.rand(side, side, device=device, dtype=precision)
    batch = BATCH[device.type]
    image = torch.rand(batch, CHANNELS, HEIGHT, WIDTH, device=device, dtype=precision)
    weight = torch.rand(CHANNELS, CHANNELS, 3, 3, device=device, dtype=precision)
    image, weight = (each.to(memory_format=torch.channels_last) for each in (image, weight))
    return Ceiling(
        matrix_product=rate(lambda: matrix @ matrix, 2 * side**3, device),
        convolution=rate(
            lambda: functional.conv2d(image, weight, padding=1),
            2 * batch * HEIGHT * WIDTH * 9 * CHANNELS**2,
            device,
        ),
    )


def rate(operation: Callable[[], Tensor], flops: int, device: torch.device) -> float:
    """Return the GFLOP/s of an operation of so many FLOPs, the best of those in `SECONDS`."""
    operation()  # the first one finds memory and a kernel
    best, end = float("inf"), time.perf_counter() + SECONDS
    while best == float("inf") or time.perf_counter() < end:
        synchronize(device)
        since = time.perf_counter()
        operation()
        synchronize(device)
        best = min(best, time.perf_counter() - since)
    return flops / best / 1e9
