"""Inference on a video: frames and given masks in, label maps out.

`follow` runs the frame loop for every command that reads a video: a thread decodes ahead while
the network runs.
"""

import time
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from vostool.device import synchronize
from vostool.inference.oom import LimitChange, images_ahead
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.tracker import Tracker, labels_of
from vostool.media.frame import Frame
from vostool.media.labels import LabelMap
from vostool.propagation.frame_loop import Prediction


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


def predict(
    frames: Iterable[Frame],
    given: GivenMasks,
    predictor: Predictor,
    watch: Stopwatch,
    lowered: list[LimitChange] | None = None,
) -> Generator[tuple[Frame, Prediction[Any]], None, None]:
    """Yield every frame with the network's prediction, at its input size.

    If the device runs out of memory, the limits are lowered, which is logged and added to
    `lowered`. Raises PyTorch's error once nothing is left to lower.
    """
    tracker = Tracker(predictor=predictor)
    if lowered is not None:
        tracker.lowered = lowered
    ahead = images_ahead(
        frames, lambda rgb: tracker.predictor.placement(*rgb.shape[:2]), predictor.device
    )
    with closing(ahead):
        for frame, image in ahead:
            watch.start()
            prediction = tracker.advance(frame.rgb, given.get(frame.index), image, frame.index)
            synchronize(predictor.device)
            watch.stop()
            yield frame, prediction


def follow(
    frames: Iterable[Frame],
    given: GivenMasks,
    predictor: Predictor,
    watch: Stopwatch,
    lowered: list[LimitChange] | None = None,
) -> Generator[tuple[Frame, LabelMap], None, None]:
    """Yield every frame with its label map, at the frame's own size; `lowered` as for `predict`.

    Objects of a given mask are returned exactly as given.
    """
    with closing(predict(frames, given, predictor, watch, lowered)) as predictions:
        for frame, prediction in predictions:
            labels = labels_of(prediction, frame.rgb.shape[:2], given.get(frame.index))
            yield frame, np.zeros_like(labels) if given.is_empty(frame.index) else labels
