"""`vostool segment`: a video and the masks of some frames in, those of every frame out.

Three things run concurrently: a thread decodes ahead, the network segments, and a thread
writes. Only a few frames and the memory bank, whose size is capped, are held in RAM.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from vostool.device import oom_as_device_error
from vostool.errors import InputError, OutputError
from vostool.files.claims import OVERWRITE, refuse_to_replace
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.saved_track import completed, differences, read_track
from vostool.inference.states import State, States
from vostool.inference.video import follow
from vostool.media.frame import Frame
from vostool.media.labels import LabelMap
from vostool.media.video import probe, read_frames
from vostool.progress import ProgressCallback, no_progress
from vostool.segment.frame_range import with_frame_numbers
from vostool.segment.job import (
    OUTPUT_FLAGS,
    Job,
    expected_frames,
    length_of,
    mask_paths,
    options_of,
    source_of,
)
from vostool.segment.output import Output, results_in
from vostool.segment.record import RunRecord
from vostool.segment.report import RunReport, Status, read_report
from vostool.segment.writers import WRITERS


def segment(job: Job, predictor: Predictor, progress: ProgressCallback = no_progress) -> RunReport:
    """Run a job and return its report, which is also written as run.json.

    `progress` is called with the number of frames done and, if known, of all.
    Raises InputError, MaskError, OutputError, DeviceError or UsageError. On an
    error, finished work is kept: the masks, the overlay as overlay.part.mp4, and a report with
    the status; KeyboardInterrupt gets a note of it.
    """
    if predictor.disturbance is not None:
        predictor.disturbance.check_without_truth()
    job = with_frame_numbers(job)
    report = read_report(job.output) if job.resume else None
    job = keeping_outputs(job, report)
    info = probe(job.video)
    given = GivenMasks(mask_paths(job), info, threshold=job.threshold)
    states = States(job.output, job.video, job.start, given)
    output = Output(job.output, job.outputs, source_of(job, info), states)
    inputs = {job.video, *given.files}
    with output.claimed(inputs, replace=job.overwrite or job.resume):
        state = None
        if job.resume:
            refuse_unresumable(job, predictor, report, output)
            state = states.latest(predictor, min(output.labelled, length_of(job)))
            if report is not None and is_finished(report, state, job, output):
                return report
        return follow_into(RunRecord(job, predictor, given, output, state), progress)


def keeping_outputs(job: Job, report: RunReport | None) -> Job:
    """Return a job with the outputs that the run it resumes has too, so that none goes stale."""
    made = () if report is None else [name for name in WRITERS if report.outputs.get(name)]
    return replace(job, outputs=tuple(dict.fromkeys((*job.outputs, *made))))


def refuse_unresumable(
    job: Job, predictor: Predictor, report: RunReport | None, output: Output
) -> None:
    """Raise OutputError if what the job's folder holds is no run to go on with.

    What no report accounts for is not known to be a run's: it is not replaced.
    """
    if report is None:
        refuse_to_replace(results_in(job.output))
        return
    added = [name for name in job.outputs if not report.outputs.get(name)]
    refuse_to_replace(output.every[name].path for name in added)
    refuse_other_run(job, predictor, report)
    if report.status == "done" and not any(True for _ in output.states.found()):
        raise OutputError(
            f"{job.output}: holds a finished run without states (--no-state, or of an older "
            f"version); {OVERWRITE}"
        )


def refuse_other_run(job: Job, predictor: Predictor, report: RunReport) -> None:
    """Raise OutputError if a run in the job's folder was made with other options."""
    # the video and the masks may lie elsewhere; those that are the same count, see `States`
    free = {"video", "masks", "output", "end", "overwrite", "states", *OUTPUT_FLAGS.values()}
    before = completed({**report.options, **report.network.effective}, predictor)
    now = {**options_of(job, predictor), **predictor.identity.effective}
    changes = differences(
        *(
            {name: value for name, value in each.items() if name not in free}
            for each in (before, now)
        )
    )
    if change := next(changes, None):  # 0.1.0 has no threshold, which is None
        raise OutputError(f"{job.output}: cannot be resumed: it has {change}; {OVERWRITE}")


def is_finished(report: RunReport, state: State | None, job: Job, output: Output) -> bool:
    """Return whether a run that is to be resumed has all that is wanted, by the same masks."""
    return (
        report.status == "done"
        and report.options.get("end") == job.end
        and all(report.outputs.get(name) for name in job.outputs)
        and state is not None
        and state.provenance.frames == report.frames
        and output.is_complete(report.frames)
    )


def follow_into(record: RunRecord, progress: ProgressCallback) -> RunReport:
    """Follow the objects of a job, as `segment` does, in a folder that is claimed."""
    job, output, started = record.job, record.output, time.perf_counter()
    expected = expected_frames(job, output.source.info)
    kept = record.state.provenance.frames if record.state else 0
    status: Status = "done"
    problem = None
    try:
        with (
            oom_as_device_error(record.predictor.device),
            output.writing(record.report("running"), kept),
        ):
            for done, (frame, labels) in enumerate(labelled_frames(record, kept), start=1):
                output.add(frame, labels)
                progress(done, expected, "")
                if done > kept:
                    record.keep_state(done)
            record.given.check_reached(frame.index + 1)
            record.keep_state(done, last=True)
    except KeyboardInterrupt as stop:
        status = "interrupted"
        if output.frames:
            stop.add_note(
                f"the first {output.frames} frames of {job.video} are kept in {job.output}"
            )
        raise
    except BaseException as error:
        status, problem = "failed", str(error)
        raise
    finally:
        record.watch.total = time.perf_counter() - started
        final = record.report(status, problem)
        if output.frames:
            output.write_report(final)
    return final


def labelled_frames(record: RunRecord, kept: int) -> Iterator[tuple[Frame, LabelMap]]:
    """Yield the frames of a job with their labels: at first those that are kept, from their masks.

    The network goes on from the state after them.
    """
    job, output = record.job, record.output
    if record.state is not None:  # before the first frame, and so before anything is replaced
        restore(record, record.state)
    frames = read_frames(job.video, job.start, job.end, record.damage)
    for frame in islice(frames, kept):
        yield frame, output.labels(frame.index)
    for frame, labels in follow(frames, record.given, record.tracker, record.watch):
        record.followed += 1
        yield frame, labels


def restore(record: RunRecord, state: State) -> None:
    """Let the tracker go on from a state; raises OutputError if the video shows other frames."""
    job, saved = record.job, read_track(state.path)
    wanted = {job.start + number for number in saved.numbers}
    frames = read_frames(job.video, job.start, job.start + state.provenance.frames)
    pictures = {each.index - job.start: each.rgb for each in frames if each.index in wanted}
    masks = {frame - job.start: record.given.get(frame) for frame in wanted}
    given = {number: mask for number, mask in masks.items() if mask is not None}
    try:
        record.tracker.resume(saved, pictures, given)
    except InputError as error:
        raise OutputError(f"{job.output}: cannot be resumed: {error}; {OVERWRITE}") from error
