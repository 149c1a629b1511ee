"""Time the read of each memory design, and count its bytes, as more frames are remembered.

    python -m tests.bench.memories [-o PLOT.png] [--size 240] [--frames 32] [--threads 1]

Keys of 64 channels compared by L2 and values of 256, those of the shipped weights, for one object
in frames of 16:9 whose short side is `size`; random numbers, which cost what others cost. A time
is the processor's, which other programs disturb least: the median of several reads.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vostool.media.figures import save_figure
from vostool.model.memory import FrameMemory, MemoryOptions
from vostool.model.memory_designs import MEMORIES, memory_design
from vostool.preprocess import working_size

KEY, VALUE = 64, 256  # channels
REPEAT = 9
STRIDE = 16


@dataclass(frozen=True)
class Point:
    """What a design costs with some frames remembered."""

    design: str
    frames: int
    milliseconds: float  # a read
    held: int  # bytes


def measure(design: str, counts: list[int], size: tuple[int, int]) -> list[Point]:
    """Fill a memory frame by frame and time its read at each of `counts` frames."""
    torch.manual_seed(0)
    height, width = size
    memory = memory_design(design)(MemoryOptions(similarity="l2", sigma=3.5))
    points = []
    for frame in range(1, max(counts) + 1):
        key, value = torch.randn(1, 1, KEY, height, width), torch.randn(1, 1, VALUE, height, width)
        memory = memory.add(key, value, annotated=frame == 1)
        if frame in counts:
            query = torch.randn(1, 1, KEY, height, width)
            points.append(Point(design, frame, read_time(memory, query), held(memory)))
    return points


def read_time(memory: FrameMemory, query: Tensor) -> float:
    """Return milliseconds of processor time of a read, after one to warm up."""
    memory.read(query)
    times = []
    for _ in range(REPEAT):
        start = time.process_time()
        memory.read(query)
        times.append(time.process_time() - start)
    return 1000 * statistics.median(times)


def held(memory: FrameMemory) -> int:
    """Return the bytes of all tensors of a memory."""
    parts: list[object] = []
    for field in vars(memory).values():
        parts += field if isinstance(field, tuple) else [field]
    return sum(part.numel() * part.element_size() for part in parts if isinstance(part, Tensor))


def plot(points: list[Point], path: Path) -> None:
    """Draw read time and size against remembered frames."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), dpi=110, layout="constrained")
    time_axes, size_axes = figure.subplots(1, 2)
    for design in MEMORIES:
        own = [point for point in points if point.design == design]
        frames = [point.frames for point in own]
        time_axes.plot(frames, [point.milliseconds for point in own], "o-", label=design)
        size_axes.plot(frames, [point.held / 1e6 for point in own], "o-", label=design)
    time_axes.set(xlabel="remembered frames", ylabel="read, ms of one core")
    size_axes.set(xlabel="remembered frames", ylabel="held, MB")
    for axes in (time_axes, size_axes):
        axes.set(xscale="log", yscale="log")
        axes.legend()
        axes.grid(alpha=0.3)
    save_figure(path, figure)


def main() -> None:
    """Measure, print a table, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--size", type=int, default=240)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    height, width = working_size(9 * given.size, 16 * given.size, given.size, STRIDE)
    grid = height // STRIDE, width // STRIDE
    counts = [2**power for power in range(given.frames.bit_length()) if 2**power <= given.frames]
    with torch.no_grad():
        points = [point for name in MEMORIES for point in measure(name, counts, grid)]
    print(f"{height} x {width} pixels, {grid[0]} x {grid[1]} positions, {given.threads} threads")
    print("| frames | " + " | ".join(f"{name}, ms | {name}, MB" for name in MEMORIES) + " |")
    for count in counts:
        row = {point.design: point for point in points if point.frames == count}
        cells = [f"{row[n].milliseconds:.1f} | {row[n].held / 1e6:.2f}" for n in MEMORIES]
        print(f"| {count} | " + " | ".join(cells) + " |")
    if given.output is not None:
        plot(points, given.output)


if __name__ == "__main__":
    main()
