"""Measure on a GPU what can be measured nowhere else, in ten minutes.

    python -m tests.bench.gpu [--device cuda] [--minutes 9] [--quick]

Printed are the machine; frames per second end to end of a film of 1080p and of one of 4K, masks and
overlay written, beside the network's alone; by how much a compiled network's masks differ from
those of the same one as it is; and frames per second of the tracker with a full memory bank by
size, number of objects, precision, steps of the correction and `--compile`, with the most GPU
memory that each took. The cases that tell most come first; what would begin after so many minutes
is left out. `--quick` does little of each, which shows on a CPU (`--device cpu`) that all of it
runs.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch

from tests.bench.large import make_film
from tests.bench.peers import FILL, PERIOD, scene, tracker_of
from vostool.device import hardware_name, is_out_of_memory, synchronize
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.segment.job import Job
from vostool.segment.run import segment

ROUNDS = 4  # of PERIOD frames each, one of them corrected


class Case(NamedTuple):
    """What the tracker is measured on."""

    size: int
    objects: int
    precision: str
    steps: int = 0  # of the correction of every `PERIOD`th frame
    compile: bool = False


class Plan(NamedTuple):
    """All that is measured."""

    cases: list[Case]
    heights: tuple[int, ...]  # of films
    frames: int  # of each film


COMPILED = [Case(size, objects, "bf16", compile=True) for size, objects in ((240, 1), (480, 3))]
WHOLE = Plan(
    cases=[
        *COMPILED,
        *(
            Case(size, objects, precision, steps)
            for precision, steps, size, objects in product(
                ("bf16", "fp16", "fp32"), (0, 10), (240, 320, 480), (1, 3, 5, 10)
            )
        ),
    ],
    heights=(1080, 2160),
    frames=100,
)
QUICK = Plan(
    cases=[
        Case(64, 1, "fp32", compile=True),
        *(Case(64, objects, "fp32", steps) for steps, objects in product((0, 2), (1, 2))),
    ],
    heights=(144,),
    frames=6,
)


def frames_per_second(case: Case, device: torch.device) -> float:
    """Return the frames per second of the tracker, with a full memory bank."""
    tracker = tracker_of({**case._asdict(), "device": str(device)})
    frames, mask = scene(case.size, case.objects)
    tracker.step(frames[0], mask)

    def advance(steps: int) -> None:
        for _ in range(steps):
            tracker.step(frames[tracker.frames % PERIOD])

    advance(FILL)
    synchronize(device)
    begun = time.perf_counter()
    advance(ROUNDS * PERIOD)
    synchronize(device)
    return ROUNDS * PERIOD / (time.perf_counter() - begun)


def difference(case: Case, device: torch.device) -> float:
    """Return by how much the probabilities of a compiled network differ from the exact one's."""
    given = {**case._asdict(), "device": str(device)}
    exact, compiled = (tracker_of({**given, "compile": compile}) for compile in (False, True))
    frames, mask = scene(case.size, case.objects)
    most = 0.0
    for number in range(2 * PERIOD):
        soft = []
        for tracker in (exact, compiled):
            tracker.step(frames[number % PERIOD], None if number else mask)
            soft.append(tracker.soft_masks())
        most = max(most, float(abs(soft[0] - soft[1]).max()))
    return most


def compared(case: Case, device: torch.device, end: float) -> str:
    """Return `difference` in words, if there is time and memory for it."""
    if time.monotonic() > end:
        return "? (left out)"
    try:
        return f"at most {difference(case, device):.2g}"
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return "? (out of memory)"


def peak_of(call: Callable[[], float], device: torch.device) -> tuple[float, str]:
    """Return the result of a call, and the GPU memory that it took at most."""
    if device.type != "cuda":
        return call(), "-"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    result = call()
    return result, f"{torch.cuda.max_memory_allocated(device) / 1e6:.0f}"


def rows(cases: list[Case], device: torch.device, end: float) -> Iterator[str]:
    """Yield a line of the table for each case, as long as there is time."""
    for case in cases:
        if time.monotonic() > end:
            yield f"left out from here on: {case}"
            return
        try:
            speed, peak = peak_of(lambda case=case: frames_per_second(case, device), device)  # type: ignore[misc]
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            yield f"| {' | '.join(map(str, case))} | out of memory | |"
        else:
            yield f"| {' | '.join(map(str, case))} | {speed:.1f} | {peak} |"


def film_row(height: int, frames: int, device: torch.device) -> str:
    """Return a line of the table for a film of so many rows."""
    predictor = load_predictor(ModelOptions(device=str(device)))
    with TemporaryDirectory(prefix="vostool-gpu-") as folder:
        video, mask = make_film(Path(folder), height, frames)
        job = Job(video, (str(mask),), Path(folder) / "out", states=False)
        segment(job, predictor)  # warms up
        report = segment(Job(video, (str(mask),), Path(folder) / "again", states=False), predictor)
    return f"| {height} | {report.fps.end_to_end} | {report.fps.network} |"


def main() -> None:
    """Measure, and print each line as soon as it is known."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    device, plan = torch.device(given.device), QUICK if given.quick else WHOLE
    end = time.monotonic() + 60 * given.minutes
    print(f"{hardware_name(device)}, PyTorch {torch.__version__}", flush=True)
    print("\n| film, rows | end to end, frames/s | network alone |\n|---|---|---|")
    for height in plan.heights:
        print(film_row(height, plan.frames, device), flush=True)
    for case in [case for case in plan.cases if case.compile]:
        print(f"\ncompiled, {case}: differs by {compared(case, device, end)}", flush=True)
    print(f"\n| {' | '.join(Case._fields)} | frames/s | memory, MB |")
    print("|" + "---|" * (len(Case._fields) + 2))
    for row in rows(plan.cases, device, end):
        print(row, flush=True)


if __name__ == "__main__":
    main()
