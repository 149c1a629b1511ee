"""What a run of `vostool segment` would read and write, and the time and memory it would take.

All that the run would refuse is refused; nothing is written. Time and memory are measured on a few
frames from the first given mask on, with every one of them memorised, so that the memory bank of
the default options is full at their end.
"""

import time
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from pydantic import Field

from vostool.benchmark.report import PeakMemory
from vostool.benchmark.speed import peak_memory
from vostool.device import oom_as_device_error
from vostool.errors import InputError
from vostool.files.documents import Document
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.reports import Network, Video
from vostool.inference.tracker import Tracker
from vostool.inference.video import Stopwatch, follow
from vostool.media.video import read_times
from vostool.progress import ProgressCallback, no_progress
from vostool.segment.job import Job, expected_frames
from vostool.segment.record import RunRecord
from vostool.segment.report import Warned
from vostool.segment.run import prepare

TRIED = 10  # frames that are timed, at most
SETTLED = 4  # of them that only warm up
BASIS = (
    "{tried} frames from frame {first} on, decoded and segmented with the memory bank filling up; "
    "without writing"
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
    state = prepared.state(predictor)
    record = RunRecord(job, predictor, given, output, state)
    report = record.report("running")
    kept = 0 if state is None else state.provenance.frames
    frames = expected_frames(job, output.source.info)
    with oom_as_device_error(predictor.device):
        trial = try_frames(job, predictor, given, progress)
    following = to_follow(record, frames, kept)
    info = output.source.info
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
        fps=trial.fps and round(trial.fps, 2),
        seconds=None if following is None or not trial.fps else round(following / trial.fps, 1),
        basis=BASIS.format(tried=trial.tried, first=trial.first),
        memory=peak_memory(predictor.device),
        warnings=report.warnings,
    )


def to_follow(record: RunRecord, frames: int | None, kept: int) -> int | None:
    """Return how many frames the network would follow, backward too; None if that is unknown."""
    if frames is None:
        return None
    if record.way_back is not None:
        return record.way_back.frames + frames - kept
    job = record.job
    before = len(range(job.start, record.given.first, job.stride))  # nothing is followed there
    return max(0, frames - max(before, kept))


def try_frames(
    job: Job, predictor: Predictor, given: GivenMasks, progress: ProgressCallback
) -> Trial:
    """Return what the first few frames with an object take; raises InputError or MaskError."""
    references = predictor.references
    if references.every is not None:
        predictor = replace(predictor, references=replace(references, every=1))
    frames = job.input.frames(given.first, job.end, job.stride)
    clock = []
    found = follow(frames, given, Tracker(predictor=predictor), Stopwatch())
    try:
        with closing(found):
            for _ in islice(found, TRIED):
                clock.append(time.perf_counter())
                progress(len(clock), TRIED, "timing")
    except InputError:  # as if the video ends before the mask
        given.check_reached(sum(1 for _ in read_times(job.input.path)))
        raise
    settled = min(SETTLED, len(clock) - 1) - 1
    if settled < 0 or clock[-1] <= clock[settled]:
        return Trial(given.first, len(clock), None)
    return Trial(given.first, len(clock), (len(clock) - 1 - settled) / (clock[-1] - clock[settled]))
