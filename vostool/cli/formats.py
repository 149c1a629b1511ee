"""Options of `vostool segment` that say what it writes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from vostool.cli.options import Check, DryRun, Overwrite, offer
from vostool.cli.piped import STDOUT
from vostool.cli.printing import print_table
from vostool.errors import UsageError

HELP = "help"  # in the place of a kind


# for the shell, which must not wait until PyTorch is imported with the table of writers
KINDS = (
    *("masks", "overlay", "cutouts", "alpha=prores", "alpha=vp9", "alpha=ffv1"),
    *("trimap", "matte", "matte=16", "matte=each", "matte=each+16"),
    *("matte=video", "matte=video+16", "matte=video+each", "matte=video+each+16"),
    *("effect=blur", "effect=pixelate", "effect=black", "effect=grey", "effect=colour:#00ff00"),
    *("coco", "ytvis", "cvat", "labelme", "yolo", "per-object", "table", "mot"),
    *("sheet", "side-by-side", "preview=gif", "preview=webp"),
)


def print_kinds(values: list[str] | None) -> list[str] | None:
    """Print the kinds of outputs and exit, if that is asked for."""
    if not values or HELP not in values:
        return values
    from rich.table import Table

    from vostool.segment.writers import WRITERS

    table = Table("--write", "file", "", title=None)
    for kind, writer in WRITERS.items():
        for variant, what in writer.variants.items():
            name, words = (f"{kind}={variant}", what) if variant else (kind, writer.help)
            table.add_row(name, writer.file_of(variant), words)
    print_table(table, on_stdout=True)
    raise typer.Exit


Write = Annotated[
    list[str] | None,
    typer.Option(
        "--write",
        metavar="KIND[=VARIANT][,KIND...]",
        help="What to write; --write help lists the kinds. Repeatable.",
        rich_help_panel="Output",
        show_default="masks,overlay",
        callback=print_kinds,
        is_eager=True,
        autocompletion=offer(*KINDS, HELP),
    ),
]
Names = Annotated[
    str | None,
    typer.Option(
        "--names",
        metavar="ID=NAME,...",
        help="Names of objects for coco, ytvis, cvat, labelme, yolo and table: 1=horse,2=rider.",
        rich_help_panel="Output",
        show_default=False,
    ),
]
Finishing = Annotated[
    str | None,
    typer.Option(
        "--finish",
        metavar="STEP,...",
        help="Finish masks before they are written, in this order: grow=2 (pixels; -2 shrinks), "
        "fill (holes), largest (part alone), smooth=3 (outlines), feather=1.5 (soft edges); "
        "2:grow=3 for object 2 alone. What is remembered stays as it is.",
        rich_help_panel="Output",
        show_default=False,
    ),
]
EffectOn = Annotated[
    str | None,
    typer.Option(
        "--effect-on",
        metavar="objects|background|ID",
        help="What the effect of --write effect=... is for.",
        rich_help_panel="Output",
        show_default="objects",
        autocompletion=offer("objects", "background"),
    ),
]
Opacity = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Opacity of the tint of objects in overlay, side-by-side, sheet and preview; "
        "0.5 unless given.",
        rich_help_panel="Output",
        show_default=False,
    ),
]
Palette = Annotated[
    str | None,
    typer.Option(
        help="Colours of that tint: davis or colour-blind.",
        rich_help_panel="Output",
        show_default="davis",
        autocompletion=offer("davis", "colour-blind"),
    ),
]
Codec = Annotated[
    str | None,
    typer.Option(
        help="Codec of films without alpha: h264, hevc or av1.",
        rich_help_panel="Output",
        show_default="h264",
        autocompletion=offer("h264", "hevc", "av1"),
    ),
]
Crf = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Their quality, from 0, the best, to 51, with av1 63.",
        rich_help_panel="Output",
        show_default="18; hevc 22, av1 30",
    ),
]


def quiet_encoders() -> None:
    """Let the encoder of AV1 print errors only; it is not FFmpeg that prints for it."""
    os.environ.setdefault("SVT_LOG", "1")


def outputs_of(write: Sequence[str] | None, flags: Mapping[str, bool | None]) -> tuple[str, ...]:
    """Return the names of the outputs that are wanted.

    They are the listed ones, else the default ones, and more or less by the flags that are given.
    Raises UsageError.
    """
    from vostool.segment.writers import DEFAULT, check_outputs, read_names

    names = [name for text in write for name in read_names(text)] if write else list(DEFAULT)
    names += [name for name, is_wanted in flags.items() if is_wanted]
    left = tuple(dict.fromkeys(name for name in names if flags.get(name) is not False))
    if not left:
        given = " ".join(f"--no-{name}" for name, is_wanted in flags.items() if is_wanted is False)
        raise UsageError(f"{given}: nothing is left to write")
    check_outputs(left)
    return left


@dataclass(frozen=True)
class OutputOptions:
    """What `vostool segment` writes, where, and whether it does."""

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
    ] = None
    write: Write = None
    overlay: Annotated[
        bool | None,
        typer.Option(
            "--overlay/--no-overlay",
            help="Write overlay.mp4.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None
    masks: Annotated[
        bool | None,
        typer.Option(
            "--masks/--no-masks",
            help="Write masks/00000.png ….",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None
    cutouts: Annotated[
        bool,
        typer.Option(
            "--cutouts",
            help="Write cutouts/00000.png …: the objects on a transparent background.",
            rich_help_panel="Output",
        ),
    ] = False
    names: Names = None
    finish: Finishing = None
    effect_on: EffectOn = None
    opacity: Opacity = None
    palette: Palette = None
    codec: Codec = None
    crf: Crf = None
    overwrite: Overwrite = False
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Do what is left of an interrupted run, or after a mask was added, changed or "
            "taken away: from that frame on. A batch does so anyway.",
            rich_help_panel="Output",
        ),
    ] = False
    states: Annotated[
        bool,
        typer.Option(
            "--state/--no-state",
            help="Keep what --resume needs (.state/, 256 MB; with XMem more).",
            rich_help_panel="Output",
        ),
    ] = True
    check: Check = None
    dry_run: DryRun = False
    fail_on_warning: Annotated[
        bool,
        typer.Option(
            "--fail-on-warning",
            help="Exit with code 9 if there are warnings; the result is still complete.",
            rich_help_panel="Output",
        ),
    ] = False

    def place(self, batch: Path | None) -> tuple[Path | None, str | None]:
        """Return the output folder that is given, and its address if it is not on this machine.

        Raises UsageError for an address without --batch or without the package that it needs,
        InputError for one that is unknown.
        """
        from vostool.files.remote import check_scheme, scheme_of

        if self.output is None:
            return None, None
        if scheme_of(self.output) is None:
            return Path(self.output), None
        if batch is None:
            words = "only --batch writes to an address; expected a folder"
            raise UsageError(f"-o {self.output}: {words}")
        check_scheme(self.output)
        return Path(self.output), self.output

    @property
    def to_stdout(self) -> bool:
        """Whether masks go to stdout, and nothing is kept."""
        return self.output == str(STDOUT)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs that are wanted; raises UsageError."""
        flags = {"masks": self.masks, "overlay": self.overlay, "cutouts": self.cutouts or None}
        return outputs_of(self.write, flags)
