"""Measure published weights beside the shipped ones: frames per second, memory, seconds to load.

    python -m tests.bench.published_speed [--sizes 240 480] [--frames 50] [--repeat 3] [--only NAME]

The weights are random, written under their makers' names at their full width: they cost what the
published ones cost. Each goes through `vostool bench` on the demo clip in a process of its own, in
32 bits. Printed is a Markdown table; the seconds to load are the median of several, in this
process, with the file in the page cache. To be run on a machine that does nothing else.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.model.published.making import STM, STM_CYCLE, export, small, write
from vostool.benchmark.report import BenchReport
from vostool.defaults import WEIGHTS
from vostool.model.checkpoint import Settings, load_checkpoint
from vostool.model.published.stcn import StcnSettings
from vostool.model.published.xmem import XmemSettings
from vostool.model.weights import find_weights

FULL: dict[str, Any] = {"key_channels": 128, "value_channels": 512}
KINDS: dict[str, Settings] = {
    "STM-Training, ResNet-18": STM_CYCLE.model_copy(update=FULL),
    "STM-Training, ResNet-50": STM_CYCLE.model_copy(update={**FULL, "backbone": "resnet50"}),
    "STM": STM.model_copy(update={**FULL, "backbone": "resnet50", "published": "stm-official"}),
    "STCN": StcnSettings(),
    "XMem": XmemSettings(),
}
LOADS = 5


def main() -> None:
    """Measure, and print a line per kind and size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[240, 480])
    parser.add_argument("--frames", type=int, default=50)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", choices=["shipped", *KINDS])
    given = parser.parse_args()
    print(
        "| weights | size | fps, network | fps, end to end | peak RAM | on the device | to load |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in ("shipped", *KINDS):
        if given.only not in (None, name):
            continue
        with TemporaryDirectory(prefix="vostool-published-") as folder:
            weights = find_weights(WEIGHTS)
            if name != "shipped":
                weights = write(Path(folder) / "model.pth", export(small(KINDS[name])))
            loading = f"{seconds_to_load(weights):.2f} s"
            for size in given.sizes:
                report = measure(weights, size, given.frames, given.repeat)
                memory = (report.memory.ram, report.memory.device)
                cells = (
                    name,
                    "{1} x {0}".format(*report.frame.working_size),
                    f"{report.fps.network:.2f}",
                    f"{report.fps.end_to_end:.2f}",
                    *("-" if each is None else f"{each:.0f} MB" for each in memory),
                    loading,
                )
                print(f"| {' | '.join(cells)} |", flush=True)


def seconds_to_load(weights: Path) -> float:
    """Return how long a weights file takes to become a network."""
    seconds = []
    for _ in range(LOADS):
        since = time.perf_counter()
        load_checkpoint(weights)
        seconds.append(time.perf_counter() - since)
    return statistics.median(seconds)


def measure(weights: Path, size: int, frames: int, repeat: int) -> BenchReport:
    """Return what `vostool bench` reports; raises CalledProcessError if it fails."""
    options = {"weights": weights, "size": size, "frames": frames, "repeat": repeat}
    flags = [f"--{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-m", "vostool", "bench", *flags, "--precision=fp32", "--json", "-q"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return BenchReport.model_validate(json.loads(done.stdout))


if __name__ == "__main__":
    main()
