"""`vostool train` on the command line."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vostool.cli.model_options import Device, Threads
from vostool.cli.options import Quiet
from vostool.threads import limit_threads

if TYPE_CHECKING:
    import torch

    from vostool.train.recipe import Recipe


def train(
    recipe: Annotated[str, typer.Argument(help="RECIPE.toml, or the name of a bundled recipe.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Folder of the run.", show_default="runs/<recipe's name>"
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change one entry of the recipe: seed=1. Repeatable.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Resume the run in the folder; you may increase the steps of the last phase.",
        ),
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Do not train; write the latest weights of the run in the folder to a new file "
            "(its weights.safetensors holds those that score best on the held-out clips)."
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that draw the clips, through /dev/shm; 0: a thread does.",
            show_default="as many as a GPU needs and the cores allow; on a CPU 0",
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a network from a recipe, with or without the cyclic loss.

    RECIPE is a TOML file, or the name of a bundled recipe: default, paper, paper-coco. Writes
    log.jsonl, tensorboard/, checkpoint.pt and weights.safetensors. To train in several processes:
    torchrun --nproc-per-node 2 -m vostool train RECIPE.
    """
    limit_threads(threads)
    from vostool.device import choose_device, oom_as_device_error
    from vostool.progress import print_warnings
    from vostool.train.distributed import own_device
    from vostool.train.recipe import find_recipe, read_recipe
    from vostool.train.state import export_run

    path = find_recipe(recipe)
    folder = output or Path("runs") / path.stem
    where = own_device(choose_device(device))
    with oom_as_device_error(where, "a smaller phases.size, objects, clips or network"):
        with print_warnings(quiet):
            if export is not None:
                print(export_run(folder, export))
                return
            settings = read_recipe(path, change or [])
        title = f"{path.stem} on {where}"
        weights = run_training(title, settings, folder, where, resume, workers, quiet)
    if weights is not None:
        print(weights)


def run_training(
    title: str,
    recipe: "Recipe",
    folder: Path,
    device: "torch.device",
    resume: bool,
    workers: int | None,
    quiet: bool,
) -> Path | None:
    """Train with progress on stderr; return the weights' file, in the first process only."""
    from vostool.progress import show_progress
    from vostool.train.distributed import processes
    from vostool.train.loop import train as run

    with stop_signals(folder) as stop, processes(device) as team:
        if team.first and not quiet:
            noun = "step" if recipe.steps == 1 else "steps"
            print(f"{title}: {recipe.steps} {noun} in {folder}", file=sys.stderr, flush=True)
        with show_progress(title, quiet or not team.first, "steps") as progress:
            words = ""

            def report(entry: dict[str, Any]) -> None:
                nonlocal words
                words = "  ".join(f"{key} {entry[key]}" for key in entry if key != "step")

            weights = run(
                recipe,
                folder,
                device=device,
                resume=resume,
                report=report,
                progress=lambda step, loss: progress(
                    step, recipe.steps, words or f"loss {loss:.4g}"
                ),
                team=team,
                stop=stop,
                workers=workers,
            )
    return weights if team.first else None


@contextmanager
def stop_signals(folder: Path) -> Iterator[Callable[[], bool]]:
    """Give a function that returns whether Ctrl-C or SIGTERM came; a second one acts at once.

    A training step must not be interrupted; the loop asks between two steps, saves, and
    raises KeyboardInterrupt. What is kept in `folder` is then reported; after SIGTERM the exit
    code is 143.
    """
    came: list[int] = []
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.getsignal(kind) for kind in kinds}

    def restore() -> None:
        for kind, handler in before.items():
            signal.signal(kind, handler)

    def note(number: int, frame: object) -> None:
        came.append(number)
        restore()

    for kind in kinds:
        signal.signal(kind, note)
    try:
        yield lambda: bool(came)
    except KeyboardInterrupt:
        if (folder / "checkpoint.pt").exists():
            words = f"stopped; the run is saved in {folder}: the same command with --resume goes on"
            print(f"vostool: {words}", file=sys.stderr)
        if came[:1] == [signal.SIGTERM]:
            raise typer.Exit(128 + signal.SIGTERM) from None
        raise
    finally:
        restore()
