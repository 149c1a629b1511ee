"""How long each stage of the network takes: a predictor whose calls are timed.

The clock wraps the calls of the network from outside, so that the model and the frame loop are
unchanged, and so are the masks.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from vostool.device import synchronize
from vostool.inference.predictor import Predictor
from vostool.model.interface import (
    LimitedMemory,
    RecurrentModel,
    Segmenter,
    memory_limit,
    prepare_match,
)
from vostool.propagation.correction import Goal, GradientCorrection

STAGES = ("encode", "memorize", "segment", "correct")  # the calls that are timed


class StageClock:
    """Seconds of each stage; a stage within another counts towards the outer one."""

    def __init__(self, device: torch.device) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._device = device
        self._within = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the duration of the block to a stage."""
        if self._within:
            yield
            return
        self._within = True
        synchronize(self._device)  # work queued before does not belong to this stage
        since = time.perf_counter()
        try:
            yield
            synchronize(self._device)
        finally:
            self.seconds[name] += time.perf_counter() - since
            self._within = False


class TimedSegmenter:
    """A `Segmenter` that times the calls of another."""

    def __init__(self, segmenter: Segmenter[Any, Any], clock: StageClock) -> None:
        self._segmenter, self._clock = segmenter, clock
        self.stride = segmenter.stride
        if isinstance(segmenter, RecurrentModel):
            self.memory_every = segmenter.memory_every

    @property
    def memory_frames(self) -> int | None:
        """The limit of its memory bank, if it has one; see `LimitedMemory`."""
        return memory_limit(self._segmenter)

    @memory_frames.setter
    def memory_frames(self, most: int | None) -> None:
        limited = copy(self._segmenter)  # others may share it
        if isinstance(limited, LimitedMemory):
            limited.memory_frames = most
        self._segmenter = limited

    def encode(self, image: Tensor) -> Any:
        """See `Segmenter.encode`."""
        with self._clock.stage("encode"):
            return self._segmenter.encode(image)

    def memorize(
        self,
        features: Any,
        masks: Tensor,
        memory: Any = None,
        annotated: bool = False,
        **keep: bool,
    ) -> Any:
        """See `RecurrentModel.memorize`."""
        with self._clock.stage("memorize"):
            return self._segmenter.memorize(features, masks, memory, annotated, **keep)

    def segment(self, features: Any, memory: Any) -> Tensor:
        """See `Segmenter.segment`."""
        with self._clock.stage("segment"):
            return self._segmenter.segment(features, memory)

    def prepare_match(self, features: Any, query: Any) -> Callable[[Tensor], Tensor]:
        """See `MatchingModel.prepare_match`."""
        logits_of = prepare_match(self._segmenter, features, query)

        def timed_logits(masks: Tensor) -> Tensor:
            with self._clock.stage("segment"):
                return logits_of(masks)

        return timed_logits


@dataclass(frozen=True)
class TimedCorrection(GradientCorrection):
    """A correction that is timed, with the calls of the network that it makes."""

    clock: StageClock = field(kw_only=True)

    def __call__(
        self,
        segmenter: Segmenter[Any, Any],
        features: Any,
        masks: Tensor,
        goals: Sequence[Goal[Any]],
    ) -> Tensor:
        """See `GradientCorrection`."""
        with self.clock.stage("correct"):
            return super().__call__(segmenter, features, masks, goals)


def timed(predictor: Predictor, clock: StageClock) -> Predictor:
    """Return a predictor with the same masks whose stages are timed."""
    correction = predictor.correction
    if correction is not None:
        correction = TimedCorrection(**asdict(correction), clock=clock)
    return replace(
        predictor, network=TimedSegmenter(predictor.network, clock), correction=correction
    )
