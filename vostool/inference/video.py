"""Inference on a video: frames and given masks in, label maps out.

`follow` runs the frame loop for every command that reads a video: a thread decodes ahead while
the network runs.
"""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from torch import Tensor

from vostool.device import synchronize
from vostool.inference.cuts import OnCut
from vostool.inference.disturbance import KnownObjects, known_frames
from vostool.inference.oom import resized_ahead
from vostool.inference.prompts import GivenMasks
from vostool.inference.soft import PendingFrame, SegmentedFrame, SoftMasks
from vostool.inference.tracker import Tracker, labels_of
from vostool.media.frame import Frame
from vostool.media.labels import LabelMap
from vostool.propagation.frames import Prediction, windows

Finish: TypeAlias = Callable[[Frame, Prediction[Any]], Prediction[Any]]


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
    tracker: Tracker,
    watch: Stopwatch,
    known: KnownObjects | None = None,
) -> Generator[tuple[Frame, Prediction[Any]], None, None]:
    """Yield every frame with the network's prediction, at its input size.

    The frames are those that follow upon the tracker's latest one. If the device runs out of
    memory, the limits are lowered, which is logged and noted in `Tracker.lowered`. Raises
    PyTorch's error once nothing is left to lower. `known` is for a disturbance.
    """
    predictor, device = tracker.predictor, tracker.predictor.device
    if predictor.disturbance is not None and known is None:
        predictor.disturbance.check_without_truth()
    ahead = resized_ahead(frames, lambda rgb: tracker.predictor.placement(*rgb.shape[:2]), device)
    with closing(ahead):
        for window in windows(ahead, predictor.loop.look_ahead):
            frame, resized = window[0]
            window_at = partial(known_frames, window, known, predictor.device)
            watch.start()
            if given.cuts is OnCut.RESET and frame.begins_scene:
                tracker.forget()
            prediction = tracker.advance(
                frame.rgb,
                given.get(frame.index),
                resized,
                frame.index,
                window_at,
                given.absent_on(frame),
            )
            synchronize(device)
            watch.stop()
            yield frame, prediction


def follow(
    frames: Iterable[Frame],
    given: GivenMasks,
    tracker: Tracker,
    watch: Stopwatch,
    known: KnownObjects | None = None,
    finish: Finish | None = None,
) -> Generator[tuple[Frame, LabelMap], None, None]:
    """Yield every frame with its label map, at the frame's own size; else as `predict`.

    Objects of a given mask are returned exactly as given. `finish` is given each prediction,
    and returns the one that counts; remembered is the first one.
    """
    with closing(segmented(frames, given, tracker, watch, known, finish=finish)) as found:
        for each in found:
            yield each.frame, each.segmented().labels


def segmented(
    frames: Iterable[Frame],
    given: GivenMasks,
    tracker: Tracker,
    watch: Stopwatch,
    known: KnownObjects | None = None,
    soft: bool = False,
    finish: Finish | None = None,
) -> Generator[PendingFrame, None, None]:
    """Yield every frame as `follow` does, on request with its soft masks; labels are pending."""
    with closing(predict(frames, given, tracker, watch, known)) as predictions:
        for frame, prediction in predictions:
            prediction = prediction if finish is None else finish(frame, prediction)
            size, mask = (frame.rgb.shape[0], frame.rgb.shape[1]), given.get(frame.index)
            probable = (
                SoftMasks.of_prediction(prediction, size, frame.index, given) if soft else None
            )
            masks, ids = prediction.masks, prediction.ids  # without the features, which are large
            yield PendingFrame(frame, partial(labelled, frame, masks, ids, mask, probable))


def labelled(
    frame: Frame,
    masks: Tensor,
    ids: Sequence[int],
    given: LabelMap | None,
    soft: SoftMasks | None,
) -> SegmentedFrame:
    """Return a frame with the labels of its masks (1, N + 1, h, w), under those given for it."""
    height, width = frame.rgb.shape[:2]
    return SegmentedFrame(frame, labels_of(masks, ids, (height, width), given), soft)
