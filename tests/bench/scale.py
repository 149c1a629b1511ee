"""How far does a batch scale, and does it survive the death of what it runs on?

    python -m tests.bench.scale simulate --jobs 100000   # a stand-in for the network
    python -m tests.bench.scale workers                  # one process, then two: bytes and speed
    python -m tests.bench.scale shards                   # four at once, one killed and restarted
    python -m tests.bench.scale ray                      # two nodes, one killed; needs ray

All but the first segment 12 short clips by a tiny untrained network, and compare every file with
those of one process. Each prints its figures, and ends with code 1 if a file differs, a job is
missing or done twice, or a process is left behind.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from tests.bench.kills import differences, session
from tests.conftest import TINY, ColourNetwork, film
from vostool.inference.predictor import Predictor
from vostool.model.checkpoint import save_checkpoint
from vostool.model.stm import Stm
from vostool.progress import ProgressCallback
from vostool.scale.local import LocalPool
from vostool.scale.scheduler import Standing
from vostool.scale.work import Work, divide
from vostool.segment.batch import Done, run_before, segment_all
from vostool.segment.batch_report import JobEntry
from vostool.segment.batch_table import read_batch
from vostool.segment.job import Job, options_of
from vostool.segment.report import FramesPerSecond, RunReport, Seconds

CLIPS = 12
WAIT = 300.0  # seconds for a command, at most


@dataclass(frozen=True)
class StandIn:
    """Loads nothing: its work is to look for a job's report, and to write one."""

    weights: Path

    def __call__(self) -> Work[Job, Done]:
        cpu = torch.device("cpu")
        return partial(pretend, Predictor(ColourNetwork(), self.weights, cpu, torch.float32))


def pretend(predictor: Predictor, job: Job, progress: ProgressCallback) -> Done:
    """Do all of a job but its frames."""
    before = run_before(job, predictor)
    if before is not None and before.status == "done":
        return Done(before, already=True)
    progress(1, 1, "")
    report = report_of(predictor, job)
    (job.output / "masks").mkdir(parents=True)
    (job.output / "masks" / "00000.png").touch()
    (job.output / "run.json").write_text(report.model_dump_json(indent=2) + "\n")
    return Done(report)


def report_of(predictor: Predictor, job: Job) -> RunReport:
    """Return the report of a job without its frames."""
    video: dict[str, Any] = {
        **dict.fromkeys(("rate", "seconds")),
        **dict.fromkeys(("codec", "pixel_format", "pixel_aspect"), ""),
        **{"path": str(job.video), "width": 64, "height": 48, "frames": 100},
        **{"rotation": 0, "has_audio": False},
    }
    return RunReport.model_validate(
        {
            "versions": {},
            "network": predictor.identity,
            "options": options_of(job, predictor),
            "input": video,
            "objects": [1],
            "frames": 1,
            "seconds": Seconds(network=1.0, total=2.0),
            "fps": FramesPerSecond(network=100.0, end_to_end=50.0),
            "limits": {"size": 240, "objects_at_once": 8, "memory_frames": 8, "lowered": []},
            "status": "done",
            "warnings": [],
            "masks": str(job.output / "masks"),
        }
    )


def simulate(folder: Path, jobs: int, workers: int) -> list[str]:
    """Print what a batch of so many jobs costs besides the network; return what is wrong."""
    rows = (f"videos/{number:07}.mp4,m.png\n" for number in range(jobs))
    (folder / "t.csv").write_text("video,mask\n" + "".join(rows))
    (folder / "w").write_bytes(b"no weights")
    print(f"{jobs} jobs, {workers} workers; driver {memory():.0f} MB at its start")
    wrong = passed(folder, jobs, workers, "all")
    for number in range(0, jobs, 100):  # 1 % are to do again
        shutil.rmtree(folder / "all" / f"{number:07}")
    return wrong + passed(folder, jobs, workers, "the last 1 %")


def passed(folder: Path, jobs: int, workers: int, what: str) -> list[str]:
    """Run all jobs, and print how long that takes and how much memory."""
    started = time.perf_counter()
    template = Job(Path(), (), folder / "all", outputs=("masks",))
    table = read_batch(folder / "t.csv", template)
    read = time.perf_counter() - started
    first: list[float] = []

    def begun(standing: Standing) -> None:
        if not first:
            first.append(time.perf_counter() - started)

    counts = Counter[str]()
    entries = []
    with LocalPool(StandIn(folder / "w"), divide(workers)) as pool:
        for outcome in segment_all(table, pool, report=begun):
            entries.append(JobEntry.of(outcome))
            counts[entries[-1].status] += 1
    seconds = time.perf_counter() - started
    each = (seconds - first[0]) / jobs
    print(
        f"{what}: table read in {read:.1f} s, first job ended after {first[0]:.1f} s, all after "
        f"{seconds:.1f} s: {1e3 * each:.2f} ms a job; driver {memory():.0f} MB at most; "
        f"{dict(counts)}"
    )
    print(f"  a million on paper: {1e6 * each / 60:.0f} min", flush=True)
    numbers = {entry.number for entry in entries}
    return [] if len(numbers) == len(entries) == jobs else [f"{what}: {len(numbers)} of {jobs}"]


def memory() -> float:
    """Return the most RAM that this process has used so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def make_clips(folder: Path, frames: int) -> None:
    """Write clips of several lengths, `frames` on average, with their table and weights."""
    torch.manual_seed(0)
    save_checkpoint(folder / "w.safetensors", Stm(TINY).eval(), {})
    for number in range(CLIPS):
        length = frames // 2 + number * frames // CLIPS
        film(folder / f"{number:02}.mp4", folder / "m.png", length)
    rows = "".join(f"{number:02}.mp4,m.png\n" for number in range(CLIPS))
    (folder / "t.csv").write_text(f"video,mask\n{rows}")


def begin(folder: Path, output: str, *more: str) -> subprocess.Popen[str]:
    """Start a batch in a session of its own."""
    files = (
        "--batch",
        folder / "t.csv",
        "-o",
        folder / output,
        "--weights",
        folder / "w.safetensors",
    )
    model = ("--device", "cpu", "--size", "64", "--precision", "fp32")
    return subprocess.Popen(
        [sys.executable, "-m", "vostool", "segment", *map(str, files), *model, "--quiet", *more],
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd=Path.cwd(),
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )


def end(process: subprocess.Popen[str], codes: Sequence[int] = (0,)) -> list[str]:
    """Wait for a batch; return what is wrong with how it ended."""
    _, err = process.communicate(timeout=WAIT)
    wrong = [] if process.returncode in codes else [f"exit {process.returncode}: {err[-1000:]}"]
    time.sleep(1)
    return wrong + [f"left behind: {each}" for each in session(process.pid)]


def compare(folder: Path, output: str) -> list[str]:
    """Return in what a folder differs from that of one process, reports of batches aside."""
    found = differences(folder / output, folder / "one")
    return [each for each in found if not each.startswith("batch")]


def done_once(folder: Path, output: str) -> list[str]:
    """Return the jobs that several shards say they did, or none."""
    entries = [
        entry
        for path in (folder / output).glob("batch-*.json")
        for entry in json.loads(path.read_text())["jobs"]
    ]
    counts = Counter(each["number"] for each in entries if each["status"] == "done")
    return [f"job {number} was done by {count}" for number, count in counts.items() if count > 1]


def one_process(folder: Path) -> list[str]:
    """Run the clips in one process, for comparison."""
    started = time.perf_counter()
    wrong = end(begin(folder, "one"))
    print(f"one process: {time.perf_counter() - started:.1f} s", flush=True)
    return wrong


def workers(folder: Path) -> list[str]:
    """Run the clips in two processes."""
    started = time.perf_counter()
    wrong = end(begin(folder, "two", "--workers", "2"))
    report = json.loads((folder / "two" / "batch.json").read_text())
    busy = ", ".join(f"{each['share']:.0%}" for each in report["workers"])
    print(f"two workers: {time.perf_counter() - started:.1f} s, busy {busy}")
    return wrong + compare(folder, "two")


def interrupted(folder: Path) -> list[str]:
    """Press Ctrl-C in the middle, and do the rest."""
    process = begin(folder, "stopped", "--workers", "2")
    wait_for(folder / "stopped", 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    wrong = end(process, (130,))
    print("Ctrl-C in the middle of two workers: all ended")
    return wrong + end(begin(folder, "stopped", "--workers", "2")) + compare(folder, "stopped")


def shards(folder: Path) -> list[str]:
    """Run four shards at once, of which one is killed and started again; merge their reports."""
    parts = [begin(folder, "four", "--shard", f"{number}/4") for number in range(1, 5)]
    wait_for(folder / "four", 3)
    parts[1].kill()
    parts[1].communicate()
    parts[1] = begin(folder, "four", "--shard", "2/4")
    wrong = [each for part in parts for each in end(part)]
    wrong += end(begin(folder, "four", "--merge"))
    totals = json.loads((folder / "four" / "batch.json").read_text())["totals"]
    print(f"four shards, one killed and started again: {totals}")
    return wrong + compare(folder, "four") + done_once(folder, "four")


def ray(folder: Path) -> list[str]:
    """Run the clips on a cluster of two nodes, of which one is killed in the middle."""
    cluster: Any = import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1}
    )
    node = cluster.add_node(num_cpus=1)
    process = begin(folder, "ray", "--on", f"ray:{cluster.address}", "--workers", "2")
    wait_for(folder / "ray", 3)
    cluster.remove_node(node, allow_graceful=False)
    wrong = end(process)
    cluster.shutdown()
    report = json.loads((folder / "ray" / "batch.json").read_text())
    tries = Counter(each["tries"] for each in report["jobs"])
    print(f"Ray, one of two nodes killed: {report['totals']}, tries {dict(tries)}")
    return wrong + compare(folder, "ray")


def wait_for(folder: Path, count: int) -> None:
    """Wait until so many runs have begun."""
    end_ = time.monotonic() + WAIT
    while len(list(folder.glob("*/run.json"))) < count and time.monotonic() < end_:
        time.sleep(0.05)


@contextmanager
def temporary() -> Iterator[Path]:
    """Give a folder that is removed at the end."""
    with TemporaryDirectory(prefix="vostool-scale-") as name:
        yield Path(name)


def main() -> int:
    """Run what is asked for; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("simulate", "workers", "shards", "ray"))
    parser.add_argument("--jobs", type=int, default=100_000, help="of simulate")
    parser.add_argument("--workers", type=int, default=2, help="of simulate")
    parser.add_argument("--frames", type=int, default=60, help="of the clips, on average")
    arguments = parser.parse_args()
    with temporary() as folder:
        if arguments.what == "simulate":
            wrong = simulate(folder, arguments.jobs, arguments.workers)
        else:
            make_clips(folder, arguments.frames)
            wrong = one_process(folder)
            steps = {"workers": (workers, interrupted), "shards": (shards,), "ray": (ray,)}
            for step in steps[arguments.what]:
                wrong += step(folder)
    for each in wrong:
        print(each)
    print(f"{len(wrong)} wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
