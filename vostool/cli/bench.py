"""`vostool bench` on the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vostool.cli.loading import load_model
from vostool.cli.model_options import takes_model
from vostool.cli.options import AsJson, Quiet, require_mask
from vostool.cli.printing import print_message, print_result, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from vostool.benchmark.report import BenchReport
    from vostool.inference.options import ModelOptions


@takes_model()
def bench(
    video: Annotated[
        Path | None,
        typer.Argument(help="A video, or a folder of frames.", show_default="the demo clip"),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            help="Mask of the first frame of VIDEO, as for segment. Repeatable.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None,
    objects: Annotated[
        int | None,
        typer.Option(
            help="Split the demo clip's mask into N objects, horizontal bands of equal area; "
            "1 unless given.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None,
    frames: Annotated[
        int, typer.Option(min=2, help="Use at most N frames.", rich_help_panel="Input")
    ] = 50,
    repeat: Annotated[int, typer.Option(min=1, help="Measure N times and report the medians.")] = 3,
    as_json: AsJson = False,
    quiet: Quiet = False,
    *,
    model: "ModelOptions",
) -> None:
    """Measure how fast this machine runs the tool, and the peak speed of its hardware.

    Prints frames per second, of the network alone and from end to end, on stdout and a table
    of all figures on stderr. Writes nothing.
    """
    if video is not None:
        require_mask(video, mask)
    from vostool.benchmark.speed import BenchJob
    from vostool.benchmark.speed import bench as run
    from vostool.progress import show_progress

    job = BenchJob(video, tuple(mask or ()), objects, frames, repeat)
    ready = load_model(model, quiet)
    with show_progress(f"bench on {ready.device}", quiet) as progress:
        report = run(job, ready, progress)
    for warning in report.warnings:
        print_message(f"warning: {warning}", quiet)
    if not quiet:
        print_table(bench_table(report))
    if as_json:
        print_result(report, as_json, ())
    else:
        print(f"network {report.fps.network:.2f}")
        print(f"end-to-end {report.fps.end_to_end:.2f}")


def bench_table(report: "BenchReport") -> "Table":
    """Return the report as a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    clip, device = report.clip, report.device
    height, width = report.frame.working_size
    title = (
        f"{device.name} ({device.hardware}), {report.options['precision']}, "
        f"threads: {report.threads}\n"
        f"{clip.frames} frames of {width}x{height}, objects: {clip.objects}"
    )
    table = Table(title=Text(title), show_header=False)  # Text: without markup
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    for section in sections(report):
        for name, value, unit in section:
            if value is not None:
                table.add_row(name, f"{value:.{1 if value >= 100 else 2}f}", unit)
        table.add_section()
    return table


Row = tuple[str, float | None, str]  # name, figure and unit


def sections(report: "BenchReport") -> list[list[Row]]:
    """Return the figures of a report, grouped."""
    speed, memory, stages = report.fps, report.memory, report.stages
    names = {"segment": "segment: read, decode", "network": "network, sum", "total": "all, sum"}
    ceilings: list[Row] = [
        (f"peak, {kind.replace('_', ' ')}, {precision}", value, "GFLOP/s")
        for precision, ceiling in report.ceiling.items()
        for kind, value in ceiling.model_dump().items()
    ]
    return [
        [
            ("network", speed.network, "frames/s"),
            ("end to end", speed.end_to_end, "frames/s"),
            ("end to end / network", speed.ratio, ""),
        ],
        [(names.get(name, name), value, "ms/frame") for name, value in stages.items()],
        [
            ("peak RAM, whole process", memory.ram, "MB"),
            ("peak GPU memory", memory.device, "MB"),
        ],
        [
            ("a frame without correction", report.frame.gflop, "GFLOP"),
            ("reached by the network", report.gflop_per_second, "GFLOP/s"),
            *ceilings,
            ("share of the convolution peak", 100 * report.share_of_convolution_ceiling, "%"),
        ],
    ]
