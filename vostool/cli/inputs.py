"""Options of `vostool segment` that say where frames come from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vostool.cli.options import require_mask
from vostool.errors import UsageError

if TYPE_CHECKING:
    from vostool.media.inputs import Stream

Start = Annotated[
    str,
    typer.Option(
        metavar="FRAME",
        help="First frame: its number, from 0, or a time such as 0:12.5.",
        rich_help_panel="Input",
    ),
]
End = Annotated[
    str | None,
    typer.Option(
        metavar="FRAME",
        help="Frame to stop before, by number or time.",
        rich_help_panel="Input",
        show_default="to the end",
    ),
]
Demo = Annotated[
    bool,
    typer.Option("--demo", help="Segment a built-in demo clip.", rich_help_panel="Input"),
]
Batch = Annotated[
    Path | None,
    typer.Option(
        help="Segment the videos of a table instead (CSV, .jsonl, .parquet): columns video and "
        "mask, and optionally output, start, end, absent, write, and model options by their names: "
        "size, weights, gc_every ....",
        rich_help_panel="Input",
        show_default=False,
    ),
]
AllowNetwork = Annotated[
    bool,
    typer.Option(
        "--allow-network",
        help="Read a VIDEO that is an address, such as https://... or rtsp://...",
        rich_help_panel="Input",
    ),
]
Camera = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Segment what camera N of this computer shows, from 0, until Ctrl-C.",
        rich_help_panel="Input",
        show_default=False,
    ),
]
Stride = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Take every Nth frame only; masks keep the numbers of their frames.",
        rich_help_panel="Input",
    ),
]
Fps = Annotated[
    str | None,
    typer.Option(
        metavar="RATE",
        help="Frames per second of a folder of frames: 30, 23.976, 30000/1001.",
        rich_help_panel="Input",
        show_default="25 for folders",
    ),
]


def given_video(
    video: str | None, number: int | None, allow_network: bool
) -> "Path | Stream | None":
    """Return what is given as a video, if anything is; raises UsageError."""
    if video is None and number is None:
        return None
    from vostool.media.inputs import camera, parse_input

    if number is None:
        return None if video is None else parse_input(video, allow_network)
    if video is not None:
        raise UsageError(f"--camera {number} takes the place of a VIDEO, found {video} too")
    return camera(number)


def given_output(output: str | None, batch: Path | None) -> tuple[Path | None, str | None]:
    """Return the output folder that is given, and its address if it is not on this machine.

    Raises UsageError for an address without --batch or without the package that it needs,
    InputError for one that is unknown.
    """
    from vostool.files.remote import check_scheme, scheme_of

    if output is None:
        return None, None
    if scheme_of(output) is None:
        return Path(output), None
    if batch is None:
        raise UsageError(f"-o {output}: only --batch writes to an address; expected a folder")
    check_scheme(output)
    return Path(output), output


def check_segment_input(
    video: "Path | Stream | None",
    mask: list[str] | None,
    absent: list[str] | None,
    demo: bool,
    batch: Path | None,
    ranged: bool,
) -> None:
    """Raise UsageError for arguments that exclude each other."""
    if batch is not None:
        if video or mask or absent or demo:
            raise UsageError(
                "--batch names its videos, masks and absent stretches: give none, and no --demo"
            )
        return
    if demo and (video or mask or absent or ranged):
        raise UsageError("--demo brings its own video and mask: give neither, and no range")
    if not demo and video is None:
        raise UsageError("expected a VIDEO, or --camera, --demo or --batch")
    if not demo and video is not None:
        require_mask(video, mask)
