"""The peak throughput of a device: the two operations that networks consist of, alone.

A large square matrix product and a convolution from the middle of a backbone, in the memory
layout and under the PyTorch settings with which the network runs.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vostool.benchmark.report import Ceiling
from vostool.device import synchronize
from vostool.model.int8 import Int8Conv2d

SECONDS = 0.4  # for each operation
MATRIX = {"cpu": 1536, "cuda": 8192}  # side of the square matrices
CHANNELS, HEIGHT, WIDTH = 256, 60, 108  # of the convolution
BATCH = {"cpu": 1, "cuda": 16}  # on a fast GPU launching would take longer than a single one


@torch.no_grad()
def measure_ceiling(device: torch.device, precision: torch.dtype) -> Ceiling:
    """Return the peak throughput of a device in a precision; takes about a second.

    A convolution in int8 quantizes its input, as it does in a network.
    """
    int8 = precision is torch.int8
    dtype = torch.float32 if int8 else precision
    batch = BATCH[device.type]
    image = torch.rand(batch, CHANNELS, HEIGHT, WIDTH, device=device, dtype=dtype)
    image = image.to(memory_format=torch.channels_last)
    layer = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False, device=device, dtype=dtype)
    layer.to(memory_format=torch.channels_last)
    convolve = Int8Conv2d(layer) if int8 else layer
    flops = 2 * batch * HEIGHT * WIDTH * 9 * CHANNELS**2
    return Ceiling(
        matrix_product=None if int8 else matrix_product_rate(device, precision),
        convolution=rate(lambda: convolve(image), flops, device),
    )


def matrix_product_rate(device: torch.device, precision: torch.dtype) -> float:
    """Return the GFLOP/s of a large square matrix product."""
    side = MATRIX[device.type]
    matrix = torch.rand(side, side, device=device, dtype=precision)
    return rate(lambda: matrix @ matrix, 2 * side**3, device)


def rate(operation: Callable[[], Tensor], flops: int, device: torch.device) -> float:
    """Return the GFLOP/s of an operation of `flops` FLOPs, the best within `SECONDS`."""
    operation()  # the first one allocates memory and selects a kernel
    best, end = float("inf"), time.perf_counter() + SECONDS
    while best == float("inf") or time.perf_counter() < end:
        synchronize(device)
        since = time.perf_counter()
        operation()
        synchronize(device)
        best = min(best, time.perf_counter() - since)
    return flops / best / 1e9
