"""The way through a video: frames and given masks in, label maps out.

`follow` runs the frame loop for every command that reads a video: a thread decodes ahead while
the network follows the objects.
"""

import logging
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vostool.device import (
    is_out_of_memory,
    release_memory,
    synchronize,
)
from vostool.inference.oom import LimitChange, PendingFrames, ReplayBuffer
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.media.frame import Frame
from vostool.media.labels import LabelMap
from vostool.preprocess import Size, label_map
from vostool.propagation.frame_loop import (
    Prediction,
    propagate,
)

log = logging.getLogger(__name__)


@dataclass
class Stopwatch:
    """Seconds of the network, and of all from the first frame asked for to the last written."""

    network: float = 0.0
    total: float = 0.0
    _since: float = 0.0

    def start(self) -> None:
        """Let the network's clock run."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stop the network's clock."""
        self.network += time.perf_counter() - self._since


@torch.no_grad()
def predict(
    frames: Iterable[Frame],
    given: GivenMasks,
    predictor: Predictor,
    watch: Stopwatch,
    lowered: list[LimitChange] | None = None,
) -> Generator[tuple[Frame, Prediction[Any]], None, None]:
    """Yield every frame with what the network makes of it, at the size at which it works.

    Where memory runs out, it goes on with less, says so in the log, and adds that to
    `lowered`. Raises what PyTorch does once nothing is left to lower.
    """
    past = ReplayBuffer(predictor.references, predictor.memory_frames)
    with closing(PendingFrames(frames, given.size, predictor.device)) as supply:
        while True:
            try:
                yield from attempt(supply, given.at(supply.size), predictor, watch, past)
                return
            except (RuntimeError, MemoryError) as error:
                limits = predictor.limits.lower(past.objects, len(past))
                if limits is None or supply.at_work is None or not is_out_of_memory(error):
                    raise
            # behind the block, where the error holds nothing any more of what did not fit
            release_memory(predictor.device)
            frame, words = supply.at_work.index, limits.describe_change(predictor.limits)
            kind = " GPU" if predictor.device.type == "cuda" else ""
            log.warning("frame %d: out of%s memory: going on %s", frame, kind, words)
            if lowered is not None:
                lowered.append(LimitChange(frame, limits, words))
            predictor = predictor.within(limits)
            supply.size = given.size_for(predictor)


def attempt(
    supply: PendingFrames,
    given: GivenMasks,
    predictor: Predictor,
    watch: Stopwatch,
    past: ReplayBuffer,
) -> Iterator[tuple[Frame, Prediction[Any]]]:
    """Follow the frames from the one at work on, behind those of the past; adds to these."""

    def images() -> Iterator[Tensor]:
        for image in supply.images():
            watch.start()
            yield image

    known = past.at(supply.size, predictor.device)
    for prediction in propagate(
        images(), given, predictor.segmenter, predictor.references, predictor.correction, known
    ):
        synchronize(predictor.device)
        watch.stop()
        frame, image = supply.done()
        past.add(image, prediction, bool(given.ids.get(frame.index)))
        yield frame, prediction


def follow(
    frames: Iterable[Frame],
    given: GivenMasks,
    predictor: Predictor,
    watch: Stopwatch,
    lowered: list[LimitChange] | None = None,
) -> Iterator[tuple[Frame, LabelMap]]:
    """Yield every frame with its label map, at the frame's own size; `lowered` as for `predict`.

    Where a mask is given, its objects come out just as they went in.
    """
    with closing(predict(frames, given, predictor, watch, lowered)) as predictions:
        for frame, prediction in predictions:
            labels = labels_of(prediction, frame.rgb.shape[:2])
            if given.is_empty(frame.index):
                labels[:] = 0
            elif frame.index in given.paths:
                truth = given.labels(frame.index)
                labels[np.isin(labels, given.ids[frame.index])] = 0
                labels = np.where(truth > 0, truth, labels)
            yield frame, labels


def labels_of(prediction: Prediction[Any], size: Size) -> LabelMap:
    """Return a prediction's label map (H, W); made in RAM if its device has no room for that."""
    try:
        return label_map(prediction.masks, prediction.ids, size)
    except torch.OutOfMemoryError:
        masks = prediction.masks.cpu()
    return label_map(masks, prediction.ids, size)
