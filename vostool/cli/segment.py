"""`vostool segment` on the command line."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from vostool import defaults
from vostool.cli.batch import Printing, segment_batch
from vostool.cli.brief import HelpAll
from vostool.cli.dry_run import preview
from vostool.cli.formats import OutputOptions, quiet_encoders
from vostool.cli.groups import takes_groups
from vostool.cli.inputs import InputOptions
from vostool.cli.interrupts import BEGIN_AGAIN, GO_ON, ended_by_ctrl_c, way_on
from vostool.cli.loading import load_model
from vostool.cli.model_options import BOXES, takes_model
from vostool.cli.options import PrintOptions
from vostool.cli.piped import STDOUT, check_stdout, piped
from vostool.cli.printing import print_message, print_result
from vostool.cli.spread import SpreadOptions
from vostool.cli.summary import plot_checks, print_summary
from vostool.errors import UsageError, WarningsError
from vostool.progress import ProgressForm, show_progress

if TYPE_CHECKING:
    from vostool.inference.options import ModelOptions
    from vostool.media.inputs import Stream
    from vostool.media.time_codes import Position
    from vostool.segment.job import Job
    from vostool.segment.report import RunReport

# what --help shows
NEEDED = (
    *("video", "mask", "absent", "backward", "cuts", "threshold", "start", "end", "stride", "fps"),
    *("camera", "allow_network", "demo", "batch", "workers"),
    *("output", "write", "cutouts", "names", "finish", "effect_on", "overwrite", "resume"),
    *("check", "dry_run", "fail_on_warning", "progress"),
    *("as_json", "quiet", "help_all", "weights", "size", "gc_every", "device"),
)


@takes_model(BOXES)
@takes_groups
def segment(
    given: InputOptions,
    where: SpreadOptions,
    wanted: OutputOptions,
    printing: PrintOptions,
    help_all: HelpAll = False,
    *,
    model: "ModelOptions",
) -> None:
    """Follow the objects of a mask through a video.

    Writes masks/ (indexed PNG, one per frame), overlay.mp4 and run.json, or what --write says.
    """
    span, video = given.span, given.source()
    check_together(video, given, wanted, printing)
    spread = where.of_batch(given.batch)
    template = job_of(video, span, given, wanted)
    shown = printing.as_json, printing.quiet, printing.progress
    quiet_encoders()
    if wanted.dry_run:
        report = preview(template, model, *shown)
        warnings = [warning.message for warning in report.warnings]
    elif given.batch is not None:
        with way_on(GO_ON):
            prints = Printing(*shown, plot=bool(wanted.check))
            warnings = segment_batch(given.batch, template, model, spread, prints)
    else:
        with way_on(*continuation(template), without=("--overwrite", "--resume")):
            run = segment_one(video, template, model, *shown, plot=bool(wanted.check))
            warnings = [warning.message for warning in run.warnings]
    if wanted.fail_on_warning:
        refuse_warnings(warnings)


def check_together(
    video: "Path | Stream | None",
    given: InputOptions,
    wanted: OutputOptions,
    printing: PrintOptions,
) -> None:
    """Raise UsageError for options that exclude each other."""
    if wanted.to_stdout:
        names = ("write", "masks", "overlay", "cutouts", "resume", "overwrite")
        flags = {name: getattr(wanted, name) for name in names}
        check_stdout(**flags, batch=given.batch, json=printing.as_json)
    if wanted.resume and wanted.overwrite:
        raise UsageError("--resume goes on with a result, --overwrite replaces it: give one")
    repeatable = isinstance(video, Path) and not wanted.to_stdout
    if wanted.dry_run and not repeatable:
        raise UsageError(
            "--dry-run: expected a VIDEO that can be read again; no --demo, --batch or -o -"
        )


def job_of(
    video: "Path | Stream | None",
    span: "tuple[Position | None, Position | None]",
    given: InputOptions,
    wanted: OutputOptions,
) -> "Job":
    """Return what is to be done; with --batch a template, without video and output perhaps.

    Raises UsageError, and OutputError for an output that is there.
    """
    from vostool.media.inputs import parse_rate
    from vostool.segment.frame_range import with_range
    from vostool.segment.job import Job

    outputs = wanted.outputs
    folder, upload = wanted.place(given.batch)
    job = Job(
        video=video or Path(),
        masks=tuple(given.mask or ()),
        stride=given.stride,
        fps=None if given.fps is None else parse_rate(given.fps),
        output=folder or Path() if given.batch else output_folder(video, folder, wanted),
        upload=upload,
        outputs=outputs,
        overwrite=wanted.overwrite,
        threshold=given.threshold,
        resume=wanted.resume,
        states=wanted.states,
        absent=tuple(given.absent or ()),
        backward=given.backward,
        cuts=given.cuts,
        check=defaults.CHECK_EVERY if wanted.check is None else wanted.check,
        names=wanted.names,
        finish=wanted.finish,
        effect_on=wanted.effect_on,
        opacity=wanted.opacity,
        palette=wanted.palette,
        codec=wanted.codec,
        crf=wanted.crf,
    )
    return with_range(job, *span)


def output_folder(
    video: "Path | Stream | None", folder: Path | None, wanted: OutputOptions
) -> Path:
    """Return the folder of the results; raises OutputError if it may not be replaced."""
    from vostool.media.inputs import default_output
    from vostool.segment.output import check_free

    output = folder or (Path("vostool-demo") if video is None else default_output(video))
    # before it takes seconds to load the model
    if not wanted.overwrite and not wanted.resume and output != STDOUT:
        check_free(output)
    return output


def continuation(job: "Job") -> tuple[str, ...]:
    """Return how an interrupted run is continued: the words for it, and the option."""
    if job.output == STDOUT:
        return (BEGIN_AGAIN,)
    return (GO_ON, "--resume") if job.keeps_states else (BEGIN_AGAIN, "--overwrite")


def segment_one(
    video: "Path | Stream | None",
    template: "Job",
    options: "ModelOptions",
    as_json: bool,
    quiet: bool,
    form: ProgressForm = ProgressForm.AUTO,
    plot: bool = False,
) -> "RunReport":
    """Segment a video, or without one the demo clip, print the result and return its report.

    `plot` draws its checks.
    """
    from vostool.segment.demo import render_demo
    from vostool.segment.run import segment as run

    model = load_model(options, quiet)
    with piped(template) as (job, sink):
        if video is None:
            clip, masks = render_demo(job.output)
            job = replace(job, video=clip, masks=tuple(masks))
        title = f"{job.input.path.name} on {model.device}"
        endless = None if video is None or isinstance(video, Path) else video.end
        with show_progress(title, quiet, form=form) as progress, ended_by_ctrl_c(endless):
            report = run(job, model, progress, sink=sink)
        if plot:
            plot_checks(job.output, report)
    print_summary(report, quiet)
    print_result(report, as_json, tuple(report.outputs))
    return report


def refuse_warnings(found: Sequence[str]) -> None:
    """Exit if there are warnings; the results are printed by then, and stay."""
    if found:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        print_message(f"vostool: --fail-on-warning: {found[0]}{more}")
        raise typer.Exit(WarningsError.exit_code)
