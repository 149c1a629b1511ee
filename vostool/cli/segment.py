"""`vostool segment` on the command line."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vostool.cli.options import AsJson, Overwrite, Quiet, require_mask, takes_model
from vostool.cli.output import document_of, print_json, print_result, tell
from vostool.errors import UsageError, VostoolError

if TYPE_CHECKING:
    from vostool.inference.options import ModelOptions
    from vostool.segment.batch import Outcome
    from vostool.segment.job import Job

RESULTS = ("masks", "overlay", "cutouts")  # of a report, the paths to print


@takes_model()
def segment(
    video: Annotated[
        Path | None,
        typer.Argument(help="A video, or a folder of frames.", show_default=False),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            help="MASK.png for the first frame; 120:LATE.png for frame 120; or a folder of "
            "masks named by frame number. Repeatable.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Take the masks for soft ones of one object (grey edges, JPEG, a matte): the "
            "object is what is at least that white, or that opaque.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        int, typer.Option(min=0, help="First frame, from 0.", rich_help_panel="Input")
    ] = 0,
    end: Annotated[
        int | None,
        typer.Option(
            min=1, help="Frame to stop before.", rich_help_panel="Input", show_default="the last"
        ),
    ] = None,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Render a short clip and segment it.", rich_help_panel="Input"),
    ] = False,
    batch: Annotated[
        Path | None,
        typer.Option(
            help="Segment the videos of a CSV table, in place of one: columns video and mask, and "
            "if need be output, start, end.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder to write; with --batch that of the videos' folders.",
            rich_help_panel="Output",
            show_default="the video's name",
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option(help="Write overlay.mp4.", rich_help_panel="Output")
    ] = True,
    masks: Annotated[
        bool, typer.Option(help="Write masks/00000.png ….", rich_help_panel="Output")
    ] = True,
    cutouts: Annotated[
        bool,
        typer.Option(
            "--cutouts",
            help="Write cutouts/00000.png …: the objects on transparent ground.",
            rich_help_panel="Output",
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    *,
    model: "ModelOptions",
) -> None:
    """Follow the objects of a mask through a video.

    Writes masks/ (indexed PNG, one per frame), overlay.mp4 and run.json.
    """
    check_segment_input(video, mask, demo, batch, start, end)
    if not (overlay or masks or cutouts):
        raise UsageError("--no-overlay --no-masks: nothing is left to write")

    from vostool.inference.predictor import load_predictor
    from vostool.progress import show_progress
    from vostool.segment.demo import render_demo
    from vostool.segment.job import Job, default_output
    from vostool.segment.job import segment as run

    template = Job(
        video=Path(),
        masks=(),
        output=output or Path(),
        overlay=overlay,
        save_masks=masks,
        cutouts=cutouts,
        start=start,
        end=end,
        overwrite=overwrite,
        threshold=threshold,
    )
    if batch is not None:
        segment_batch(batch, template, model, as_json, quiet)
        return
    ready = load_predictor(model)
    if demo or video is None:
        output = output or Path("vostool-demo")
        video, mask = render_demo(output)
    output = output or default_output(video)
    job = replace(template, video=video, masks=tuple(mask or ()), output=output)
    with show_progress(f"{video.name} on {ready.device}", quiet) as progress:
        report = run(job, ready, progress)
    tell_of(report, quiet)
    print_result(report, as_json, RESULTS)


def segment_batch(
    table: Path, template: "Job", options: "ModelOptions", as_json: bool, quiet: bool
) -> None:
    """Segment the videos of a table; exits with the code of the first error once all were tried.

    With --json prints one array: of each video its report, or the document of its error.
    """
    from vostool.inference.predictor import load_predictor
    from vostool.progress import show_progress
    from vostool.segment.batch import read_batch, segment_all

    jobs = read_batch(table, template)
    model = load_predictor(options)
    outcomes = []
    with show_progress(f"{table.name} on {model.device}", quiet) as progress:
        for job, outcome in segment_all(jobs, model, progress):
            outcomes.append((job, outcome))
            if isinstance(outcome, VostoolError):
                tell(f"vostool: {outcome}")
            else:
                tell(f"{job.video.name}:", quiet)
                tell_of(outcome, quiet)
    errors = [outcome for _, outcome in outcomes if isinstance(outcome, VostoolError)]
    if as_json:
        print_json([document_of_job(*each) for each in outcomes])
    else:
        for _, outcome in outcomes:
            if not isinstance(outcome, VostoolError):
                print_result(outcome, as_json, RESULTS)
    if errors:
        tell(f"vostool: {table}: {len(errors)} of {len(jobs)} videos failed, see above")
        raise typer.Exit(errors[0].exit_code)


def document_of_job(job: "Job", outcome: "Outcome") -> dict[str, Any]:
    """Return what --json prints of a job of a batch: its report, or its error."""
    if isinstance(outcome, VostoolError):
        return {"video": str(job.video), **document_of(outcome)}
    return outcome


def tell_of(report: dict[str, Any], quiet: bool) -> None:
    """Say what a person should know of a run: its warnings, and how fast it was."""
    for warning in report["warnings"]:
        tell(f"warning: {warning}", quiet)
    speed = report["fps"]
    tell(
        f"{report['frames']} frames, {speed['end_to_end']} frames/s "
        f"(network alone {speed['network']})",
        quiet,
    )


def check_segment_input(
    video: Path | None,
    mask: list[str] | None,
    demo: bool,
    batch: Path | None,
    start: int,
    end: int | None,
) -> None:
    """Raise UsageError for arguments that make no sense together."""
    if batch is not None:
        if video or mask or demo:
            raise UsageError("--batch names its videos and masks: give none, and no --demo")
        return
    if demo and (video or mask or start or end):
        raise UsageError("--demo brings its own video and mask: give neither, and no range")
    if not demo and video is None:
        raise UsageError("expected a VIDEO, or --demo, or --batch")
    if not demo and video is not None:
        require_mask(video, mask)
    if end is not None and end <= start:
        raise UsageError(f"--start {start} --end {end}: the range is empty")
