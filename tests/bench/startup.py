"""Measure what a user waits for before the first frame, beside another commit.

    python -m tests.bench.startup [--against COMMIT] [--rounds 5] [--threads 2] [--size 240]

Of the demo clip's first 20 frames, medians over processes of their own, in which the commits take
turns; seconds of the wall's clock, and of the processor's in brackets:

stages      one after another: import the command line, import the rest, load the model, read the
            video's facts, follow the first frame, and the others with all that is written
command     `vostool segment` as a user runs it, from the start of Python to its end
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from importlib import import_module
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

Seconds = tuple[float, float]  # by the wall's clock and the processor's
COMMAND = "command"


def stages(video: Path, mask: str, output: Path, size: int, frames: int) -> dict[str, Seconds]:
    """Return the seconds of each stage of a run in this process, which has imported nothing yet."""
    found: dict[str, Seconds] = {}
    latest = now()

    def note(name: str) -> None:
        nonlocal latest
        before, latest = latest, now()
        found[name] = (latest[0] - before[0], latest[1] - before[1])

    import_module("vostool.cli")
    note("import vostool.cli")
    from vostool.inference.loading import load_predictor
    from vostool.inference.options import ModelOptions
    from vostool.media.video import probe
    from vostool.segment.job import Job
    from vostool.segment.run import segment

    note("import the rest")
    predictor = load_predictor(ModelOptions(size=size, device="cpu"))
    note("load the model")
    probe(video)
    note("read the facts")

    def progress(done: int, total: int | None, words: str) -> None:
        if done == 1:
            note("first frame")

    segment(Job(video, (mask,), output, end=frames), predictor, progress)
    note("other frames")
    return found


def now() -> Seconds:
    """Return the clocks of the wall and of this process."""
    return time.perf_counter(), time.process_time()


def staged(tree: Path, threads: int, words: list[str]) -> dict[str, Seconds]:
    """Return the seconds of the stages in a process that imports a checkout."""
    from tests.bench.peers import environment

    done = subprocess.run(
        [sys.executable, __file__, "--worker", *words],
        cwd=tree,
        env=environment(tree, threads),
        check=True,
        stdout=subprocess.PIPE,
    )
    return {name: (wall, cpu) for name, (wall, cpu) in json.loads(done.stdout).items()}


def command(tree: Path, threads: int, words: list[str]) -> Seconds:
    """Return the seconds of a command of a checkout."""
    from tests.bench.peers import environment

    begun, before = time.perf_counter(), os.times()
    subprocess.run(
        [sys.executable, "-m", "vostool", *words],
        cwd=tree,
        env=environment(tree, threads),
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = os.times()
    cpu = sum(after[2:4]) - sum(before[2:4])  # of children
    return time.perf_counter() - begun, cpu


def medians(runs: list[Seconds]) -> str:
    """Return the medians of both clocks as a cell of a table."""
    wall, cpu = (statistics.median(own) for own in zip(*runs, strict=True))
    return f"{wall:.2f} ({cpu:.2f})"


def main() -> None:
    """Measure, or be the process that does."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--against", metavar="COMMIT")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", type=int, default=240)
    parser.add_argument("--worker", nargs=5, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        video, mask, output, size, frames = given.worker
        print(json.dumps(stages(Path(video), mask, Path(output), int(size), int(frames))))
        return
    from tests.bench.peers import ROOT, checkout  # not of the checkout that is measured

    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="vostool-startup-")))
        trees = {"now": ROOT}
        if given.against:
            trees = {given.against: stack.enter_context(checkout(given.against)), **trees}
        compare(given, folder, trees)


def compare(given: argparse.Namespace, folder: Path, trees: dict[str, Path]) -> None:
    """Print the table."""
    from tests.bench.peers import CLIP
    from vostool.segment.demo import render_demo

    video, (mask,) = render_demo(folder)
    runs: dict[str, dict[str, list[Seconds]]] = defaultdict(lambda: defaultdict(list))
    words = ["segment", str(video), "--mask", mask, f"--end={CLIP}", f"--size={given.size}"]
    words += ["--device=cpu", "--overwrite", "-q", "-o", str(folder / "out")]
    for turn, (name, tree) in product(range(given.rounds), trees.items()):
        output = str(folder / f"{name}-{turn}")
        worker = [str(video), mask, output, str(given.size), str(CLIP)]
        for stage, spent in staged(tree, given.threads, worker).items():
            runs[stage][name].append(spent)
        runs[COMMAND][name].append(command(tree, given.threads, words))
    print(f"| seconds, of the processor in brackets | {' | '.join(trees)} |")
    print("|---" * (1 + len(trees)) + "|")
    for stage, own in runs.items():
        print(f"| {stage} | {' | '.join(medians(own[name]) for name in trees)} |")


if __name__ == "__main__":
    main()
