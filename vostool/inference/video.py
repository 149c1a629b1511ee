"""Inference on a video: frames and given masks in, label maps out.

`follow` runs the frame loop for every command that reads a video: a thread decodes ahead while
the network runs.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor

from vostool.inference.cuts import OnCut
from vostool.inference.device_queue import Moment, is_over, moment, seconds_between
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

    total: float = 0.0
    _done: float = 0.0
    _laps: deque[tuple[Moment, Moment]] = field(default_factory=deque)  # that may not be over
    _since: Moment = 0.0

    @property
    def network(self) -> float:
        """Seconds of the network so far; waits for the device."""
        try:
            self._count(wait=True)
        except RuntimeError:  # the GPU failed, which ended the run: what is not known is left out
            self._laps.clear()
        return self._done

    def start(self, device: torch.device) -> None:
        """Let the network's clock run, with what the device is to do from now on."""
        self._since = moment(device)

    def stop(self, device: torch.device) -> None:
        """Stop the network's clock, once the device has done what it is to do by now."""
        self._laps.append((self._since, moment(device)))
        self._count(wait=False)

    def _count(self, wait: bool) -> None:
        while self._laps and (wait or is_over(self._laps[0][1])):
            self._done += seconds_between(*self._laps.popleft())


def predict(
    frames: Iterable[Frame],
    given: GivenMasks,
    tracker: Tracker,
    watch: Stopwatch,
    known: KnownObjects | None = None,
) -> Generator[tuple[Frame, Prediction[Any]], None, None]:
    """Yield every frame with the network's prediction, its masks those of the whole frame.

    The frames are those that follow upon the tracker's latest one. If the device runs out of
    memory, the limits are lowered, which is logged and noted in `Tracker.lowered`. Raises
    PyTorch's error once nothing is left to lower. `known` is for a disturbance.
    """
    predictor, device = tracker.predictor, tracker.predictor.device
    if predictor.disturbance is not None and known is None:
        predictor.disturbance.check_without_truth()
    ahead = resized_ahead(frames, tracker.place_ahead, device)
    with closing(ahead):
        for window in windows(ahead, predictor.loop.look_ahead):
            frame, resized = window[0]
            window_at = partial(known_frames, window, known, predictor.device)
            watch.start(device)
            if frame.begins_scene:
                tracker.forget() if given.cuts is OnCut.RESET else tracker.begin_scene()
            prediction = tracker.advance(
                frame.rgb,
                given.get(frame.index),
                resized,
                frame.index,
                window_at,
                given.absent_on(frame),
            )
            watch.stop(device)
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
