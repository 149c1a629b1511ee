"""Options that several commands take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vostool import defaults
from vostool.errors import InputError, UsageError
from vostool.inference.cuts import OnCut
from vostool.progress import ProgressForm

if TYPE_CHECKING:
    from vostool.media.inputs import Stream

MASK_REMEDY = (
    "a PNG of the size of the video, black where there is no object, each object in a grey value "
    "or colour of its own; to make one, draw it (vostool mask --help), or save the first frame "
    "(vostool mask VIDEO --frame-only) and paint over it in an image editor, without smooth edges"
)


def offer(*values: str) -> Callable[[str], list[str]]:
    """Return a shell completion that offers some values."""

    def complete(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return complete


def output_folder(default: str) -> Any:
    """Return the option -o of a command, whose help names the folder that it writes by default."""
    return typer.Option(
        "-o",
        "--output",
        help="Output folder.",
        rich_help_panel="Output",
        show_default=default,
    )


Absent = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ID:FROM-TO",
        help="Frames without an object, such as 2:120-180: it is written empty there, and nothing "
        "is remembered of it. A black mask says so of its frame. Repeatable.",
        rich_help_panel="Input",
        show_default=False,
    ),
]
Cuts = Annotated[
    OnCut,
    typer.Option(
        help="At a scene cut, stop: objects are empty from there until a mask shows them again; "
        "reset: they are sought by the given masks alone; ignore: they are followed on.",
        rich_help_panel="Input",
    ),
]
Check = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Judge every Nth frame without truth: by the mean probability of each object, and by "
        "how well the network finds the given mask again from this frame alone. "
        f"{defaults.CHECK_EVERY} unless given, 0: off. The scores go into run.json and check.csv, "
        "and where --check is given into check.png.",
        rich_help_panel="Output",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Write nothing: say what would be read and written, and measure on a few frames how "
        "long it would take and how much memory.",
        rich_help_panel="Output",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Progress = Annotated[
    ProgressForm,
    typer.Option(
        help="json: one JSON document per second on stderr, with done, total, per_second, "
        "seconds_left.",
        show_default=False,
    ),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing result.", rich_help_panel="Output")
]


@dataclass(frozen=True)
class PrintOptions:
    """What a command prints besides its result, and in which form."""

    as_json: AsJson = False
    quiet: Quiet = False
    progress: Progress = ProgressForm.AUTO


def require_mask(video: "Path | Stream", mask: str | Sequence[str] | None) -> None:
    """Raise UsageError for a video without a mask, InputError if the video is not there either."""
    if mask:
        return
    if isinstance(video, Path) and not video.exists():
        raise InputError(f"{video}: no such file or folder")
    raise UsageError(f"{video}: expected --mask MASK.png, {MASK_REMEDY}")
