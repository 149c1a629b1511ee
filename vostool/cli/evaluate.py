"""`vostool eval` on the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vostool.cli.grouped_help import Commands
from vostool.cli.interrupts import BEGIN_AGAIN, GO_ON, way_on
from vostool.cli.loading import load_model, local_pool
from vostool.cli.model_options import DISTURBANCE, takes_model
from vostool.cli.options import AsJson, Overwrite, Quiet
from vostool.cli.printing import print_json, print_message, print_path
from vostool.cli.scores import print_comparison, print_late_warnings, print_scores
from vostool.errors import InputError, UsageError

if TYPE_CHECKING:
    from vostool.evaluate.protocols import Benchmark
    from vostool.evaluate.results import Results
    from vostool.evaluate.sweep import Point
    from vostool.inference.options import ModelOptions
    from vostool.inference.predictor import Predictor

Workers = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Predict N clips at a time, in processes of this machine: GPUs are dealt out, threads "
        "divided.",
        rich_help_panel="Compute",
    ),
]

evaluation = Commands(
    short_help="Predict and score a benchmark, score existing masks, or compare two runs.",
    help="Predict and score a benchmark, score existing masks, or compare two runs. DAVIS-2017 "
    "(test-dev) and YouTube-VOS are scored by a server: --pack writes the zip that it accepts.",
)


def evaluate_on(benchmark: str, default_split: str) -> Callable[..., None]:
    """Return the command of a benchmark; all take the same options."""

    @takes_model(DISTURBANCE)
    def command(
        root: Annotated[
            Path,
            typer.Argument(
                metavar="ROOT",
                help="The benchmark's folder: JPEGImages or videos, Annotations, lists of clips.",
                show_default=False,
            ),
        ],
        split: Annotated[
            str,
            typer.Option(
                help="Name of a split, or a file that lists clips.", rich_help_panel="Input"
            ),
        ] = default_split,
        predictions: Annotated[
            Path | None,
            typer.Option(
                help="Score the masks in FOLDER/<clip>/ instead of predicting them.",
                rich_help_panel="Input",
                show_default=False,
            ),
        ] = None,
        train_meta: Annotated[
            Path | None,
            typer.Option(
                help="The training set's meta.json, for seen and unseen categories.",
                rich_help_panel="Input",
                show_default=False,
                hidden=benchmark != "youtube-vos",
            ),
        ] = None,
        output: Annotated[
            Path | None,
            typer.Option(
                "-o",
                "--output",
                help="Output folder.",
                rich_help_panel="Output",
                show_default="<benchmark>-<split>; none with --predictions",
            ),
        ] = None,
        pack: Annotated[
            Path | None,
            typer.Option(
                help="Write the zip for the benchmark's server, which DAVIS-2017 (test-dev) and "
                "YouTube-VOS have.",
                rich_help_panel="Output",
                show_default=False,
            ),
        ] = None,
        sweep: Annotated[
            list[str] | None,
            typer.Option(
                help="size=240,480: run once per value of an option below. Repeatable: a grid.",
                rich_help_panel="Output",
                show_default=False,
            ),
        ] = None,
        workers: Workers = 1,
        overwrite: Overwrite = False,
        as_json: AsJson = False,
        quiet: Quiet = False,
        *,
        model: "ModelOptions",
    ) -> None:
        from vostool.evaluate.protocols import check_train_meta, open_benchmark
        from vostool.files.claims import refuse_to_replace

        if predictions is not None and (sweep or workers > 1 or model != type(model)()):
            raise UsageError(
                "--predictions: scores given masks; takes no --sweep, no --workers, and no options "
                "of a model or of its correction"
            )
        if pack is not None and sweep:
            raise UsageError("--pack --sweep: only a single run can be packed")
        if pack is not None:
            refuse_to_replace([pack], "choose another file")
        check_train_meta(benchmark, train_meta)
        chosen = open_benchmark(benchmark, root, split, train_meta)
        for warning in chosen.warnings:
            print_message(f"warning: {warning}", quiet)
        if predictions is not None:
            score_only(chosen, predictions, output, overwrite, pack, as_json, quiet)
            return

        folder = output or Path(f"{benchmark}-{Path(split).stem}")
        if sweep and not chosen.scored:
            raise UsageError(f"--sweep: {root} holds no truth to score by")
        with way_on(BEGIN_AGAIN if overwrite else GO_ON):
            if sweep:
                run_sweep(chosen, model, sweep, folder, overwrite, as_json, quiet, workers)
            else:
                run_benchmark(chosen, model, folder, overwrite, pack, as_json, quiet, workers)

    return command


for benchmark, default_split, words in (
    ("davis16", "val", "DAVIS-2016: one object per clip; masks are black and white."),
    ("davis17", "val", "DAVIS-2017: several objects per clip, each with its id."),
    ("youtube-vos", "valid", "YouTube-VOS: objects may enter at any frame, as meta.json says."),
):
    evaluation.command(
        benchmark,
        short_help=words,
        help=f"{words} Predict and score it, or score given masks. Writes masks/, results.json, "
        "CSV tables and report.html; an interrupted run goes on where it stopped.",
    )(evaluate_on(benchmark, default_split))


def score_only(
    benchmark: "Benchmark",
    predictions: Path,
    output: Path | None,
    overwrite: bool,
    pack: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score given masks, or only pack them where no truth is available."""
    from vostool.evaluate.pack import pack as write_zip
    from vostool.evaluate.results_writer import score

    if not benchmark.scored and pack is None:
        raise InputError(f"{benchmark.root}: holds no truth to score against; --pack writes a zip")
    results = score(benchmark, predictions, output, overwrite) if benchmark.scored else None
    if pack is not None:
        write_zip(benchmark, predictions, pack)
        print_path(pack, as_json)
    if results is not None:
        print_scores(results, output, as_json, quiet)


def run_benchmark(
    benchmark: "Benchmark",
    options: "ModelOptions",
    folder: Path,
    overwrite: bool,
    pack: Path | None,
    as_json: bool,
    quiet: bool,
    workers: int = 1,
) -> None:
    """Predict and score a benchmark, then pack the masks if that is asked for."""
    from vostool.evaluate.pack import pack as write_zip
    from vostool.evaluate.results_writer import MASKS

    model = load_model(options, quiet)
    title = f"{benchmark.name} on {model.device}"
    results = predict_clips(benchmark, model, options, title, folder, overwrite, quiet, workers)
    print_late_warnings(benchmark, results, quiet)
    if pack is not None:
        write_zip(benchmark, folder / MASKS, pack)
        print_path(pack, as_json)
    print_scores(results, folder, as_json, quiet)


def predict_clips(
    benchmark: "Benchmark",
    model: "Predictor",
    options: "ModelOptions",
    title: str,
    folder: Path,
    overwrite: bool,
    quiet: bool,
    workers: int,
) -> "Results":
    """Return the results of a benchmark, predicted here or by so many processes."""
    from vostool.evaluate.predict import ClipWork
    from vostool.evaluate.results_writer import MASKS
    from vostool.evaluate.run import evaluate
    from vostool.progress import show_progress

    with show_progress(title, quiet) as progress:
        if workers == 1:
            return evaluate(benchmark, model, folder, overwrite=overwrite, progress=progress)
        with local_pool(ClipWork(options, folder / MASKS), options, workers) as pool:
            return evaluate(
                benchmark, model, folder, overwrite=overwrite, progress=progress, pool=pool
            )


def run_sweep(
    benchmark: "Benchmark",
    options: "ModelOptions",
    specs: list[str],
    folder: Path,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    workers: int = 1,
) -> None:
    """Run a grid of options, and write and draw the scores."""
    from vostool.evaluate.results import read_results, summary
    from vostool.evaluate.run import describe, holds
    from vostool.evaluate.sweep import grid, write_sweep

    points = {point: point.options(options) for point in grid(specs)}  # before the first run
    results: dict[Point, Results] = {}
    same: dict[str, Results] = {}  # points whose options come to the same are run once
    for point, changed in points.items():
        model, place = load_model(changed, quiet or bool(results)), folder / point.folder
        key = describe(benchmark, model).model_dump_json()
        if key not in same:
            if not overwrite and holds(place, benchmark, model):
                same[key] = read_results(place)
            else:
                title = f"{point.name} on {model.device}"
                same[key] = predict_clips(
                    benchmark, model, changed, title, place, overwrite, quiet, workers
                )
                print_late_warnings(benchmark, same[key], quiet)
        results[point] = same[key]
    table, picture = write_sweep(folder, results)
    print_path(table, as_json)
    print_path(picture, as_json)
    if as_json:
        found = [
            {
                "options": dict(point.values),
                "scores": summary(each.objects.values()),
                "speed": each.speed and each.speed.model_dump(),
                "predictions": str(each.predictions),
            }
            for point, each in results.items()
        ]
        print_json({"points": found, "table": str(table), "picture": str(picture)})


@evaluation.command("compare")
def compare_runs(
    first: Annotated[Path, typer.Argument(help="A run's folder, or its results.json.")],
    second: Annotated[Path, typer.Argument(help="Another run, on the same clips.")],
    picture: Annotated[
        Path | None,
        typer.Option(
            help="Write a PNG of the frames on which the masks of both differ most, side by side; "
            "needs no truth.",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[
        int, typer.Option(min=1, help="Frames in the picture, each of another clip.")
    ] = 4,
    as_json: AsJson = False,
) -> None:
    """Print the score difference, second run minus first, with confidence intervals.

    The intervals are bootstrapped: clips are drawn 10,000 times with replacement.
    """
    from vostool.evaluate.compare import compare
    from vostool.evaluate.results import read_results
    from vostool.files.claims import refuse_to_replace

    if picture is not None:
        refuse_to_replace([picture], "choose another file")
    runs = read_results(first), read_results(second)
    # masks can be drawn without truth
    comparison = None
    if picture is None or any(run.clips for run in runs):
        comparison = compare(*runs, names=(str(first), str(second)))
    if picture is not None:
        from vostool.evaluate.side_by_side import draw_side_by_side, titles_of
        from vostool.media.figures import save_figure

        save_figure(picture, draw_side_by_side(runs, titles_of(first, second), rows))
    if comparison is not None:
        print_comparison(comparison, as_json)
    if picture is not None:
        print_path(picture, as_json)
    if as_json:
        found = {} if comparison is None else comparison.model_dump()
        if comparison is not None:
            found["warnings"] = comparison.warnings
        if picture is not None:
            found["picture"] = picture
        print_json(found)
