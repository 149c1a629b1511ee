"""`vostool train` on the command line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from vostool.cli.options import Device, Quiet


def train(
    recipe: Annotated[str, typer.Argument(help="RECIPE.toml, or a shipped one's name.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder of the run.", show_default="runs/<recipe's name>"
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one entry: seed=1. Repeatable.", show_default=False),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in the folder; of its recipe the last phase may be longer.",
        ),
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Train nothing; write the latest weights of the run in the folder, as it is, to a "
            "file (its weights.safetensors has those that did best on the clips held out)."
        ),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a network from a recipe, with the cycle or without.

    RECIPE is a TOML file, or the name of a shipped one: default, paper. Writes log.jsonl,
    tensorboard/, checkpoint.pt and weights.safetensors. Several processes: torchrun
    --nproc-per-node 2 -m vostool train RECIPE.
    """
    from vostool.device import choose_device
    from vostool.progress import show_progress
    from vostool.train.distributed import own_device, processes
    from vostool.train.loop import train as run
    from vostool.train.recipe import find_recipe, read_recipe
    from vostool.train.state import export_run

    path = find_recipe(recipe)
    folder = output or Path("runs") / path.stem
    if export is not None:
        print(export_run(folder, export))
        return
    settings = read_recipe(path, change or [])
    where = own_device(choose_device(device))
    with stop_signals() as stop, processes(where) as team:
        title = f"{path.stem} on {where}"
        with show_progress(title, quiet or not team.first, "steps") as progress:

            def report(entry: dict[str, Any]) -> None:
                step = entry.pop("step")
                words = "  ".join(f"{name} {value}" for name, value in entry.items())
                progress(step, settings.steps, words)

            weights = run(
                settings,
                folder,
                device=where,
                resume=resume,
                report=report,
                team=team,
                stop=stop,
            )
    if team.first:
        print(weights)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C or SIGTERM came, which end nothing by now.

    A step of training must not be torn apart; the loop asks between two of them.
    """
    import signal

    came: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, lambda number, frame: came.append(number)) for kind in kinds]
    try:
        yield lambda: bool(came)
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)
