"""Options of `vostool segment` that say where frames come from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vostool.errors import UsageError

if TYPE_CHECKING:
    from vostool.media.inputs import Stream

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
        show_default="25",
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
