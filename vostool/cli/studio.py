"""`vostool studio` on the command line."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vostool.cli.interrupts import GO_ON
from vostool.cli.model_options import takes_model
from vostool.cli.options import Quiet
from vostool.cli.printing import print_message

if TYPE_CHECKING:
    from vostool.inference.options import ModelOptions


@takes_model()
def studio(
    video: Annotated[
        Path,
        typer.Argument(
            help="A video, a folder of frames, or a folder that a studio has written.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder of the project: what is painted, and the results.",
            show_default="the video's name",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at.", show_default="a free one")
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    quiet: Quiet = False,
    *,
    model: "ModelOptions",
) -> None:
    """Paint first masks on a page, follow, repair and save.

    Prints the address of the page, which this computer alone can open, and once it is finished
    the paths of the results. What is painted is on disk at once: the same command goes on with it.
    """
    from vostool.allocator import bound_arenas
    from vostool.inference.options import ModelOptions
    from vostool.progress import print_warnings
    from vostool.studio.launch import opened_studio

    bound_arenas()  # before a thread reads or writes
    usual = ModelOptions()
    changes = {name: value for name, value in model if value != getattr(usual, name)}
    with print_warnings(quiet), opened_studio(video, output, changes, port) as opened:
        print(opened.url, flush=True)
        print_message("open this address in a browser; Finish on the page or Ctrl-C ends it", quiet)
        if browser:
            opened.open_browser()
        try:
            opened.run()
        except KeyboardInterrupt as stop:
            if opened.session.painted.places:
                command = shlex.join(["vostool", "studio", str(opened.session.folder)])
                stop.add_note(f"what was painted and followed is kept; {GO_ON}: {command}")
            raise
        for path in opened.session.results.paths:
            print(path)
