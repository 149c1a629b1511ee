"""Clocks and streams of a GPU that is not there: what is asked of it, and in which order."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import repeat
from threading import enumerate as enumerate_threads
from threading import local
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vostool.inference.device_queue import Handover, is_over, moment, seconds_between, stream_beside
from vostool.inference.oom import resized_ahead
from vostool.inference.placement import Placement
from vostool.inference.video import Stopwatch
from vostool.media.frame import Frame

CPU, GPU = torch.device("cpu"), torch.device("cuda:1")
FRAME = Frame(0, Fraction(0), np.zeros((8, 8, 3), np.uint8), "00000")


class Event:
    """An event of a GPU; its number is the milliseconds of work that were queued before it."""

    def __init__(self, gpu: "Gpu", at: float | None = None) -> None:
        self.gpu, self.at = gpu, at

    def record(self, stream: object) -> None:
        self.at = self.gpu.queued

    def query(self) -> bool:
        if self.gpu.failed:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        assert self.at is not None
        return self.at <= self.gpu.done

    def synchronize(self) -> None:
        self.query()
        assert self.at is not None
        self.gpu.waits += 1
        self.gpu.done = max(self.gpu.done, self.at)

    def elapsed_time(self, end: "Event") -> float:
        assert self.at is not None
        assert end.at is not None
        assert end.query(), "asked for before it is known"
        return end.at - self.at


class Stream:
    def __init__(self, gpu: "Gpu", name: str) -> None:
        self.gpu, self.name = gpu, name

    def record_event(self) -> Event:
        self.gpu.told.append(f"{self.name} records")
        return Event(self.gpu, self.gpu.queued)

    def wait_event(self, event: Event) -> None:
        self.gpu.told.append(f"{self.name} waits")


class Gpu:
    """How much was queued on a GPU, how much of it is done, and what else it was told."""

    def __init__(self) -> None:
        self.queued, self.done, self.waits = 0.0, 0.0, 0
        self.failed = False
        self.told: list[str] = []
        self._here = local()

    @property
    def current(self) -> Stream:
        """The stream of this thread."""
        return getattr(self._here, "stream", Stream(self, "usual"))

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self._here.stream = self.current, stream
        yield
        self._here.stream = before


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    there = Gpu()

    class TimedEvent(Event):
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            super().__init__(there)

    monkeypatch.setattr(torch.cuda, "Event", TimedEvent)

    def current_stream(device: torch.device) -> Stream:
        assert device == GPU
        return there.current

    def stream_of(device: torch.device) -> Stream:
        assert device == GPU
        return Stream(there, "own")

    monkeypatch.setattr(torch.cuda, "current_stream", current_stream)
    monkeypatch.setattr(torch.cuda, "Stream", stream_of)
    monkeypatch.setattr(torch.cuda, "stream", there.stream)
    return there


class OnGpu:
    """A tensor of a GPU."""

    is_cuda, device = True, GPU

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def record_stream(self, stream: Stream) -> None:
        self.gpu.told.append(f"kept for {stream.name}")


class TestStopwatch:
    def test_on_a_gpu_counts_its_work_and_waits_for_none_of_it_on_the_way(self, gpu: Gpu) -> None:
        watch = Stopwatch()
        for frame in range(100):
            watch.start(GPU)
            gpu.queued += 20
            watch.stop(GPU)
            gpu.queued += 5  # of others
            gpu.done = max(0.0, gpu.queued - 60)
            assert len(watch._laps) <= 4, f"frame {frame}: memory grows"
        waits = gpu.waits
        assert watch.network == pytest.approx(2.0)
        assert gpu.waits > waits

    def test_of_a_gpu_that_failed_has_what_was_known_until_then(self, gpu: Gpu) -> None:
        watch = Stopwatch()
        for _ in range(2):
            watch.start(GPU)
            gpu.queued += 20
            watch.stop(GPU)
            gpu.done = 20.0
        gpu.failed = True
        assert watch.network == pytest.approx(0.02)

    def test_on_a_cpu_counts_the_seconds_between(self) -> None:
        watch = Stopwatch()
        for _ in range(2):
            watch.start(CPU)
            time.sleep(0.02)
            watch.stop(CPU)
            time.sleep(0.05)
        assert 0.04 <= watch.network < 0.1


class TestMoments:
    def test_of_a_cpu_are_over_at_once(self) -> None:
        first, second = moment(CPU), moment(CPU)
        assert is_over(second)
        assert 0 <= seconds_between(first, second) < 1

    def test_of_a_gpu_are_over_when_it_gets_there(self, gpu: Gpu) -> None:
        first = moment(GPU)
        gpu.queued += 3
        second = moment(GPU)
        assert is_over(first)
        assert not is_over(second)
        assert seconds_between(first, second) == 0.003
        assert is_over(second)


def test_a_tensor_of_a_gpu_is_used_no_sooner_than_it_is_made_and_kept_until_then(
    gpu: Gpu,
) -> None:
    with stream_beside(GPU)():
        made: Any = Handover(OnGpu(gpu))  # type: ignore[arg-type]
    assert isinstance(made.take(), OnGpu)
    assert gpu.told == ["own records", "usual waits", "kept for usual"]


def test_a_tensor_of_a_cpu_is_handed_over_as_it_is_and_leaves_a_gpu_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: pytest.fail("CUDA is initialised"))
    tensor = torch.ones(2)
    with stream_beside(CPU)():
        made = Handover(tensor)
    assert made.take() is tensor


def test_frames_are_brought_to_a_gpu_in_a_stream_of_their_own(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resized(place: Placement, rgb: object, device: torch.device) -> Any:
        gpu.told.append(f"resized in {gpu.current.name}")
        return OnGpu(gpu)

    def frames() -> Iterator[Frame]:
        yield FRAME
        gpu.told.append(f"decoded in {gpu.current.name}")

    monkeypatch.setattr(Placement, "resized", resized)
    ahead = resized_ahead(frames(), lambda rgb: Placement((8, 8)), GPU)
    taken = [resized for _, resized in ahead]
    assert isinstance(taken[0], OnGpu)
    made = [told for told in gpu.told if not told.startswith(("usual", "kept"))]
    assert made == ["resized in own", "own records", "decoded in usual"]
    used = [told for told in gpu.told if told.startswith(("usual", "kept"))]
    assert used == ["usual waits", "kept for usual"]


def test_closing_ends_the_thread_that_reads_ahead_without_a_word_to_a_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: pytest.fail("CUDA is initialised"))
    ahead = resized_ahead(repeat(FRAME), lambda rgb: Placement((8, 8)), CPU)
    next(ahead)
    ahead.close()
    assert not any(thread.name == "read-ahead" for thread in enumerate_threads())


def test_a_frame_without_room_for_it_is_handed_over_without(
    gpu: Gpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resized(place: Placement, rgb: object, device: torch.device) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Placement, "resized", resized)
    found = list(resized_ahead([FRAME], lambda rgb: Placement((8, 8)), GPU))
    assert [resized for _, resized in found] == [None]
