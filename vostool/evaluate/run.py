"""`vostool eval`: segment every clip of a benchmark, and score the masks.

The network runs on the next clip while the masks of the last one are scored. Each finished clip
is recorded in the folder's run.json, and the clip at hand has states like those of `segment`; an
interrupted run is resumed from there, only if all options are the same: results of different runs
are never mixed.
"""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from itertools import count, islice, takewhile
from pathlib import Path

import numpy as np
import torch

from vostool import __version__
from vostool.device import hardware_name, oom_as_device_error, precision_name
from vostool.errors import InputError, VostoolError
from vostool.evaluate.disturbed import check_known, known_objects
from vostool.evaluate.protocols import Benchmark, BenchmarkClip
from vostool.evaluate.results import FILE, ClipScores, Results, Speed
from vostool.evaluate.results_writer import MASKS, STATE, make_results, write_results
from vostool.evaluate.scoring import Scorer
from vostool.evaluate.state import ClipDone, Description, RunFolder, read_state
from vostool.files import make_folder
from vostool.files.claims import claimed
from vostool.inference.predictor import Predictor
from vostool.inference.prefetch import WriteBehind
from vostool.inference.prompts import GivenMasks
from vostool.inference.states import States
from vostool.inference.tracker import Tracker
from vostool.inference.video import Stopwatch, follow
from vostool.media.folder import list_images
from vostool.media.frame import frame_name
from vostool.media.image import is_whole_png
from vostool.media.labels import VOID, LabelMap
from vostool.media.masks import write_mask
from vostool.media.video import probe, read_undamaged
from vostool.progress import ProgressCallback, no_progress


def evaluate(
    benchmark: Benchmark,
    predictor: Predictor,
    folder: Path,
    *,
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
) -> Results:
    """Predict all clips of a benchmark into `folder`/masks/<clip>, score and report them.

    Raises OutputError if the folder holds a finished run or one with other options, what
    `check_known`, predicting and scoring raise; finished clips are not repeated, and
    KeyboardInterrupt gets a note of how many there are.
    """
    total = count_frames(benchmark)
    check_known(benchmark, predictor)
    run = RunFolder(folder, describe(benchmark, predictor))
    scores: dict[str, Future[ClipScores]] = {}
    with claimed(folder) as claim, run.at_work(claim, overwrite), Scorer() as scorer:
        frames = 0  # followed so far
        for number, clip in enumerate(benchmark.clips, start=1):
            words = f"{clip.name}, {number} of {len(benchmark.clips)} clips"

            def report(done: int, before: int = frames, words: str = words) -> None:
                progress(before + done, total, words)

            if clip.name not in run.done:
                run.finish(clip.name, predict(clip, predictor, folder / MASKS / clip.name, report))
            frames += run.done[clip.name].frames
            if clip.objects:
                scores[clip.name] = scorer.submit(clip, folder / MASKS / clip.name)
        progress(frames, frames, "scoring")
        clips = [future.result() for future in scores.values()]
        speed = total_speed(run.done, predictor)
        lowered = {name: done.lowered for name, done in run.done.items() if done.lowered}
        results = make_results(
            benchmark,
            folder / MASKS,
            clips,
            run.description.options,
            speed,
            lowered,
            predictor.weights,
            warnings=[line for done in run.done.values() for line in done.warnings],
        )
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


def describe(benchmark: Benchmark, predictor: Predictor) -> Description:
    """Return all settings that affect the masks of a run."""
    network = predictor.identity
    return Description(
        vostool=__version__,
        benchmark=benchmark.name,
        root=str(benchmark.root.resolve()),
        split=benchmark.split,
        clips=[clip.name for clip in benchmark.clips],
        options={
            **predictor.options,
            "model": network.model,
            "weights_sha256": network.sha256,  # wherever the file lies
            "settings": network.settings,
        },
    )


def holds(folder: Path, benchmark: Benchmark, predictor: Predictor) -> bool:
    """Return whether a folder holds this very run, finished; raises OutputError."""
    if not (folder / STATE).exists():
        return False
    state = read_state(folder / STATE)
    same = state.description == describe(benchmark, predictor)
    return same and state.status == "done" and (folder / FILE).exists()


def predict(
    clip: BenchmarkClip,
    predictor: Predictor,
    folder: Path,
    report: Callable[[int], None] = lambda _: None,
) -> ClipDone:
    """Write a mask for every frame of a clip; return its frames, seconds and limits.

    What the folder holds of the same clip, begun before, is not done again.
    """
    if clip.source is None:
        raise VostoolError(f"{clip.name}: has no frames")
    info = probe(clip.source)
    numbers = frame_numbers(clip)
    given = GivenMasks(
        {numbers[frame]: mask.path for frame, mask in clip.given.items()},
        info,
        only={numbers[frame]: mask.ids for frame, mask in clip.given.items()},
        strict=False,
    )
    disturbance = predictor.disturbance
    known = None if disturbance is None else known_objects(clip, disturbance)
    watch, tracker = Stopwatch(), Tracker(predictor=predictor)
    states = States(folder, clip.source, 0, given)
    # a disturbed frame's other masks are in no state
    kept = 0 if disturbance else states.resume(tracker, whole_masks(folder, clip.source))
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    warnings: list[str] = []
    started = time.perf_counter()

    def write(name: str, labels: LabelMap) -> None:
        write_mask(folder / f"{name}.png", labels * np.uint8(VOID) if clip.white else labels)

    with oom_as_device_error(predictor.device), WriteBehind() as behind:
        pictures = read_undamaged(clip.source, notes=warnings)
        frames = sum(1 for _ in islice(pictures, kept))
        for frame, labels in follow(pictures, given, tracker, watch, known):
            behind.submit(partial(write, frame.name, labels))
            frames += 1
            report(frames)
            if disturbance is None and states.due(frames):
                behind.submit(states.writing(tracker, frames))
    states.forget(after=0)
    return ClipDone(
        frames=frames,
        timed=frames - kept,
        network=watch.network,
        total=time.perf_counter() - started,
        lowered=[step.report for step in tracker.lowered],
        warnings=warnings,
    )


def whole_masks(folder: Path, source: Path) -> int:
    """Return how many masks of a clip are there and whole, from that of the first frame on."""
    names = (
        (path.stem for path in list_images(source)) if source.is_dir() else map(frame_name, count())
    )
    paths = (folder / f"{name}.png" for name in names)
    return sum(1 for _ in takewhile(is_whole_png, paths))


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


def total_speed(done: dict[str, ClipDone], predictor: Predictor) -> Speed:
    """Add up the clips of a run."""
    return Speed(
        frames=sum(entry.timed_frames for entry in done.values()),
        network_seconds=sum(entry.network for entry in done.values()),
        total_seconds=sum(entry.total for entry in done.values()),
        device=device_name(predictor.device),
        precision=precision_name(predictor.precision),
    )


def device_name(device: torch.device) -> str:
    """Return a device with its make, and of a CPU the number of threads."""
    threads = f", {torch.get_num_threads()} threads" if device.type == "cpu" else ""
    return f"{device} ({hardware_name(device)}{threads})"
