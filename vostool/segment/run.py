"""`vostool segment`: a video and the masks of some frames in, those of every frame out.

Three things run concurrently: a thread decodes ahead, the network segments, and other threads
make labels and write. Only a few frames and the memory bank, whose size is capped, are held in RAM.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from vostool.device import oom_as_device_error
from vostool.inference.absence import parse_absent
from vostool.inference.backward import WayBack, discard, folder_of
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.soft import PendingFrame
from vostool.inference.states import State, States
from vostool.inference.video import segmented
from vostool.media.frame import VideoInfo
from vostool.media.scene_cuts import with_scenes
from vostool.progress import ProgressCallback, no_progress
from vostool.segment.frame_range import with_frame_numbers
from vostool.segment.job import Job, expected_frames, mask_paths, source_of
from vostool.segment.output import Output, Written
from vostool.segment.record import RunRecord
from vostool.segment.report import RunReport, Status, read_report
from vostool.segment.resume import (
    frames_in_common,
    is_finished,
    is_followed,
    keeping_outputs,
    refuse_unresumable,
)
from vostool.segment.writers import check_outputs


def segment(
    job: Job,
    predictor: Predictor,
    progress: ProgressCallback = no_progress,
    written: Written | None = None,
    sink: BinaryIO | None = None,
) -> RunReport:
    """Run a job and return its report, which is also written as run.json.

    `progress` is called with the number of frames done and, if known, of all; `written`, in
    another thread, with each frame once its outputs are written. Masks are also written to
    `sink`, as Y4M in grey; then the job need not have outputs.
    Raises InputError, MaskError, OutputError, DeviceError or UsageError. On an
    error, finished work is kept: the masks, the overlay as overlay.part.mp4, and a report with
    the status; KeyboardInterrupt gets a note of it.
    """
    prepared = prepare(job, predictor, sink)
    job = prepared.job
    with prepared.output.claimed(prepared.inputs, replace=job.overwrite or job.resume):
        # until then another process may have gone on with it
        report = read_report(job.output) if job.resume else None
        record = replace(prepared, report=report).record(predictor)
        if report is not None and is_finished(report, record.state, job, prepared.output):
            return report
        return follow_into(record, progress, written)


@dataclass(frozen=True)
class Prepared:
    """A job whose video and masks are read and checked, and the output folder it is for."""

    job: Job
    report: RunReport | None  # of the run that is resumed
    given: GivenMasks
    output: Output

    @property
    def inputs(self) -> set[Path]:
        """The files that are read."""
        return {self.job.input.path, *self.given.files}

    def record(self, predictor: Predictor) -> RunRecord:
        """Return the record of the run as it begins; raises OutputError as `state` does."""
        state = self.state(predictor)
        record = RunRecord(self.job, predictor, self.given, self.output, state)
        if is_followed(self.report, state, self.job):  # outputs are added, made from its masks
            record.way_back = None
        return record

    def state(self, predictor: Predictor) -> State | None:
        """Return the state to go on from, None: from the beginning.

        Raises OutputError if what the folder holds is no run to go on with.
        """
        if not self.job.resume:
            return None
        refuse_unresumable(self.job, predictor, self.report, self.output)
        most = min(self.output.kept, frames_in_common(self.job, self.report))
        return self.output.states.latest(predictor, most)


def prepare(job: Job, predictor: Predictor, sink: BinaryIO | None = None) -> Prepared:
    """Return a job with its inputs; raises InputError, MaskError or UsageError."""
    if predictor.disturbance is not None:
        predictor.disturbance.check_without_truth()
    predictor.check_cuts(job.cuts)
    if sink is None:
        check_outputs(job.outputs)
    job = with_frame_numbers(job)
    report = read_report(job.output) if job.resume else None
    job = keeping_outputs(job, report)
    info = job.input.probe()
    given = given_masks(job, info)
    states = States(job.output, job.input.path, job.start, given, job.stride, ahead=job.backward)
    source = source_of(job, info, given)
    output = Output(job.output, job.outputs, source, states, job.keeps_states, sink)
    return Prepared(job, report, given, output)


def given_masks(job: Job, info: VideoInfo) -> GivenMasks:
    """Return what the job says of its objects; raises UsageError or MaskError."""
    return GivenMasks(
        mask_paths(job),
        info,
        threshold=job.threshold,
        absence=parse_absent(job.absent),
        cuts=job.cuts,
    )


def follow_into(
    record: RunRecord, progress: ProgressCallback, written: Written | None = None
) -> RunReport:
    """Follow the objects of a job, as `segment` does, in a folder that is claimed."""
    job, output, started = record.job, record.output, time.perf_counter()
    expected = expected_frames(job, output.source.info)
    before = 0
    kept = record.state.provenance.frames if record.state else 0
    status: Status = "done"
    problem = None
    try:
        if record.way_back is not None:
            before = follow_backward(record, record.way_back, expected, progress)
            expected = None if expected is None else before + expected
        with (
            oom_as_device_error(record.predictor.device),
            output.writing(record.report("running"), kept),
        ):
            for done, each in enumerate(segmented_frames(record, kept), start=1):
                record.note_scene(each.frame)
                output.add(each.segmented, written)
                progress(before + done, expected, "")
                if done > kept:
                    record.keep_state(done)
            record.given.check_reached(each.frame.index + 1)
            record.keep_state(done, last=True)
    except KeyboardInterrupt as stop:
        status = "interrupted"
        if output.frames and output.named:
            stop.add_note(
                f"the first {output.frames} frames of {job.input} are kept in {job.output}"
            )
        raise
    except BaseException as error:
        status, problem = "failed", str(error)
        raise
    finally:
        if status == "done" or record.states is None:
            discard(folder_of(job.output))
        record.watch.total = time.perf_counter() - started
        final = record.report(status, problem)
        if output.begun:
            output.write_report(final)
            output.write_checks(record.judge.checks)
    return final


def follow_backward(
    record: RunRecord, way_back: WayBack, expected: int | None, progress: ProgressCallback
) -> int:
    """Follow the objects of a job backward; return how many frames that takes.

    KeyboardInterrupt gets a note of what is kept.
    """
    keep = record.states is not None
    total = None if expected is None else way_back.frames + expected
    kept = None
    try:
        for done, tracker in way_back.follow(record.predictor, record.watch, keep):
            kept = done if kept is None else kept
            if record.state is None:
                record.tracker.start_within(tracker.lowered)
            progress(done, total, "backward")
    except KeyboardInterrupt as stop:
        if keep:
            stop.add_note(f"the frames followed backward so far are kept in {record.job.output}")
        raise
    record.followed += way_back.frames - (kept or 0)
    return way_back.frames


def segmented_frames(record: RunRecord, kept: int) -> Iterator[PendingFrame]:
    """Yield the segmented frames of a job: at first those that are kept, from their masks.

    The network goes on from the state after them.
    """
    job, output, given = record.job, record.output, record.given
    if record.state is not None:  # before the first frame, and so before anything is replaced
        output.states.restore(record.tracker, record.state)
    frames = with_scenes(job.input.frames(job.start, job.end, job.stride, record.damage))
    for frame in islice(frames, kept):
        yield PendingFrame(frame, partial(output.segmented, frame, given))
    found = segmented(
        frames, given, record.tracker, record.watch, soft=output.soft, finish=record.finish
    )
    for each in found:
        record.followed += 1
        yield each
