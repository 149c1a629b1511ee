"""Time the blockwise read beside the plain formula, which stores all similarities at once.

    python -m tests.bench.reads [--sizes 240 320 480] [--frames 8 16] [--threads 1] [--bf16]

For each design, size and number of remembered frames: milliseconds of processor time of a read, of
a read with its gradient, as in training, and of that of a single frame with the gradient of its
values alone, as the correction has it where objects share keys. Both run in turn in one process, so
that other programs disturb both alike; medians. Keys of 64 channels compared by L2 and values of
256, those of the shipped weights, for one object in frames of 16:9.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from vostool.model.attention import attend
from vostool.model.memory import KernelMemory, MemoryOptions, StackedMemory, comparable_query
from vostool.preprocess import working_size

KEY, VALUE = 64, 256  # channels
STRIDE = 16
DESIGNS = {"stm": StackedMemory, "kmn": KernelMemory}

Read = Callable[[Tensor, list[Tensor], list[Tensor]], Tensor]


def plain(memory: StackedMemory, query: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
    """Return the read by the formula, without blocks."""
    weights = memory.similarities(torch.cat(keys, dim=1), query).softmax(dim=1)
    return weights.to(values[0].dtype).mT @ torch.cat(values, dim=1)


def blockwise(
    memory: StackedMemory, query: Tensor, keys: list[Tensor], values: list[Tensor]
) -> Tensor:
    """Return the read as the network does it."""
    return attend(memory.similarities, query, keys, values)


def filled(
    design: type[StackedMemory], frames: int, size: tuple[int, int], dtype: torch.dtype
) -> tuple[StackedMemory, Tensor]:
    """Return a memory of random frames, and a comparable query."""
    torch.manual_seed(0)
    memory = design(MemoryOptions(similarity="l2", sigma=3.5))
    for _ in range(frames):
        key, value = torch.randn(1, 1, KEY, *size) / 4, torch.randn(1, 1, VALUE, *size)
        memory = memory.add(key, value.to(dtype), annotated=False)
    return memory, comparable_query(torch.randn(1, 1, KEY, *size) / 4, "l2").squeeze(1)


def processor_time(call: Callable[[], object]) -> float:
    """Return milliseconds of a call."""
    start = time.process_time()
    call()
    return 1000 * (time.process_time() - start)


def compare(
    memory: StackedMemory, query: Tensor, frames: int, gradient: bool, repeat: int
) -> tuple[float, float]:
    """Return the milliseconds of the plain formula and of the blockwise read."""
    of_keys = gradient and frames > 1
    keys = [key.squeeze(1).detach().requires_grad_(of_keys) for key in memory.keys[:frames]]
    leaves = keys if of_keys else []
    values = [
        value.squeeze(1).detach().requires_grad_(gradient) for value in memory.values[:frames]
    ]

    def run(read: Callable[..., Tensor]) -> None:
        with torch.set_grad_enabled(gradient):
            answer = read(memory, query, keys, values)
            if gradient:
                torch.autograd.grad(answer.sum(), (*leaves, *values))

    times: dict[Callable[..., Tensor], list[float]] = {plain: [], blockwise: []}
    for turn in range(repeat + 1):
        for read, own in times.items():
            spent = processor_time(lambda read=read: run(read))  # type: ignore[misc]
            if turn:  # the first one warms up
                own.append(spent)
    before, after = (statistics.median(own) for own in times.values())
    return before, after


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[240, 320, 480])
    parser.add_argument("--frames", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--bf16", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dtype = torch.bfloat16 if given.bf16 else torch.float32
    print("| design | size | frames | | plain, ms | blockwise, ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    for size in given.sizes:
        height, width = working_size(9 * given.sizes[0], 16 * given.sizes[0], size, STRIDE)
        grid = height // STRIDE, width // STRIDE
        for name, design in DESIGNS.items():
            memory, query = filled(design, max(given.frames), grid, dtype)
            cases = [(frames, False) for frames in given.frames]
            for frames, gradient in (*cases, (given.frames[0], True), (1, True)):
                before, after = compare(memory, query, frames, gradient, given.repeat)
                what = "with gradient" if gradient else ""
                print(
                    f"| {name} | {size} | {frames} | {what} | {before:.1f} | {after:.1f} | "
                    f"{before / after:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
