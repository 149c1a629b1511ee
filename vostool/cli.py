"""The command line: parse, call one function, report. Alone prints and exits.

stdout carries the result only; words and progress go to stderr. Nothing heavy is imported
before a command runs, so that --help answers at once.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vostool import __version__
from vostool.errors import InputError, UsageError, VostoolError

if TYPE_CHECKING:
    from vostool.cycle import GradientCorrection

app = typer.Typer(
    name="vostool",
    help="Cut objects out of videos: a mask of the first frame in, masks of every frame out.",
    epilog="Exit codes: 0 done, 1 our fault, 2 usage, 3 bad input, 4 bad mask, 5 device or "
    "memory, 6 weights, 7 output exists or cannot be written, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def print_version(wanted: bool) -> None:
    """Answer --version."""
    if wanted:
        print(f"vostool {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


# the options of every command that runs a model
Weights = Annotated[str, typer.Option(help="A weights file, or a name.", rich_help_panel="Model")]
Size = Annotated[
    int,
    typer.Option(
        min=32, help="Short side at which the network works, pixels.", rich_help_panel="Model"
    ),
]
MemoryEvery = Annotated[
    int, typer.Option(min=1, help="Remember every Nth frame.", rich_help_panel="Model")
]
MemoryFrames = Annotated[
    int,
    typer.Option(
        min=2,
        help="Remember at most N frames: the annotated, and the latest of the others.",
        rich_help_panel="Model",
    ),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:NUMBER.", rich_help_panel="Compute")
]
Precision = Annotated[
    str, typer.Option(help="auto, fp32, bf16 or fp16.", rich_help_panel="Compute")
]
GcEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Correct every Kth frame by its cycle with the mask given, and the memory with it.",
        rich_help_panel="Gradient correction",
        show_default="off; papers: 5",
    ),
]
GcIters = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Steps for a frame, at most.",
        rich_help_panel="Gradient correction",
        show_default="10",
    ),
]
GcRate = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Length of a step, in the papers' unit at every --size.",
        rich_help_panel="Gradient correction",
        show_default="180",
    ),
]
GcLength = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Length of a step as the root mean square change of a mask, in place of --gc-rate.",
        rich_help_panel="Gradient correction",
        show_default=False,
    ),
]
GcSmooth = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Weight of the smoothness of the mask.",
        rich_help_panel="Gradient correction",
        show_default="0.75",
    ),
]
GcStop = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Stop before the steps are up once one lowers the loss by less than this share.",
        rich_help_panel="Gradient correction",
        show_default="never",
    ),
]
GcMemoryOnly = Annotated[
    bool,
    typer.Option(
        "--gc-memory-only",
        help="Remember the corrected masks, but write the others.",
        rich_help_panel="Gradient correction",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of paths.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no words; errors only.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a result.", rich_help_panel="Output")
]


@app.command()
def segment(
    video: Annotated[
        Path | None,
        typer.Argument(help="A video, or a folder of frames.", show_default=False),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option(
            help="MASK.png for the first frame; 120:LATE.png for frame 120; or a folder of "
            "masks named by frame number. Repeatable.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        int, typer.Option(min=0, help="First frame, from 0.", rich_help_panel="Input")
    ] = 0,
    end: Annotated[
        int | None,
        typer.Option(
            min=1, help="Frame to stop before.", rich_help_panel="Input", show_default="the last"
        ),
    ] = None,
    demo: Annotated[
        bool,
        typer.Option("--demo", help="Render a short clip and segment it.", rich_help_panel="Input"),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder to write.",
            rich_help_panel="Output",
            show_default="the video's name",
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option(help="Write overlay.mp4.", rich_help_panel="Output")
    ] = True,
    masks: Annotated[
        bool, typer.Option(help="Write masks/00000.png ….", rich_help_panel="Output")
    ] = True,
    overwrite: Overwrite = False,
    weights: Weights = "default",
    size: Size = 240,
    memory_every: MemoryEvery = 5,
    memory_frames: MemoryFrames = 8,
    gc_every: GcEvery = None,
    gc_iters: GcIters = None,
    gc_rate: GcRate = None,
    gc_length: GcLength = None,
    gc_smooth: GcSmooth = None,
    gc_stop: GcStop = None,
    gc_memory_only: GcMemoryOnly = False,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Follow the objects of a mask through a video.

    Writes masks/ (indexed PNG, one per frame), overlay.mp4 and run.json.
    """
    check_segment_input(video, mask, demo, start, end)
    if not overlay and not masks:
        raise UsageError("--no-overlay --no-masks: nothing is left to write")
    correction = gradient_correction(
        gc_every, gc_iters, gc_rate, gc_length, gc_smooth, gc_stop, gc_memory_only
    )

    from vostool.demo import render_demo
    from vostool.follow import load_model
    from vostool.progress import show_progress
    from vostool.propagate import MEMORY
    from vostool.segment import Job, default_output
    from vostool.segment import segment as run

    references = replace(MEMORY, every=memory_every)
    model = load_model(weights, device, precision, size, references, memory_frames, correction)
    if demo or video is None:
        output = output or Path("vostool-demo")
        video, mask = render_demo(output)
    job = Job(
        video=video,
        masks=tuple(mask or ()),
        output=output or default_output(video),
        overlay=overlay,
        save_masks=masks,
        start=start,
        end=end,
        overwrite=overwrite,
    )
    with show_progress(f"{video.name} on {model.device}", quiet) as progress:
        report = run(job, model, progress)
    for warning in report["warnings"]:
        tell(f"warning: {warning}", quiet)
    speed = report["fps"]
    tell(
        f"{report['frames']} frames, {speed['end_to_end']} frames/s "
        f"(network alone {speed['network']})",
        quiet,
    )
    print_result(report, as_json, ("masks", "overlay"))


def check_segment_input(
    video: Path | None, mask: list[str] | None, demo: bool, start: int, end: int | None
) -> None:
    """Raise UsageError for arguments that make no sense together."""
    if demo and (video or mask or start or end):
        raise UsageError("--demo brings its own video and mask: give neither, and no range")
    if not demo and video is None:
        raise UsageError("expected a VIDEO, or --demo")
    if not demo and not mask:
        raise UsageError("expected --mask MASK.png: what to follow, on the first frame")
    if end is not None and end <= start:
        raise UsageError(f"--start {start} --end {end}: the range is empty")


def gradient_correction(
    every: int | None,
    iters: int | None,
    rate: float | None,
    length: float | None,
    smooth: float | None,
    stop: float | None,
    memory_only: bool,
) -> "GradientCorrection | None":
    """Return what the --gc options ask for; raises UsageError for what makes no sense."""
    if rate is not None and length is not None:
        raise UsageError("--gc-rate --gc-length: each says how far a step goes; give one")
    given = {
        "steps": iters,
        "rate": rate,
        "length": length,
        "smooth": smooth,
        "tolerance": stop,
    }
    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if memory_only:
        options["memory_only"] = True
    if every is not None:
        from vostool.cycle import GradientCorrection

        return GradientCorrection(every, **options)
    if options:
        raise UsageError("a --gc option: expected --gc-every K with it, how often to correct")
    return None


@app.command()
def erf(
    video: Annotated[Path, typer.Argument(help="A video, or a folder of frames.")],
    mask: Annotated[
        str,
        typer.Option(
            help="MASK.png of the first frame, or 120:MASK.png: what is to be explained.",
            rich_help_panel="Input",
        ),
    ],
    frame: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Frame to look into, after the mask's.",
            rich_help_panel="Input",
            show_default="the middle one",
        ),
    ] = None,
    truth: Annotated[
        list[str] | None,
        typer.Option(
            help="Mask of that frame, or a folder of masks: where its object truly is. Repeatable.",
            rich_help_panel="Input",
            show_default="as the network finds it",
        ),
    ] = None,
    object_id: Annotated[
        int | None,
        typer.Option(
            "--object",
            min=1,
            help="Explain this object of the mask alone.",
            rich_help_panel="Input",
            show_default="all",
        ),
    ] = None,
    iters: Annotated[int, typer.Option(min=1, help="Steps.", rich_help_panel="Model")] = 50,
    rate: Annotated[
        float, typer.Option(min=0, help="Length of a step.", rich_help_panel="Model")
    ] = 180.0,
    strip: Annotated[
        int, typer.Option(min=0, help="Frames in strip.png.", rich_help_panel="Output")
    ] = 5,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder to write.",
            rich_help_panel="Output",
            show_default="the video's name and -erf",
        ),
    ] = None,
    overwrite: Overwrite = False,
    weights: Annotated[
        list[str],
        typer.Option(
            help="A weights file, or a name. Repeatable: they are shown side by side.",
            rich_help_panel="Model",
        ),
    ] = ["default"],  # noqa: B006
    size: Size = 240,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show which pixels of a frame explain the mask of another (cycle-ERF).

    Writes erf.png, strip.png, steps.mp4, erf.npy (weights, frames, height, width) and erf.json.
    """
    from vostool.erf import ErfJob
    from vostool.erf import erf as run
    from vostool.follow import load_model
    from vostool.progress import show_progress

    models = [load_model(each, device, precision, size) for each in weights]
    job = ErfJob(
        video=video,
        mask=mask,
        output=output or Path(f"{video.resolve().stem}-erf"),
        frame=frame,
        truth=tuple(truth or ()),
        object_id=object_id,
        steps=iters,
        rate=rate,
        strip=strip,
        overwrite=overwrite,
    )
    with show_progress(f"{video.name} on {models[0].device}", quiet, "steps") as progress:
        report = run(job, models, progress)
    for each in report["responses"]:
        inside = "no response" if each["share"] is None else f"{each['share']:.1%} of the response"
        tell(
            f"{each['weights']}, frame {each['frame']}: {inside} inside the object, "
            f"which covers {each['area']:.1%}",
            quiet,
        )
    print_result(report, as_json, ("picture", "strip", "animation", "array"))


@app.command()
def spectrum(
    source: Annotated[
        Path, typer.Argument(help="A video, or a folder of clips with masks such as DAVIS.")
    ],
    mask: Annotated[
        str | None,
        typer.Option(
            help="MASK.png of the first frame of a video.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None,
    listed: Annotated[
        Path | None,
        typer.Option(
            "--list",
            help="File that names the clips of a folder to take.",
            rich_help_panel="Input",
            show_default="all",
        ),
    ] = None,
    end: Annotated[
        int | None,
        typer.Option(
            min=1, help="Frame to stop before.", rich_help_panel="Input", show_default="the last"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="Folder to write.",
            rich_help_panel="Output",
            show_default="the source's name and -spectrum",
        ),
    ] = None,
    overwrite: Overwrite = False,
    weights: Weights = "default",
    size: Size = 240,
    gc_every: Annotated[
        int,
        typer.Option(min=1, help="Correct every Kth frame.", rich_help_panel="Gradient correction"),
    ] = 5,
    gc_iters: GcIters = None,
    gc_rate: GcRate = None,
    gc_length: GcLength = None,
    gc_smooth: GcSmooth = None,
    gc_stop: GcStop = None,
    device: Device = "auto",
    precision: Precision = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Show which frequencies of the masks the gradient correction raises.

    Writes spectrum.png, before.npy, after.npy, ratio.npy (height, width; the lowest frequency in
    the middle) and spectrum.json.
    """
    correction = gradient_correction(
        gc_every, gc_iters, gc_rate, gc_length, gc_smooth, gc_stop, False
    )

    from vostool.follow import load_model
    from vostool.progress import show_progress
    from vostool.spectrum import SpectrumJob
    from vostool.spectrum import spectrum as run

    model = load_model(weights, device, precision, size, correction=correction)
    job = SpectrumJob(
        source=source,
        output=output or Path(f"{source.resolve().stem}-spectrum"),
        mask=mask,
        listed=listed,
        end=end,
        overwrite=overwrite,
    )
    with show_progress(f"{source.name} on {model.device}", quiet, "masks") as progress:
        report = run(job, model, progress)
    for name, band in report["bands"].items():
        words = f"{band['ratio']:.2f} in the mean (Eq. 9), {band['after_to_before']:.2f} in all"
        tell(f"{name} frequencies: after / before {words}", quiet)
    print_result(report, as_json, ("picture", "before", "after", "ratio"))


@app.command()
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
        bool, typer.Option("--resume", help="Go on with the run in the folder.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(help="Train nothing; write the weights of the run to a file."),
    ] = None,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a network from a recipe, with the cycle or without.

    RECIPE is a TOML file, or the name of a shipped one: paper. Writes log.jsonl,
    tensorboard/, checkpoint.pt and weights.safetensors. Several processes: torchrun
    --nproc-per-node 2 -m vostool train RECIPE.
    """
    from vostool.device import choose_device
    from vostool.processes import own_device, processes
    from vostool.progress import show_progress
    from vostool.recipe import find_recipe, read_recipe
    from vostool.train import export_run
    from vostool.train import train as run

    path = find_recipe(recipe)
    settings = read_recipe(path, change or [])
    folder = output or Path("runs") / path.stem
    if export is not None:
        print(export_run(settings, folder, export))
        return
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


def tell(words: str, quiet: bool = False) -> None:
    """Say something to the person, on stderr."""
    if not quiet:
        print(words, file=sys.stderr, flush=True)


def print_result(report: dict[str, Any], as_json: bool, paths: tuple[str, ...]) -> None:
    """Print the result on stdout: the whole report, or the paths in it."""
    if as_json:
        print(json.dumps(report, default=str))
        return
    for name in paths:
        if report[name] is not None:
            print(report[name])


def main() -> None:
    """Run the command line; the one place that turns our errors into words and exit codes.

    Typer words wrong options itself (2) and answers Ctrl-C (130); what nobody foresaw keeps
    its traceback (1).
    """
    try:
        app()
    except VostoolError as error:
        fail(str(error), error.exit_code)
    except OSError as error:  # a path that even looking at fails: too long, or not ours to see
        fail(f"{error.filename or 'a file'}: {error.strerror or error}", InputError.exit_code)


def fail(words: str, code: int) -> None:
    """Say in one line what went wrong, and exit."""
    print(f"vostool: {' '.join(words.split())}", file=sys.stderr)
    sys.exit(code)
