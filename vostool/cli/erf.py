"""`vostool erf` on the command line."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vostool import defaults
from vostool.cli.groups import takes_groups
from vostool.cli.loading import load_model
from vostool.cli.model_options import takes_model
from vostool.cli.options import AsJson, Overwrite, Quiet, offer, output_folder
from vostool.cli.printing import print_message, print_result
from vostool.errors import UsageError
from vostool.model.memory_designs import MEMORIES

if TYPE_CHECKING:
    from vostool.inference.options import ModelOptions


@dataclass(frozen=True)
class ErfInput:
    """What to explain."""

    video: Annotated[Path, typer.Argument(help="A video, or a folder of frames.")]
    mask: Annotated[
        str,
        typer.Option(
            help="Mask of the object to explain, on the first frame; 120:MASK.png for frame 120.",
            rich_help_panel="Input",
        ),
    ]
    frame: Annotated[
        str | None,
        typer.Option(
            metavar="FRAME",
            help="Frame to analyse, by number or a time such as 0:12.5, later than the mask's.",
            rich_help_panel="Input",
            show_default="the middle frame",
        ),
    ] = None
    truth: Annotated[
        list[str] | None,
        typer.Option(
            help="Ground-truth mask of that frame, or a folder of masks. Repeatable.",
            rich_help_panel="Input",
            show_default="the network's prediction",
        ),
    ] = None
    object_id: Annotated[
        int | None,
        typer.Option(
            "--object",
            min=1,
            help="Explain only this object of the mask.",
            rich_help_panel="Input",
            show_default="all",
        ),
    ] = None


@dataclass(frozen=True)
class ErfSteps:
    """How it is explained."""

    iters: Annotated[
        int,
        typer.Option(
            min=1,
            help="Number of steps (M in Eq. 12 of the journal paper).",
            rich_help_panel="Model",
        ),
    ] = defaults.ERF_ITERS
    rate: Annotated[
        float,
        typer.Option(
            min=0,
            help="Step size (alpha in Eq. 8 of the journal paper).",
            rich_help_panel="Model",
        ),
    ] = defaults.GC_RATE


@dataclass(frozen=True)
class NetworkOptions:
    """The networks whose results are shown side by side."""

    weights: Annotated[
        list[str],
        typer.Option(
            help="A weights file, or the name of shipped weights. Repeatable: the results "
            "are shown side by side.",
            rich_help_panel="Model",
        ),
    ] = field(default_factory=lambda: [defaults.WEIGHTS])
    memory: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Memory design: {', '.join(MEMORIES)}. Repeatable: one for each --weights, in "
            "their order, or several for the same weights.",
            rich_help_panel="Model",
            show_default="set by the weights",
            autocompletion=offer(*MEMORIES),
        ),
    ] = None

    def each(self) -> list[dict[str, str]]:
        """Return the options of each network: its weights, and its memory design if one is given.

        One of either goes with all of the other. Raises UsageError for other numbers.
        """
        weights, memories = self.weights, self.memory
        if not memories:
            return [{"weights": each} for each in weights]
        count = max(len(weights), len(memories))
        if {len(weights), len(memories)} - {1, count}:
            raise UsageError(
                f"--memory: expected one, or one for each of {len(weights)} --weights, "
                f"found {len(memories)}"
            )
        every = ([*each] * count if len(each) == 1 else each for each in (weights, memories))
        return [{"weights": each, "memory": memory} for each, memory in zip(*every, strict=True)]


@takes_model(only=("model", "size", "device", "precision"))
@takes_groups
def erf(
    given: ErfInput,
    descent: ErfSteps,
    networks: NetworkOptions,
    strip: Annotated[
        int, typer.Option(min=0, help="Number of frames in strip.png.", rich_help_panel="Output")
    ] = 5,
    output: Annotated[
        Path | None,
        output_folder("<video's name>-erf"),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    *,
    model: "ModelOptions",
) -> None:
    """Show which pixels of a frame explain the mask of another one (cycle-ERF).

    Writes erf.png, strip.png, steps.mp4, erf.npy (weights, frames, height, width) and erf.json.
    """
    from vostool.analysis.erf import erf as run
    from vostool.analysis.erf_plan import ErfJob
    from vostool.media.time_codes import parse_position
    from vostool.progress import show_progress

    models = [load_model(model.changed(each), quiet) for each in networks.each()]
    job = ErfJob(
        video=given.video,
        mask=given.mask,
        output=output or Path(f"{given.video.resolve().stem}-erf"),
        frame=None if given.frame is None else parse_position("--frame", given.frame),
        truth=tuple(given.truth or ()),
        object_id=given.object_id,
        steps=descent.iters,
        rate=descent.rate,
        strip=strip,
        overwrite=overwrite,
    )
    with show_progress(f"{given.video.name} on {models[0].device}", quiet, "steps") as progress:
        report = run(job, models, progress)
    for warning in report.warnings:
        print_message(f"warning: {warning}", quiet)
    for each in report.responses:
        inside = "no response" if each.share is None else f"{each.share:.1%} of the response"
        print_message(
            f"{each.weights}, frame {each.frame}: {inside} inside the object, "
            f"which covers {each.area:.1%}",
            quiet,
        )
    print_result(report, as_json, ("picture", "strip", "animation", "array"))
