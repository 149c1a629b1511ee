"""`vostool eval`: follow the objects of every clip of a benchmark, and score what comes out.

The network works on the next clip while the masks of the last one are scored. After each
clip the folder's run.json says so; an interrupted run goes on from there, and only if all
options are the same: no result of another run is ever taken.
"""

import json
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock, Timeout

from vostool import __version__
from vostool.device import out_of_memory_is_told
from vostool.errors import InputError, OutputError, VostoolError
from vostool.evaluate.benchmarks import Benchmark, BenchmarkClip
from vostool.evaluate.outcome import MASKS, STATE, make_results, write_results
from vostool.evaluate.results import FILE, ClipScores, Results, Speed
from vostool.evaluate.scoring import Scorer
from vostool.files import make_folder, output_folder, write_text
from vostool.inference.oom import Lowered
from vostool.inference.predictor import GivenMasks, Model, Stopwatch, follow
from vostool.inference.prefetch import WriteBehind
from vostool.media.folder import list_images
from vostool.media.labels import VOID, LabelMap
from vostool.media.masks import write_mask
from vostool.media.video import probe, read_undamaged

Progress = Callable[[int, int | None, str], None]
LOCK = ".lock"
TOOK = ("frames", "network", "total")  # of a clip: how many, and seconds
# that, and as "lowered" the steps by which the limits of memory were lowered on the way
Done = dict[str, Any]


def evaluate(
    benchmark: Benchmark,
    model: Model,
    folder: Path,
    *,
    overwrite: bool = False,
    progress: Progress = lambda *_: None,
) -> Results:
    """Predict all clips of a benchmark into `folder`/masks/<clip>, score and report them.

    Raises OutputError if the folder holds a finished run or one with other options, and
    what predicting and scoring raise; clips that are done by then are not done again.
    """
    total = count_frames(benchmark)
    run = RunFolder(folder, describe(benchmark, model))
    scores: dict[str, Future[ClipScores]] = {}
    with run.alone(), Scorer() as scorer:
        run.claim(overwrite)
        frames = 0  # followed so far
        for number, clip in enumerate(benchmark.clips, start=1):
            words = f"{clip.name}, {number} of {len(benchmark.clips)} clips"

            def tell(done: int, before: int = frames, words: str = words) -> None:
                progress(before + done, total, words)

            if clip.name not in run.done:
                run.finish(clip.name, predict(clip, model, folder / MASKS / clip.name, tell))
            frames += int(run.done[clip.name]["frames"])
            if clip.objects:
                scores[clip.name] = scorer.submit(clip, folder / MASKS / clip.name)
        progress(frames, frames, "scoring")
        clips = [future.result() for future in scores.values()]
        speed = total_speed(run.done, model)
        lowered = {name: done["lowered"] for name, done in run.done.items() if done["lowered"]}
        results = make_results(benchmark, folder / MASKS, clips, run.description, speed, lowered)
        write_results(folder, results)
        run.close()
    return results


def count_frames(benchmark: Benchmark) -> int | None:
    """Return how many frames there are to follow, as far as the containers know.

    Raises InputError if those of a clip are not there, or not as many as its truth has.
    """
    total: int | None = 0
    for clip in benchmark.clips:
        if clip.source is None:
            raise InputError(f"{benchmark.root}: no video and no frames of the clip {clip.name!r}")
        frames = probe(clip.source).frames
        if clip.masks and frames is not None and frames != clip.masks:
            raise InputError(f"{clip.source}: has {frames} frames, the truth {clip.masks}")
        total = None if total is None or frames is None else total + frames
    return total


def describe(benchmark: Benchmark, model: Model) -> dict[str, Any]:
    """Return all that decides about the masks of a run, as JSON has it."""
    network = model.identity
    description = {
        "vostool": __version__,
        "benchmark": benchmark.name,
        "root": str(benchmark.root.resolve()),
        "split": benchmark.split,
        "clips": [clip.name for clip in benchmark.clips],
        "options": {
            **model.options,
            "model": network["model"],
            "weights_sha256": network["sha256"],  # wherever the file lies
            "settings": network["settings"],
        },
    }
    return json.loads(json.dumps(description))


@dataclass(frozen=True)
class State:
    """What run.json says: what the run is, how it ended, and its clips that are done."""

    description: dict[str, Any]
    status: Literal["running", "done"]
    done: dict[str, Done]


def read_state(path: Path) -> State:
    """Read run.json; raises OutputError if a file of that name is something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        status, done = found.pop("status"), found.pop("done")
        if status not in ("running", "done") or not isinstance(found.get("options"), dict):
            raise ValueError(status)
        counted = {
            clip: {name: float(took[name]) for name in TOOK} | {"lowered": list(took["lowered"])}
            for clip, took in done.items()
        }
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise OutputError(f"{path}: not a run of vostool; choose another -o") from error
    return State(found, status, counted)


def holds(folder: Path, benchmark: Benchmark, model: Model) -> bool:
    """Return whether a folder holds this very run, finished; raises OutputError."""
    if not (folder / STATE).exists():
        return False
    state = read_state(folder / STATE)
    same = state.description == describe(benchmark, model)
    return same and state.status == "done" and (folder / FILE).exists()


class RunFolder:
    """The folder of a run and what is done in it: run.json, rewritten after every clip."""

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        """Look at a folder for a run as it is described."""
        self.folder, self.description = folder, description
        self.done: dict[str, Done] = {}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out of the folder; raises OutputError if one is at work in it."""
        lock = self.folder / LOCK
        with output_folder(self.folder):
            try:
                with FileLock(lock, timeout=0):
                    try:
                        yield
                    finally:
                        lock.unlink(missing_ok=True)
            except Timeout as error:
                raise OutputError(f"{self.folder}: another vostool is at work in it") from error

    def claim(self, overwrite: bool) -> None:
        """Begin a run in the folder, or go on with it; raises OutputError."""
        if overwrite:
            self.clear()
        if not (self.folder / STATE).exists():
            if (self.folder / FILE).exists() or (self.folder / MASKS).exists():
                raise OutputError(f"{self.folder}: holds results; choose another -o")
            make_folder(self.folder / MASKS)
            return self.write("running")
        state = read_state(self.folder / STATE)
        if state.description != self.description:
            raise OutputError(
                f"{self.folder}: holds a run with another {self.difference(state.description)}; "
                "choose another -o or give --overwrite"
            )
        if state.status == "done":
            raise OutputError(
                f"{self.folder}: holds this run, finished; choose another -o or give --overwrite"
            )
        self.done = state.done
        return None

    def difference(self, found: dict[str, Any]) -> str:
        """Name the first thing in which a run that was found differs from this one."""
        ours = {**self.description, **self.description["options"]}
        theirs = {**found, **found.get("options", {})}
        names = (name for name in (*ours, *theirs) if name != "options")
        missing = object()
        different = (n for n in names if ours.get(n, missing) != theirs.get(n, missing))
        return next(different, "set of options")

    def finish(self, clip: str, done: Done) -> None:
        """Note that the masks of a clip are all there."""
        self.done[clip] = done
        self.write("running")

    def close(self) -> None:
        """Note that the run is finished."""
        self.write("done")

    def write(self, status: str) -> None:
        """Write run.json."""
        content = {**self.description, "status": status, "done": self.done}
        write_text(self.folder / STATE, json.dumps(content, indent=1) + "\n")

    def clear(self) -> None:
        """Remove an older run, and nothing that is not one."""
        if not (self.folder / STATE).exists():
            return
        try:
            shutil.rmtree(self.folder / MASKS, ignore_errors=True)
            names = (FILE, STATE, "report.html")
            tables = self.folder.glob("*_results-*.csv")
            for path in (*(self.folder / name for name in names), *tables):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written: {error.strerror}") from error


def predict(
    clip: BenchmarkClip, model: Model, folder: Path, tell: Callable[[int], None] = lambda _: None
) -> Done:
    """Write a mask for every frame of a clip; return what it took."""
    if clip.source is None:
        raise VostoolError(f"{clip.name}: has no frames")
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    info = probe(clip.source)
    numbers = frame_numbers(clip)
    given = GivenMasks(
        {numbers[frame]: mask.path for frame, mask in clip.given.items()},
        info,
        model,
        only={numbers[frame]: mask.ids for frame, mask in clip.given.items()},
        doubt=False,
    )
    watch, lowered = Stopwatch(), list[Lowered]()
    frames, started = 0, time.perf_counter()

    def write(name: str, labels: LabelMap) -> None:
        write_mask(folder / f"{name}.png", labels * np.uint8(VOID) if clip.white else labels)

    with out_of_memory_is_told(model.device), WriteBehind() as behind:
        pictures = read_undamaged(clip.source)
        for frame, labels in follow(pictures, given, model, watch, lowered):
            behind.submit(partial(write, frame.name, labels))
            frames += 1
            tell(frames)
    seconds = {"network": watch.network, "total": time.perf_counter() - started}
    return {"frames": frames, **seconds, "lowered": [step.report for step in lowered]}


def frame_numbers(clip: BenchmarkClip) -> dict[str, int]:
    """Return the numbers of the frames that are given masks, by name; raises InputError."""
    if clip.source is not None and clip.source.is_dir():
        numbers = {path.stem: i for i, path in enumerate(list_images(clip.source))}
    else:
        numbers = {frame: int(frame) for frame in clip.given if frame.isdecimal()}
    for frame, mask in clip.given.items():
        if frame not in numbers:
            raise InputError(f"{mask.path}: {clip.source} has no frame of that name")
    return numbers


def total_speed(done: dict[str, Done], model: Model) -> Speed:
    """Add up the clips of a run."""
    return Speed(
        frames=sum(int(entry["frames"]) for entry in done.values()),
        network_seconds=sum(entry["network"] for entry in done.values()),
        total_seconds=sum(entry["total"] for entry in done.values()),
        device=device_name(model.device),
        precision=str(model.precision).removeprefix("torch."),
    )


def device_name(device: torch.device) -> str:
    """Return a device with the name of its make, if it tells one."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    make = platform.processor() or platform.machine()
    return f"{device} ({make}, {torch.get_num_threads()} threads)"
