"""Options of `vostool segment` that say where frames come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vostool.cli.options import Absent, Cuts, require_mask
from vostool.errors import UsageError
from vostool.inference.cuts import OnCut

if TYPE_CHECKING:
    from vostool.media.inputs import Stream
    from vostool.media.time_codes import Position

FIRST = "0"  # frame

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
        help="Segment the videos of a table (CSV, .jsonl, .parquet): columns video, mask and, if "
        "wanted, output, start, end, absent, write, and options of the model (size, weights, ...).",
        rich_help_panel="Many videos",
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


@dataclass(frozen=True)
class InputOptions:
    """What `vostool segment` reads, and what the user says of the objects in it."""

    video: Annotated[
        str | None,
        typer.Argument(
            help="A video, a folder of frames, or - for one on stdin (y4m, mpegts, mkv).",
            show_default=False,
        ),
    ] = None
    mask: Annotated[
        list[str] | None,
        typer.Option(
            "-m",
            "--mask",
            help="MASK.png for the first frame; 120:LATE.png for frame 120, 0:04.8:LATE.png for "
            "that time; 2@DOG.png for object 2 alone; or a folder of masks named like the frames, "
            "00120.png for frame 120. Repeatable.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None
    absent: Absent = None
    backward: Annotated[
        bool,
        typer.Option(
            "--backward",
            help="Follow the objects of a mask to the frames before it as well; between two masks "
            "of an object both count, the nearer one more.",
            rich_help_panel="Input",
        ),
    ] = False
    cuts: Cuts = OnCut.IGNORE
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Treat the masks as soft masks of one object (grey edges, JPEG, a matte): pixels "
            "at least this white, or this opaque, belong to the object.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None
    start: Start = FIRST
    end: End = None
    stride: Stride = 1
    fps: Fps = None
    camera: Camera = None
    allow_network: AllowNetwork = False
    demo: Demo = False
    batch: Batch = None

    @property
    def span(self) -> "tuple[Position | None, Position | None]":
        """The first frame and the one to stop before, as given; raises UsageError."""
        from vostool.media.time_codes import parse_position

        end = None if self.end is None else parse_position("--end", self.end)
        return parse_position("--start", self.start), end

    def source(self) -> "Path | Stream | None":
        """Return the video; None with --demo or --batch. Raises UsageError."""
        from vostool.media.inputs import camera, parse_input

        video = None if self.video is None else parse_input(self.video, self.allow_network)
        if self.camera is not None:
            if self.video is not None:
                raise UsageError(
                    f"--camera {self.camera} takes the place of a VIDEO, found {self.video} too"
                )
            video = camera(self.camera)
        self._check(video)
        return video

    def _check(self, video: "Path | Stream | None") -> None:
        """Raise UsageError for arguments that exclude each other."""
        described = video or self.mask or self.absent
        if self.batch is not None:
            if described or self.demo:
                raise UsageError(
                    "--batch names its videos, masks and absent stretches: give none, and no --demo"
                )
        elif self.demo:
            if described or self.start != FIRST or self.end is not None:
                raise UsageError("--demo brings its own video and mask: give neither, and no range")
        elif video is None:
            raise UsageError("expected a VIDEO, or --camera, --demo or --batch")
        else:
            require_mask(video, self.mask)
