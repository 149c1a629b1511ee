"""Print the table of speeds, beside those of another commit measured in the same run.

    python -m tests.bench.peers [--against COMMIT] [--sizes 240 320 480] [--objects 1 3 5 10]
        [--steps 0 10] [--precisions fp32 bf16 int8] [--device cpu] [--threads 1] [--rounds 3]
        [--minutes 20] [--end-to-end]

A figure is milliseconds a frame of the tracker, with a full memory bank: the median of several
rounds of five frames, one of them corrected where there are `steps`. Each commit has a process of
its own, and they take turns round by round, so that what else the machine does disturbs both. The
time is the processor's with one thread on a CPU, else the clock's. bf16 and int8 are left out
where the device lacks them, and what would begin after so many minutes altogether. A commit without
int8 computes in fp32 beside it.

`--end-to-end` adds what a user waits for, with two threads: milliseconds of a frame of the demo
clip, masks and overlay written, by `vostool bench`, and those of a command on 20 frames.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vostool import Tracker

ROOT = Path(__file__).parents[2]
PERIOD = 5  # frames from one that is corrected to the next, the papers' K
FILL = 2 * PERIOD  # frames that fill a memory bank of 8, each of which stays
CLIP = 20  # frames of a short clip


class Worker:
    """A process that measures one checkout; a context manager's value, see `worker`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, case: Mapping[str, Any] | None) -> float:
        """Return milliseconds a frame of a case, or of the latest one again.

        Raises RuntimeError if the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process ended: {self._process.wait()}")
        return float(line)


def environment(tree: Path, threads: int) -> dict[str, str]:
    """Return the environment in which a checkout is what Python imports."""
    return os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": str(threads)}


@contextmanager
def worker(tree: Path, threads: int) -> Iterator[Worker]:
    """Start a process that measures a checkout, and end it."""
    # this file, also where the other commit has none
    command = [sys.executable, __file__, "--worker"]
    with subprocess.Popen(
        command,
        cwd=tree,
        env=environment(tree, threads),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """Check out a commit beside this one, for a while."""
    git = ["git", "-C", str(ROOT), "worktree"]
    with TemporaryDirectory(prefix="vostool-peers-") as folder:
        tree = Path(folder) / "tree"
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def serve() -> None:
    """Answer requests on stdin: prepare a case, or measure a round of the latest one."""
    import numpy as np
    import torch

    from vostool import Tracker

    clock = time.perf_counter
    tracker, frames, count = Tracker(device="cpu"), [np.zeros((1, 1, 3), np.uint8)], 0

    def advance(steps: int) -> None:
        nonlocal count
        for _ in range(steps):
            count += 1
            tracker.step(frames[count % PERIOD])

    for line in sys.stdin:
        if (case := json.loads(line)) is not None:
            tracker, (frames, mask), count = (
                tracker_of(case),
                scene(case["size"], case["objects"]),
                0,
            )
            alone = case["device"] == "cpu" and torch.get_num_threads() == 1
            clock = time.process_time if alone else time.perf_counter
            tracker.step(frames[0], mask)
            advance(FILL)
        start = clock()
        advance(PERIOD)
        print(json.dumps(1000 * (clock() - start) / PERIOD), flush=True)


def tracker_of(case: Mapping[str, Any]) -> "Tracker":
    """Return a tracker for a case; every frame stays in its memory, to fill that soon."""
    from vostool import Tracker

    more: dict[str, Any] = {}
    if case["steps"]:
        more = {"gc_every": PERIOD, "gc_iters": case["steps"]}
    if case.get("compile"):  # older commits have no such option
        more["compile"] = True
    return Tracker(
        size=case["size"],
        precision=case["precision"],
        device=case["device"],
        memory_every=1,
        objects_at_once=case["objects"],
        **more,
    )


def scene(size: int, objects: int) -> "tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]":
    """Return frames of 16:9 that move sideways, and a mask of the first one, in stripes."""
    import numpy as np

    random = np.random.default_rng(0)
    blocks = random.integers(0, 256, (size // 16, size // 9, 3), np.uint8)
    picture = blocks.repeat(16, axis=0).repeat(16, axis=1)
    height, width, _ = picture.shape
    stripes = np.arange(width) * 2 * objects // width
    ids = np.where(stripes % 2, stripes // 2 + 1, 0).astype(np.uint8)
    return [np.roll(picture, 4 * shift, axis=1) for shift in range(PERIOD)], np.tile(
        ids, (height, 1)
    )


def measure(workers: list[Worker], cases: list[dict[str, Any]], rounds: int) -> list[float]:
    """Return the milliseconds a frame of each worker, of a case of its own: they take turns."""
    for each, case in zip(workers, cases, strict=True):
        each.ask(case)  # prepares, and warms up
    turns = [[each.ask(None) for each in workers] for _ in range(rounds)]
    return [statistics.median(own) for own in zip(*turns, strict=True)]


def possible(precisions: list[str], device: str) -> list[str]:
    """Return those of some precisions that a device has."""
    from vostool.device import cpu_has_bf16, cpu_has_int8

    on_cpu = device == "cpu"
    has = {"bf16": not on_cpu or cpu_has_bf16(), "int8": on_cpu and cpu_has_int8()}
    return [each for each in precisions if has.get(each, True)]


def known_to(tree: Path, precision: str) -> str:
    """Return a precision, or fp32 for a checkout that does not have it."""
    known = f'"{precision}"' in (tree / "vostool/defaults.py").read_text()
    return precision if known else "fp32"


def compare(given: argparse.Namespace, trees: list[Path]) -> None:
    """Print a line of the table for each case, as long as there is time."""
    cases = product(given.sizes, given.objects, given.precisions, given.steps)
    end = time.monotonic() + 60 * given.minutes
    print("| size | objects | precision | steps | before, ms | now, ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    with ExitStack() as stack:
        workers = [stack.enter_context(worker(tree, given.threads)) for tree in trees]
        for values in cases:
            if time.monotonic() > end:
                print(f"left out from here on, after {given.minutes} minutes: {values}")
                return
            case = dict(zip(("size", "objects", "precision", "steps"), values, strict=True))
            case["device"] = given.device
            own = [case | {"precision": known_to(tree, case["precision"])} for tree in trees]
            print(row(*values, figures=measure(workers, own, given.rounds)), flush=True)


def row(*cells: object, figures: list[float]) -> str:
    """Return a line of a table: cells, the figures before and now, and how many times as fast."""
    *before, now = figures
    shown = [f"{before[0]:.1f}" if before else "-", f"{now:.1f}"]
    ratio = f"{before[0] / now:.2f}" if before else "-"
    return f"| {' | '.join(map(str, (*cells, *shown, ratio)))} |"


def end_to_end(rounds: int, trees: list[Path], precision: str) -> None:
    """Print what a user waits for: milliseconds of a frame in a long clip, and of a command."""
    from vostool.segment.demo import render_demo

    frame: list[list[float]] = [[] for _ in trees]
    command: list[list[float]] = [[] for _ in trees]
    with TemporaryDirectory(prefix="vostool-peers-") as folder:
        video, masks = render_demo(Path(folder))
        mask = [word for each in masks for word in ("--mask", each)]
        clip = ["segment", str(video), *mask, f"--end={CLIP}", "-o", "out", "--overwrite", "-q"]
        bench = ["bench", "--frames=50", "--repeat=1", "--json", "-q"]
        for _, (number, tree) in product(range(rounds), enumerate(trees)):
            chosen = ["--precision", known_to(tree, precision)]
            start = time.perf_counter()
            run(tree, [*clip, *chosen], folder)
            command[number].append(1000 * (time.perf_counter() - start))
            report = json.loads(run(tree, [*bench, *chosen], folder))
            frame[number].append(1000 / report["fps"]["end_to_end"])
    for words, found in (("50 frames, each", frame), (f"a command on {CLIP} frames", command)):
        figures = [statistics.median(own) for own in found]
        print(row(240, words, precision, "-", figures=figures), flush=True)


def run(tree: Path, words: list[str], folder: str) -> str:
    """Run a command of a checkout with two threads and return what it prints."""
    vostool = [sys.executable, "-m", "vostool", *words]
    return subprocess.run(
        vostool,
        cwd=folder,
        env=environment(tree, 2),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout


def main() -> None:
    """Measure, or serve the process that does."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--against", metavar="COMMIT")
    parser.add_argument("--sizes", type=int, nargs="+", default=[240, 320, 480])
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3, 5, 10])
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 10])
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16", "int8"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--end-to-end", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        serve()
        return
    given.precisions = possible(given.precisions, given.device)
    with ExitStack() as stack:
        others = [stack.enter_context(checkout(given.against))] if given.against else []
        trees = [*others, ROOT]
        compare(given, trees)
        for precision in given.precisions if given.end_to_end else ():
            end_to_end(given.rounds, trees, precision)


if __name__ == "__main__":
    main()
