"""`vostool mask` on the command line."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vostool.cli.grouped_help import Command
from vostool.cli.groups import takes_groups
from vostool.cli.loading import load_model
from vostool.cli.model_options import takes_model
from vostool.cli.options import AsJson, Overwrite, Quiet
from vostool.cli.printing import print_message, print_result

if TYPE_CHECKING:
    from vostool.first_mask.make import MaskReport
    from vostool.inference.options import ModelOptions
    from vostool.inference.predictor import Predictor

SHAPES = ("polygon", "box", "ellipse")
ORDER = "vostool.shapes"  # the kind of each shape, in the order of the command line


class ShapesInOrder(Command):
    """A command that knows in which order its shapes were given; Typer collects each kind alone."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse a command line."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[ORDER] = [each.name for each in order if each.name in SHAPES]
        return super().parse_args(ctx, args)


@dataclass(frozen=True)
class ShapeOptions:
    """The frame, and the objects on it: drawn, or in a file."""

    frame: Annotated[
        str,
        typer.Option(
            metavar="FRAME",
            help="The frame to make a mask of: its number, or a time such as 0:12.5.",
            rich_help_panel="Input",
        ),
    ] = "0"
    polygon: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:x,y,x,y,...",
            help="Draw object ID as a polygon, in pixels of the frame. Shapes are repeatable: "
            "later ones are in front, and those of one ID add up.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:x,y,w,h",
            help="Find object ID in a box drawn around it, by its colours (GrabCut).",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None
    ellipse: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID:x,y,w,h",
            help="Draw object ID as the ellipse that fills a box.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None
    given: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Start from a mask: an image (also a cut-out with alpha), or a file of labelme "
            "(JSON), CVAT for images (XML) or COCO (JSON).",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Treat that as a soft mask of one object: pixels at least this white, or this "
            "opaque, belong to it.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True)
class RepairOptions:
    """What is done to the objects then, as `MaskJob` has it."""

    snap: Annotated[
        bool,
        typer.Option(
            "--snap",
            help="Let the network draw the objects tighter: it remembers the frame with the mask, "
            "and segments it again. Look at the result.",
            rich_help_panel="Repair, in this order",
        ),
    ] = False
    largest: Annotated[
        bool,
        typer.Option(
            "--largest",
            help="Keep only the largest part of each object.",
            rich_help_panel="Repair, in this order",
        ),
    ] = False
    fill_holes: Annotated[
        bool,
        typer.Option(
            "--fill-holes",
            help="Fill the background that an object encloses.",
            rich_help_panel="Repair, in this order",
        ),
    ] = False
    grow: Annotated[
        int,
        typer.Option(
            help="Grow each object by so many pixels; negative: shrink it.",
            rich_help_panel="Repair, in this order",
            show_default=False,
        ),
    ] = 0


@takes_model(only=("weights", "model", "size", "device", "precision"))
@takes_groups
def mask(
    context: typer.Context,
    video: Annotated[
        Path, typer.Argument(help="A video, or a folder of frames.", show_default=False)
    ],
    shapes: ShapeOptions,
    repair: RepairOptions,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The mask, a PNG.",
            rich_help_panel="Output",
            show_default="<video's name>-mask.png",
        ),
    ] = None,
    frame_only: Annotated[
        bool,
        typer.Option(
            "--frame-only",
            help="Write the picture of the frame instead, to paint a mask on: <video's name>"
            "-frame.png.",
            rich_help_panel="Output",
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    *,
    model: "ModelOptions",
) -> None:
    """Make the mask of a frame, from which segment follows the objects.

    Draw it by numbers, or take it from a file of another tool. Writes an indexed PNG.
    """
    from vostool.first_mask.drawing import Drawing
    from vostool.first_mask.make import MaskJob, make_mask
    from vostool.media.time_codes import parse_position

    values = {kind: iter(getattr(shapes, kind) or ()) for kind in SHAPES}
    job = MaskJob(
        video=video,
        output=output or Path(f"{video.resolve().stem}-{'frame' if frame_only else 'mask'}.png"),
        frame=parse_position("--frame", shapes.frame),
        given=shapes.given,
        threshold=shapes.threshold,
        drawings=tuple(Drawing.parse(each, next(values[each])) for each in context.meta[ORDER]),
        frame_only=frame_only,
        overwrite=overwrite,
        **asdict(repair),
    )

    def load() -> "Predictor":
        return load_model(model, quiet)

    report = make_mask(job, load)
    print_objects(report, quiet)
    print_result(report, as_json, ("output",))


def print_objects(report: "MaskReport", quiet: bool) -> None:
    """Print the warnings about a mask, and how large each object is."""
    for warning in report.warnings:
        print_message(f"warning: {warning}", quiet)
    print_message(f"frame {report.frame}, {report.width}x{report.height}", quiet)
    for each in report.objects:
        name = "" if each.name in (None, str(each.id)) else f" ({each.name})"
        print_message(f"object {each.id}{name}: {each.pixels} pixels", quiet)
