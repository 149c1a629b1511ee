"""`vostool spectrum` on the command line."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vostool import defaults
from vostool.cli.groups import takes_groups
from vostool.cli.loading import load_model
from vostool.cli.model_options import MODEL, takes_model
from vostool.cli.options import AsJson, Overwrite, Quiet, output_folder, require_mask
from vostool.cli.printing import print_message, print_result

if TYPE_CHECKING:
    from vostool.analysis.spectrum import SpectrumJob
    from vostool.inference.options import ModelOptions


@dataclass(frozen=True)
class SpectrumOptions:
    """Which masks are corrected and compared, and where the result goes."""

    source: Annotated[
        Path,
        typer.Argument(help="A video, or a data set of clips and masks such as DAVIS."),
    ]
    mask: Annotated[
        str | None,
        typer.Option(
            help="Mask of the first frame of a video.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None
    listed: Annotated[
        Path | None,
        typer.Option(
            "--list",
            help="File that lists which clips of a data set to use.",
            rich_help_panel="Input",
            show_default="all",
        ),
    ] = None
    end: Annotated[
        str | None,
        typer.Option(
            metavar="FRAME",
            help="Frame to stop before, by number or a time such as 0:12.5.",
            rich_help_panel="Input",
            show_default="to the end",
        ),
    ] = None
    output: Annotated[
        Path | None,
        output_folder("<source's name>-spectrum"),
    ] = None
    overwrite: Overwrite = False

    def job(self) -> "SpectrumJob":
        """Return what the options say; raises UsageError and InputError."""
        if not self.source.is_dir():
            require_mask(self.source, self.mask)
        from vostool.analysis.spectrum import SpectrumJob
        from vostool.media.time_codes import parse_position

        return SpectrumJob(
            source=self.source,
            output=self.output or Path(f"{self.source.resolve().stem}-spectrum"),
            mask=self.mask,
            listed=self.listed,
            end=None if self.end is None else parse_position("--end", self.end),
            overwrite=self.overwrite,
        )


@takes_model(only=tuple(name for name in MODEL if name != "zoom"), gc_every=defaults.GC_EVERY)
@takes_groups
def spectrum(
    wanted: SpectrumOptions,
    as_json: AsJson = False,
    quiet: Quiet = False,
    *,
    model: "ModelOptions",
) -> None:
    """Show which spatial frequencies of the masks the gradient correction amplifies.

    Writes spectrum.png, before.npy, after.npy, ratio.npy (height, width; the lowest frequency in
    the middle) and spectrum.json.
    """
    job = wanted.job()
    from vostool.analysis.spectrum import spectrum as run
    from vostool.progress import show_progress

    # the frequencies of masks that are magnified more or less have nothing in common
    ready = load_model(model.changed({"zoom": 1}), quiet)
    with show_progress(f"{job.source.name} on {ready.device}", quiet, "masks") as progress:
        report = run(job, ready, progress)
    for warning in report.warnings:
        print_message(f"warning: {warning}", quiet)
    for name, band in report.bands.items():
        total = "none" if band.after_to_before is None else f"{band.after_to_before:.2f}"
        words = f"mean ratio {band.ratio:.2f} (Eq. 9), ratio of the means {total}"
        print_message(f"{name} frequencies: after / before: {words}", quiet)
    print_result(report, as_json, ("picture", "before", "after", "ratio"))
