"""Going on with a run: what a job has in common with the earlier run in its folder."""

from dataclasses import replace

from vostool.errors import OutputError
from vostool.files.claims import OVERWRITE, refuse_to_replace
from vostool.inference.cuts import OnCut
from vostool.inference.predictor import Predictor
from vostool.inference.settings import completed, differences
from vostool.inference.states import State
from vostool.media.scene_cuts import AHEAD
from vostool.segment.job import OLDER, OUTPUT_FLAGS, Job, length_of, options_of
from vostool.segment.output import Output, results_in
from vostool.segment.report import RunReport
from vostool.segment.writers import file_of, is_output


def keeping_outputs(job: Job, report: RunReport | None) -> Job:
    """Return a job with the outputs that the run it resumes has too, so that none goes stale."""
    before = {} if report is None else report.outputs
    made = [name for name, path in before.items() if path is not None and is_output(name)]
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
    refuse_to_replace(job.output / file_of(name) for name in added)
    refuse_other_run(job, predictor, report)
    if report.status == "done" and not any(True for _ in output.states.found()):
        raise OutputError(
            f"{job.output}: holds a finished run without states (--no-state, or of an older "
            f"version); {OVERWRITE}"
        )


def refuse_other_run(job: Job, predictor: Predictor, report: RunReport) -> None:
    """Raise OutputError if a run in the job's folder was made with other options."""
    # the video and the masks may lie elsewhere; those that are the same count, see `States`
    free = {"video", "masks", "absent", "output", "end", "overwrite", "states", "check", "write"}
    free.update(OUTPUT_FLAGS.values(), ["cuts"])
    before = completed({**OLDER, **report.options, **report.network.effective}, predictor)
    now = {**options_of(job, predictor), **predictor.identity.effective}
    changes = differences(
        *(
            {name: value for name, value in each.items() if name not in free}
            for each in (before, now)
        )
    )
    if change := next(changes, None):
        raise OutputError(f"{job.output}: cannot be resumed: it has {change}; {OVERWRITE}")


def frames_in_common(job: Job, report: RunReport | None) -> int:
    """Return of how many frames the job has the masks of an earlier run with the same options.

    Near its end scene cuts are not found: if they count, a run to another end has others there.
    """
    most = length_of(job)
    if report is None or job.cuts is OnCut.IGNORE or report.options.get("end") == job.end:
        return most
    return max(0, min(most, report.frames) - AHEAD)


def is_finished(report: RunReport, state: State | None, job: Job, output: Output) -> bool:
    """Return whether a run that is to be resumed has all that is wanted, by the same masks."""
    return (
        is_followed(report, state, job)
        and all(report.outputs.get(name) for name in job.outputs)
        and output.is_complete(report.frames)
    )


def is_followed(report: RunReport | None, state: State | None, job: Job) -> bool:
    """Return whether a run that is to be resumed has followed every frame, by the same masks."""
    return (
        report is not None
        and report.status == "done"
        and report.options.get("end") == job.end
        and state is not None
        and state.provenance.frames == report.frames
    )
