"""What a run of `vostool segment` would read and write, and the time and memory it would take.

All that the run would refuse is refused; nothing is written. Time and memory are measured on a few
frames from the first given mask on, with every one of them memorised, so that the memory bank of
the default options is full at their end.
"""

import time
from contextlib import closing
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from pydantic import Field

from vostool.benchmark.flops import frames_remembered, kept_frames
from vostool.benchmark.report import PeakMemory
from vostool.benchmark.speed import peak_memory
from vostool.device import oom_as_device_error
from vostool.errors import InputError
from vostool.files.documents import Document
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.reports import Network, Video
from vostool.inference.states import FOLDER as STATES
from vostool.inference.tracker import Tracker
from vostool.inference.video import Stopwatch, follow
from vostool.media.scene_cuts import with_scenes
from vostool.media.video import read_times
from vostool.model.interface import RecurrentModel
from vostool.progress import ProgressCallback, no_progress
from vostool.segment.job import Job, expected_frames
from vostool.segment.output import CHECKS
from vostool.segment.record import RunRecord
from vostool.segment.report import REPORT, Warned
from vostool.segment.run import prepare
from vostool.segment.writers.soft_store import SoftStore

TRIED = 10  # frames that are timed, at most
SETTLED = 4  # of them that only warm up
BASIS = (
    "{tried} frames from frame {first} on, decoded and segmented with the memory bank filling up; "
    "without checking and writing"
)
FULLER = (
    ". The memory bank came to {tried} frames; that of the run comes to {whole}, which takes more "
    "time and memory"
)


class DryRun(Document):
    """What a run would do; seconds, frames per second and MB (10^6 bytes), None: unknown."""

    input: Video
    network: Network
    options: dict[str, Any]
    working_size: tuple[int, int]  # height, width of the network's input
    masks: dict[int, list[int]]  # the objects that the given masks show, by frame
    objects: list[int]
    kept: int = 0  # frames of the run before that need not be followed again
    frames: int | None  # to write
    to_follow: int | None  # by the network, with those of the way back
    output: str
    outputs: dict[str, str]  # the final path of each, by name
    beside: list[str]  # the names of what is written beside them
    fps: float | None
    seconds: float | None
    basis: str  # of the two
    memory: PeakMemory
    warnings: list[Warned] = Field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """What a few frames took."""

    first: int
    tried: int
    fps: float | None


def dry_run(job: Job, predictor: Predictor, progress: ProgressCallback = no_progress) -> DryRun:
    """Return what `segment` would do; raises what it would before the first frame is written."""
    prepared = prepare(job, predictor)
    job, given, output = prepared.job, prepared.given, prepared.output
    output.check(prepared.inputs, replace=job.overwrite or job.resume)
    record = prepared.record(predictor)
    report, info = record.report("running"), output.source.info
    kept = 0 if record.state is None else record.state.provenance.frames
    frames = expected_frames(job, info)
    with oom_as_device_error(predictor.device):
        trial = try_frames(job, predictor, given, progress)
    following = to_follow(record, frames, kept)
    return DryRun(
        input=report.input,
        network=report.network,
        options=report.options,
        working_size=predictor.placement(info.height, info.width).size,
        masks={frame: list(ids) for frame, ids in sorted(given.ids.items())},
        objects=report.objects,
        kept=kept,
        frames=frames,
        to_follow=following,
        output=str(job.output),
        outputs={name: str(writer.path) for name, writer in output.named.items()},
        beside=written_beside(record),
        fps=trial.fps and round(trial.fps, 2),
        seconds=None if following is None or not trial.fps else round(following / trial.fps, 1),
        basis=BASIS.format(tried=trial.tried, first=trial.first)
        + fuller_bank(predictor, trial.tried, following),
        memory=peak_memory(predictor.device),
        warnings=report.warnings,
    )


def to_follow(record: RunRecord, frames: int | None, kept: int) -> int | None:
    """Return how many frames the network would follow, backward too; None if that is unknown."""
    if frames is None:
        return None
    job, back = record.job, record.way_back
    if back is not None:
        return back.frames - back.kept(record.predictor) + max(0, frames - kept)
    before = len(range(job.start, record.given.first, job.stride))  # nothing is followed there
    return max(0, frames - max(before, kept))


def written_beside(record: RunRecord) -> list[str]:
    """Return the names of what a run writes beside its outputs."""
    checks = [CHECKS[0]] if record.job.check else []
    if record.states is None:
        return [REPORT, *checks]
    return [REPORT, *checks, STATES, *([SoftStore.file] if record.output.soft else [])]


def fuller_bank(predictor: Predictor, tried: int, following: int | None) -> str:
    """Return a sentence on the memory bank if that of the run comes to more frames, else ""."""
    references, most = kept_frames(predictor), predictor.memory_frames
    every = references if references.every is None else replace(references, every=1)
    before = frames_remembered(every, tried, most)
    if following is None:
        whole = before if references.every is None else most
    else:
        whole = frames_remembered(references, following, most)
    if whole is None or whole > before:
        return FULLER.format(tried=before, whole="ever more" if whole is None else whole)
    return ""


def with_bank_filling(predictor: Predictor) -> Predictor:
    """Return a predictor that memorises every frame, so that its memory bank is full early."""
    network, references = copy(predictor.network), predictor.references  # the weights are shared
    if isinstance(network, RecurrentModel):
        network.memory_every = 1
        return replace(predictor, network=network)
    if references.every is None:
        return predictor
    return replace(predictor, references=replace(references, every=1))


def try_frames(
    job: Job, predictor: Predictor, given: GivenMasks, progress: ProgressCallback
) -> Trial:
    """Return what the first few frames with an object take; raises InputError or MaskError."""
    frames = with_scenes(job.input.frames(given.first, job.end, job.stride))
    clock = []
    tracker = Tracker(predictor=with_bank_filling(predictor))
    found = follow(frames, given, tracker, Stopwatch())
    try:
        with closing(found):
            for _ in islice(found, TRIED):
                clock.append(time.perf_counter())
                progress(len(clock), TRIED, "timing")
    except InputError:
        # what the run would raise: that there is no frame, or that the video ends before the mask
        next(job.input.frames(job.start, job.end, job.stride))
        given.check_reached(sum(1 for _ in read_times(job.input.path)))
        raise
    settled = min(SETTLED, len(clock) - 1) - 1
    if settled < 0 or clock[-1] <= clock[settled]:
        return Trial(given.first, len(clock), None)
    return Trial(given.first, len(clock), (len(clock) - 1 - settled) / (clock[-1] - clock[settled]))
