"""Scores of masks against the truth, clip by clip, in worker processes.

Nothing is skipped: a mask that is missing, of another size or with an id that the clip has
not is an error that names the file. The worker processes never import torch.
"""

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from vostool.errors import DeviceError, InputError, MaskError
from vostool.evaluate.metrics import score_frame
from vostool.evaluate.protocols import BenchmarkClip
from vostool.evaluate.results import ClipScores, ObjectScores
from vostool.media.labels import VOID, LabelMap
from vostool.media.masks import read_values
from vostool.scale.processes import end_with, without_interrupts
from vostool.threads import available_cores

PROCESSES = 2


class Scorer:
    """Scores clips in worker processes while the network runs; a context manager.

    The workers end with the block at once if an exception leaves it, and with this process,
    however that ends. If one of them dies, DeviceError is raised in place of the future's error.
    """

    def __init__(self, processes: int | None = None) -> None:
        """Have at most so many processes; by default one for each core, but at least two."""
        self._others = set(multiprocessing.active_children())
        context = multiprocessing.get_context("spawn")  # a fork would copy locks of torch's threads
        # nothing is ever sent: workers wait for its end, which comes when this process is gone
        life, self._life = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(
            processes or max(PROCESSES, available_cores()),
            mp_context=context,
            initializer=begin_work,
            initargs=(life,),
        )

    def submit(self, clip: BenchmarkClip, folder: Path) -> Future[ClipScores]:
        """Queue the masks of a clip, in a folder, for scoring."""
        with without_interrupts():
            return self._pool.submit(score_clip, clip, folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if problem is not None:  # their results are no longer needed
            for process in set(multiprocessing.active_children()) - self._others:
                process.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._life.close()
        if isinstance(problem, BrokenProcessPool):
            raise DeviceError("a scoring process died, possibly out of memory") from problem


def begin_work(life: Connection) -> None:
    """Prepare a worker: it ends when `life` does, and has a lower priority than the network."""
    Thread(target=end_with, args=(life,), name="end-with-parent", daemon=True).start()
    cv2.setNumThreads(1)
    if hasattr(os, "nice"):
        os.nice(10)


def score_clips(
    clips: Sequence[BenchmarkClip], predictions: Path, processes: int | None = None
) -> list[ClipScores]:
    """Score masks that are all there, in `predictions`/<clip>; in the order of the clips.

    Raises InputError if a folder or frame is missing, MaskError for a mask that cannot be used.
    """
    for clip in clips:
        check_complete(clip, predictions / clip.name)
    with Scorer(processes) as scorer:
        # the longest first, so that none is left to run alone at the end
        longest = sorted(clips, key=lambda clip: -len(clip.truth))
        futures = {clip.name: scorer.submit(clip, predictions / clip.name) for clip in longest}
        return [futures[clip.name].result() for clip in clips]


def check_complete(clip: BenchmarkClip, folder: Path) -> None:
    """Raise InputError unless a folder has a mask for each scored frame."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the masks of the clip {clip.name}")
    found = {path.stem for path in folder.glob("[!.]*.png")}
    if not found:
        raise InputError(f"{folder}: expected masks such as 00000.png, found none")
    missing = [frame for frame in clip.truth if frame not in found]
    if missing:
        more = f", nor {len(missing) - 1} others" if len(missing) > 1 else ""
        raise InputError(f"{folder / f'{missing[0]}.png'}: no such mask{more}")


def score_clip(clip: BenchmarkClip, folder: Path) -> ClipScores:
    """Return the scores of one clip's masks; raises InputError or MaskError."""
    check_complete(clip, folder)
    scores: dict[int, list[tuple[float, float]]] = {id_: [] for id_ in clip.objects}
    entered: list[int] = []
    for frame, path in clip.truth.items():
        entered += [id_ for id_, first in clip.objects.items() if first == frame]
        truth = read_truth(path, clip)
        predicted = read_prediction(folder / f"{frame}.png", truth.shape, clip)
        for id_, score in zip(entered, score_frame(truth, predicted, entered), strict=True):
            scores[id_].append(score)
    objects = {
        id_: ObjectScores(
            j=[j for j, _ in pairs],
            f=[f for _, f in pairs],
            group=clip.groups[id_] if clip.groups else None,
        )
        for id_, pairs in scores.items()
    }
    return ClipScores(name=clip.name, frames=list(clip.truth), objects=objects)


def read_truth(path: Path, clip: BenchmarkClip) -> LabelMap:
    """Read a mask of the truth, void as background (the official tool ignores it)."""
    values = read_values(path)
    if clip.white:
        return single_object(values, path)
    return np.where(values == VOID, np.uint8(0), values)


def single_object(values: LabelMap, path: Path) -> LabelMap:
    """Return a mask of one object with 1 for it; raises MaskError unless it is all 1 or all 255."""
    value = values.max(initial=0)
    if value not in (0, 1, VOID) or ((values != 0) & (values != value)).any():
        found = ", ".join(map(str, np.unique(values)[:5]))
        raise MaskError(f"{path}: expected 0 and 255, or 0 and 1, found {found}")
    return np.minimum(values, 1)


def read_prediction(path: Path, shape: tuple[int, ...], clip: BenchmarkClip) -> LabelMap:
    """Read a predicted mask, (H, W) as the truth.

    Raises MaskError if it is of another size, or holds another id.
    """
    values = read_values(path)
    if values.shape != shape:
        found, expected = ("{1}x{0}".format(*each) for each in (values.shape, shape))
        raise MaskError(f"{path}: mask is {found}, the truth {expected}")
    if clip.white:
        return single_object(values, path)
    count = np.bincount(values.ravel(), minlength=256)
    count[[0, *clip.ids]] = 0
    if count.any():
        raise MaskError(
            f"{path}: holds object {count.argmax()} ({count.max()} pixels), the clip has "
            f"{', '.join(map(str, clip.ids)) or 'none'}"
        )
    return values
