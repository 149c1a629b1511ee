"""The masks of a benchmark's clips: predicted one after the other, or by a pool of workers."""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count, islice, takewhile
from pathlib import Path
from typing import TypeAlias

import numpy as np

from vostool.allocator import bound_arenas
from vostool.device import oom_as_device_error
from vostool.errors import InputError, VostoolError
from vostool.evaluate.disturbed import known_objects
from vostool.evaluate.protocols import BenchmarkClip
from vostool.evaluate.state import ClipDone
from vostool.files import make_folder
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
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
from vostool.progress import ProgressCallback
from vostool.scale.scheduler import Standing, longest_first, run_all
from vostool.scale.work import Pool, Task, Work

Predicted: TypeAlias = Iterator[tuple[BenchmarkClip, ClipDone]]
# called with the number of frames done of the clips at hand, and the name of the clip if it is one
Show: TypeAlias = Callable[[int, str], None]


def in_turn(
    clips: Iterable[BenchmarkClip], predictor: Predictor, masks: Path, show: Show
) -> Predicted:
    """Predict clips into `masks`/<clip>, one after the other, and yield what is done of each."""
    for clip in clips:

        def report(frames: int, name: str = clip.name) -> None:
            show(frames, name)

        yield clip, predict(clip, predictor, masks / clip.name, report)


def in_pool(
    clips: Iterable[BenchmarkClip],
    pool: Pool[BenchmarkClip],
    counts: Mapping[str, int | None],
    show: Show,
) -> Predicted:
    """Have a pool predict clips, the longest first, and yield what is done of each as it ends."""
    tasks = [
        Task(clip.name, clip, cost=(counts[clip.name] or 1) * max(1, len(clip.ids)))
        for clip in clips
    ]

    taken = 0  # results

    def report(standing: Standing) -> None:
        if standing.done == taken:  # else the frames of one that has just ended would be missing
            show(sum(each.done for each in standing.running), "")

    for result in run_all(longest_first(tasks), pool, report=report, unit=""):
        if result.error is not None:
            raise result.error
        yield result.task.job, result.value
        taken += 1


@dataclass(frozen=True)
class ClipWork:
    """What a worker loads: called, it returns what predicts a clip by the model of some options."""

    options: ModelOptions
    masks: Path  # the folder with one folder of masks per clip

    def __call__(self) -> Work[BenchmarkClip, ClipDone]:
        """Load the model; raises what `load_predictor` does."""
        bound_arenas()
        return partial(predict_clip, load_predictor(self.options), self.masks)


def predict_clip(
    predictor: Predictor, masks: Path, clip: BenchmarkClip, progress: ProgressCallback
) -> ClipDone:
    """Predict a clip into its folder among the masks, as `predict`."""
    return predict(clip, predictor, masks / clip.name, lambda done: progress(done, None, ""))


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
