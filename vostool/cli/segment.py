"""`vostool segment` on the command line."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vostool import defaults
from vostool.cli.batch import Printing, segment_batch
from vostool.cli.brief import HelpAll
from vostool.cli.dry_run import preview
from vostool.cli.formats import (
    Codec,
    Crf,
    EffectOn,
    Finishing,
    Names,
    Opacity,
    Palette,
    Write,
    outputs_of,
    quiet_encoders,
)
from vostool.cli.inputs import (
    AllowNetwork,
    Batch,
    Camera,
    Demo,
    End,
    Fps,
    Start,
    Stride,
    check_segment_input,
    given_output,
    given_video,
)
from vostool.cli.interrupts import BEGIN_AGAIN, GO_ON, ended_by_ctrl_c, way_on
from vostool.cli.loading import load_model
from vostool.cli.options import (
    BOXES,
    Absent,
    AsJson,
    Check,
    Cuts,
    DryRun,
    Overwrite,
    Progress,
    Quiet,
    takes_model,
)
from vostool.cli.piped import STDOUT, check_stdout, piped
from vostool.cli.printing import print_message, print_result
from vostool.cli.spread import LOCAL, Merge, On, ShardOption, Spread, Workers
from vostool.cli.summary import plot_checks, print_summary
from vostool.errors import UsageError, WarningsError
from vostool.inference.cuts import OnCut
from vostool.progress import ProgressForm, show_progress

if TYPE_CHECKING:
    from vostool.inference.options import ModelOptions
    from vostool.media.inputs import Stream
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
def segment(
    video: Annotated[
        str | None,
        typer.Argument(
            help="A video, a folder of frames, or - for one on stdin (y4m, mpegts, mkv).",
            show_default=False,
        ),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--mask",
            help="MASK.png for the first frame; 120:LATE.png for frame 120, 0:04.8:LATE.png for "
            "that time; 2@DOG.png for object 2 alone; or a folder of masks named like the frames, "
            "00120.png for frame 120. Repeatable.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None,
    absent: Absent = None,
    backward: Annotated[
        bool,
        typer.Option(
            "--backward",
            help="Follow the objects of a mask to the frames before it as well; between two masks "
            "of an object both count, the nearer one more.",
            rich_help_panel="Input",
        ),
    ] = False,
    cuts: Cuts = OnCut.IGNORE,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Treat the masks as soft masks of one object (grey edges, JPEG, a matte): pixels "
            "at least this white, or this opaque, belong to the object.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None,
    start: Start = "0",
    end: End = None,
    stride: Stride = 1,
    fps: Fps = None,
    camera: Camera = None,
    allow_network: AllowNetwork = False,
    demo: Demo = False,
    batch: Batch = None,
    workers: Workers = None,
    on: On = LOCAL,
    shard: ShardOption = None,
    merge: Merge = False,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="Output folder; with --batch the parent of the videos' folders, also at an "
            "address such as s3://bucket/out; - for the masks on stdout, as Y4M in grey whose luma "
            "is the object.",
            rich_help_panel="Output",
            show_default="the video's name",
        ),
    ] = None,
    write: Write = None,
    overlay: Annotated[
        bool | None,
        typer.Option(
            "--overlay/--no-overlay",
            help="Write overlay.mp4.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None,
    masks: Annotated[
        bool | None,
        typer.Option(
            "--masks/--no-masks",
            help="Write masks/00000.png ….",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None,
    cutouts: Annotated[
        bool,
        typer.Option(
            "--cutouts",
            help="Write cutouts/00000.png …: the objects on a transparent background.",
            rich_help_panel="Output",
        ),
    ] = False,
    names: Names = None,
    finish: Finishing = None,
    effect_on: EffectOn = None,
    opacity: Opacity = None,
    palette: Palette = None,
    codec: Codec = None,
    crf: Crf = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Do what is left of an interrupted run, or after a mask was added, changed or "
            "taken away: from that frame on. A batch does so anyway.",
            rich_help_panel="Output",
        ),
    ] = False,
    states: Annotated[
        bool,
        typer.Option(
            "--state/--no-state",
            help="Keep what --resume needs (.state/, 256 MB; with XMem more).",
            rich_help_panel="Output",
        ),
    ] = True,
    check: Check = None,
    dry_run: DryRun = False,
    fail_on_warning: Annotated[
        bool,
        typer.Option(
            "--fail-on-warning",
            help="Exit with code 9 if there are warnings; the result is still complete.",
            rich_help_panel="Output",
        ),
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    progress: Progress = ProgressForm.AUTO,
    help_all: HelpAll = False,
    *,
    model: "ModelOptions",
) -> None:
    """Follow the objects of a mask through a video.

    Writes masks/ (indexed PNG, one per frame), overlay.mp4 and run.json, or what --write says.
    """
    from vostool.media.inputs import parse_rate
    from vostool.media.time_codes import parse_position

    outputs = outputs_of(write, {"masks": masks, "overlay": overlay, "cutouts": cutouts or None})
    first = parse_position("--start", start)
    last = None if end is None else parse_position("--end", end)
    source = given_video(video, camera, allow_network)
    check_segment_input(source, mask, absent, demo, batch, bool(first or last))
    spread = Spread.of(batch, workers, on, shard, merge)
    folder, upload = given_output(output, batch)
    if folder == STDOUT:
        flags = {"write": write, "masks": masks, "overlay": overlay, "cutouts": cutouts}
        check_stdout(**flags, batch=batch, json=as_json, resume=resume, overwrite=overwrite)
    if resume and overwrite:
        raise UsageError("--resume goes on with a result, --overwrite replaces it: give one")
    if dry_run and (batch or folder == STDOUT or not isinstance(source, Path)):
        raise UsageError(
            "--dry-run: expected a VIDEO that can be read again; no --demo, --batch or -o -"
        )
    if batch is None:
        from vostool.media.inputs import default_output
        from vostool.segment.output import check_free

        folder = folder or (Path("vostool-demo") if source is None else default_output(source))
        # before it takes seconds to load the model
        if not overwrite and not resume and folder != STDOUT:
            check_free(folder)

    from vostool.segment.frame_range import with_range
    from vostool.segment.job import Job

    template = with_range(
        Job(
            video=source or Path(),
            masks=tuple(mask or ()),
            stride=stride,
            fps=None if fps is None else parse_rate(fps),
            output=folder or Path(),
            upload=upload,
            outputs=outputs,
            overwrite=overwrite,
            threshold=threshold,
            resume=resume,
            states=states,
            absent=tuple(absent or ()),
            backward=backward,
            cuts=cuts,
            check=defaults.CHECK_EVERY if check is None else check,
            names=names,
            finish=finish,
            effect_on=effect_on,
            opacity=opacity,
            palette=palette,
            codec=codec,
            crf=crf,
        ),
        first,
        last,
    )
    quiet_encoders()
    if dry_run:
        preview(template, model, as_json, quiet, progress)
        return
    if batch is not None:
        with way_on(GO_ON):
            printing = Printing(as_json, quiet, progress, plot=bool(check))
            warnings = segment_batch(batch, template, model, spread, printing)
    else:
        words, more = BEGIN_AGAIN, () if folder == STDOUT else ("--overwrite",)
        if template.keeps_states and folder != STDOUT:
            words, more = GO_ON, ("--resume",)
        with way_on(words, *more, without=("--overwrite", "--resume")):
            report = segment_one(source, template, model, as_json, quiet, progress, bool(check))
            warnings = [warning.message for warning in report.warnings]
    if fail_on_warning:
        refuse_warnings(warnings)


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
