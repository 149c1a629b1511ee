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

    int8 is that of a network in int8: its matrix products are float32, and its convolutions
    quantize their input.
    """
    side = MATRIX[device.type]
    batch = BATCH[device.type]
    int8 = precision is torch.int8
    dtype = torch.float32 if int8 else precision
    matrix = torch.rand(side, side, device=device, dtype=dtype)
    image = torch.rand(batch, CHANNELS, HEIGHT, WIDTH, device=device, dtype=dtype)
    image = image.to(memory_format=torch.channels_last)
    layer = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False, device=device, dtype=dtype)
    layer.to(memory_format=torch.channels_last)
    convolve = Int8Conv2d(layer) if int8 else layer
    return Ceiling(
        matrix_product=rate(lambda: matrix @ matrix, 2 * side**3, device),
        convolution=rate(
            lambda: convolve(image), 2 * batch * HEIGHT * WIDTH * 9 * CHANNELS**2, device
        ),
    )


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
