"""`vostool segment` on the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vostool.cli.options import AsJson, Overwrite, Quiet, print_result, takes_model, tell
from vostool.errors import UsageError

if TYPE_CHECKING:
    from vostool.follow import ModelOptions


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
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder to write.",
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
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    *,
    model: "ModelOptions",
) -> None:
    """Follow the objects of a mask through a video.

    Writes masks/ (indexed PNG, one per frame), overlay.mp4 and run.json.
    """
    check_segment_input(video, mask, demo, start, end)
    if not overlay and not masks:
        raise UsageError("--no-overlay --no-masks: nothing is left to write")

    from vostool.demo import render_demo
    from vostool.follow import load_model
    from vostool.progress import show_progress
    from vostool.segment import Job, default_output
    from vostool.segment import segment as run

    ready = load_model(model)
    if demo or video is None:
        output = output or Path("vostool-demo")
        video, mask = render_demo(output)
    job = Job(
        video=video,
        masks=tuple(mask or ()),
        output=output or default_output(video),
        overlay=overlay,
        save_masks=masks,
        start=start,
        end=end,
        overwrite=overwrite,
    )
    with show_progress(f"{video.name} on {ready.device}", quiet) as progress:
        report = run(job, ready, progress)
    for warning in report["warnings"]:
        tell(f"warning: {warning}", quiet)
    speed = report["fps"]
    tell(
        f"{report['frames']} frames, {speed['end_to_end']} frames/s "
        f"(network alone {speed['network']})",
        quiet,
    )
    print_result(report, as_json, ("masks", "overlay"))


def check_segment_input(
    video: Path | None, mask: list[str] | None, demo: bool, start: int, end: int | None
) -> None:
    """Raise UsageError for arguments that make no sense together."""
    if demo and (video or mask or start or end):
        raise UsageError("--demo brings its own video and mask: give neither, and no range")
    if not demo and video is None:
        raise UsageError("expected a VIDEO, or --demo")
    if not demo and not mask:
        raise UsageError("expected --mask MASK.png: what to follow, on the first frame")
    if end is not None and end <= start:
        raise UsageError(f"--start {start} --end {end}: the range is empty")
