"""Measure `vostool segment` on large frames, beside another commit, whose outputs are compared.

    python -m tests.bench.large [--against COMMIT] [--heights 1080 2160] [--frames 20]
        [--outputs masks,overlay] [--size 240] [--threads 2] [--rounds 3]

Each run is a process of its own, on a synthetic film of two soft-edged discs that cross a moving
ground; the commits take turns. Printed are medians: milliseconds a frame end to end, of the network
within that, and of the processor's time, how fast it is beside the network alone, and the peak of
RAM. "same" says that every file written, but for run.json and states, is the same to the byte.
"""

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from fractions import Fraction
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

RATE = Fraction(25)


def make_film(folder: Path, height: int, frames: int) -> tuple[Path, Path]:
    """Write a film of 16:9 and the mask of its first frame; return their paths."""
    import cv2
    import numpy as np

    from vostool.media.masks import write_mask
    from vostool.media.writer import VideoWriter

    width = height * 8 // 9 * 2  # even, as H.264 has it
    coarse = np.random.default_rng(0).integers(0, 160, (height // 24, width // 24, 3), np.uint8)
    ground = np.asarray(
        cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8
    )
    video, mask = folder / f"{height}.mp4", folder / f"{height}.png"
    with VideoWriter(video, width=width, height=height, rate=RATE) as writer:
        for index in range(frames):
            rgb = np.roll(ground, 2 * index, axis=1)
            labels = np.zeros((height, width), np.uint8)
            shift = index * height // 200
            for id_, colour, column in (
                (1, (240, 200, 40), width // 4 + shift),
                (2, (60, 120, 250), 3 * width // 4 - shift),
            ):
                where, radius = (column, height // 2), height // 5
                cv2.circle(rgb, where, radius, colour, -1, cv2.LINE_AA)
                cv2.circle(labels, where, radius, id_, -1)
            if not index:
                write_mask(mask, labels)
            writer.write(rgb, index / RATE)
    return video, mask


def measure(case: Mapping[str, Any]) -> dict[str, Any]:
    """Return seconds of a run by the wall's and the processor's clock, its peak, and a digest."""
    from vostool.benchmark.speed import peak_ram
    from vostool.inference.loading import load_predictor
    from vostool.inference.options import ModelOptions
    from vostool.segment.job import Job
    from vostool.segment.run import segment

    options = ModelOptions(size=case["size"], device=case["device"], precision=case["precision"])
    predictor = load_predictor(options)
    output = Path(case["output"])
    job = Job(Path(case["video"]), (case["mask"],), output, tuple(case["outputs"]), states=False)
    begun = time.process_time()
    report = segment(job, predictor)
    return {
        "wall": report.seconds.total / report.frames,
        "network": report.seconds.network / report.frames,
        "cpu": (time.process_time() - begun) / report.frames,
        "peak": peak_ram(),
        "digest": digest_of(output),
    }


def digest_of(folder: Path) -> str:
    """Return a hash of all files of a run but its report."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "run.json":
            whole.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return whole.hexdigest()


def in_process(tree: Path, case: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Return what `measure` does in a process that imports a checkout."""
    from tests.bench.peers import environment

    with TemporaryDirectory(prefix="vostool-large-") as folder:
        command = [sys.executable, __file__, "--worker", json.dumps({**case, "output": folder})]
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment(tree, threads),
            check=True,
            stdout=subprocess.PIPE,
        )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def row(name: str, runs: list[dict[str, Any]], same: str) -> str:
    """Return a line of the table: medians of some runs."""
    wall, network, cpu, peak = (
        statistics.median(run[key] for run in runs) for key in ("wall", "network", "cpu", "peak")
    )
    shown = f"{1000 * wall:.0f} | {1000 * network:.0f} | {1000 * cpu:.0f}"
    return f"| {name} | {shown} | {network / wall:.0%} | {peak:.0f} | {same} |"


def main() -> None:
    """Measure, and print a line for each height and commit."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--against", metavar="COMMIT")
    parser.add_argument("--heights", type=int, nargs="+", default=[1080, 2160])
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--outputs", default="masks,overlay")
    parser.add_argument("--size", type=int, help="of the network's input; by default the model's")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(measure(json.loads(given.worker))))
        return
    from tests.bench.peers import ROOT, checkout  # not of the checkout that is measured

    print("| | wall, ms | network, ms | processor, ms | of the network | peak, MB | same |")
    print("|---|---|---|---|---|---|---|")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="vostool-large-")))
        trees = {"now": ROOT}
        if given.against:
            trees = {given.against: stack.enter_context(checkout(given.against)), **trees}
        for height in given.heights:
            video, mask = make_film(folder, height, given.frames)
            case = {name: getattr(given, name) for name in ("size", "precision", "device")}
            case |= {"video": str(video), "mask": str(mask), "outputs": given.outputs.split(",")}
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
            for _, (name, tree) in product(range(given.rounds), trees.items()):
                runs[name].append(in_process(tree, case, given.threads))
            digests = {run["digest"] for each in runs.values() for run in each}
            for name, each in runs.items():
                print(row(f"{height}, {name}", each, "yes" if len(digests) == 1 else "NO"))


if __name__ == "__main__":
    main()
