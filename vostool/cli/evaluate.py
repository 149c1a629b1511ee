"""`vostool eval` on the command line."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vostool.cli.compare import compare_runs
from vostool.cli.grouped_help import Commands
from vostool.cli.groups import takes_groups
from vostool.cli.interrupts import BEGIN_AGAIN, GO_ON, way_on
from vostool.cli.loading import load_model, local_pool
from vostool.cli.model_options import DISTURBANCE, takes_model
from vostool.cli.options import AsJson, Overwrite, Quiet, output_folder
from vostool.cli.printing import print_json, print_message, print_path
from vostool.cli.scores import print_late_warnings, print_scores
from vostool.errors import InputError, UsageError
from vostool.files.claims import refuse_to_replace

if TYPE_CHECKING:
    from vostool.evaluate.protocols import Benchmark
    from vostool.evaluate.results import Results
    from vostool.evaluate.sweep import Point
    from vostool.inference.options import ModelOptions
    from vostool.inference.predictor import Predictor

Root = Annotated[
    Path,
    typer.Argument(
        metavar="ROOT",
        help="The benchmark's folder: JPEGImages or videos, Annotations, lists of clips.",
        show_default=False,
    ),
]
Split = Annotated[
    str,
    typer.Option(help="Name of a split, or a file that lists clips.", rich_help_panel="Input"),
]


@dataclass(frozen=True)
class EvaluationOptions:
    """What of a benchmark is scored, how, and where the results go."""

    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Score the masks in FOLDER/<clip>/ instead of predicting them.",
            rich_help_panel="Input",
            show_default=False,
        ),
    ] = None
    output: Annotated[
        Path | None,
        output_folder("<benchmark>-<split>; none with --predictions"),
    ] = None
    pack: Annotated[
        Path | None,
        typer.Option(
            help="Write the zip for the benchmark's server, which DAVIS-2017 (test-dev) and "
            "YouTube-VOS have.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            help="size=240,480: run once per value of an option below. Repeatable: a grid.",
            rich_help_panel="Output",
            show_default=False,
        ),
    ] = None
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Predict N clips at a time, in processes of this machine: GPUs are dealt out, "
            "threads divided.",
            rich_help_panel="Compute",
        ),
    ] = 1
    overwrite: Overwrite = False
    as_json: AsJson = False
    quiet: Quiet = False

    def check(self, model: "ModelOptions") -> None:
        """Raise UsageError for options that do not go together, OutputError for a taken --pack."""
        if self.predictions is not None and (
            self.sweep or self.workers > 1 or model != type(model)()
        ):
            raise UsageError(
                "--predictions: scores given masks; takes no --sweep, no --workers, and no options "
                "of a model or of its correction"
            )
        if self.pack is not None:
            if self.sweep:
                raise UsageError("--pack --sweep: only a single run can be packed")
            refuse_to_replace([self.pack], "choose another file")


evaluation = Commands(
    short_help="Predict and score a benchmark, score existing masks, or compare two runs.",
    help="Predict and score a benchmark, score existing masks, or compare two runs. DAVIS-2017 "
    "(test-dev) and YouTube-VOS are scored by a server: --pack writes the zip that it accepts.",
)


def evaluate_on(benchmark: str, default_split: str) -> Callable[..., None]:
    """Return the command of a benchmark; all take the same options."""
    train_meta_option = typer.Option(
        help="The training set's meta.json, for seen and unseen categories.",
        rich_help_panel="Input",
        show_default=False,
        hidden=benchmark != "youtube-vos",
    )

    @takes_model(DISTURBANCE)
    @takes_groups
    def command(
        root: Root,
        split: Split = default_split,
        train_meta: Annotated[Path | None, train_meta_option] = None,
        wanted: EvaluationOptions = EvaluationOptions(),
        *,
        model: "ModelOptions",
    ) -> None:
        from vostool.evaluate.protocols import check_train_meta, open_benchmark

        wanted.check(model)
        check_train_meta(benchmark, train_meta)
        chosen = open_benchmark(benchmark, root, split, train_meta)
        for warning in chosen.warnings:
            print_message(f"warning: {warning}", wanted.quiet)
        if wanted.predictions is not None:
            score_only(chosen, wanted.predictions, wanted)
            return
        folder = wanted.output or Path(f"{benchmark}-{Path(split).stem}")
        if wanted.sweep and not chosen.scored:
            raise UsageError(f"--sweep: {root} holds no truth to score by")
        with way_on(BEGIN_AGAIN if wanted.overwrite else GO_ON):
            if wanted.sweep:
                run_sweep(chosen, model, wanted.sweep, folder, wanted)
            else:
                run_benchmark(chosen, model, folder, wanted)

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
evaluation.command("compare")(compare_runs)


def score_only(benchmark: "Benchmark", predictions: Path, wanted: EvaluationOptions) -> None:
    """Score given masks, or only pack them where no truth is available."""
    from vostool.evaluate.pack import pack
    from vostool.evaluate.results_writer import score

    if not benchmark.scored and wanted.pack is None:
        raise InputError(f"{benchmark.root}: holds no truth to score against; --pack writes a zip")
    results = None
    if benchmark.scored:
        results = score(benchmark, predictions, wanted.output, wanted.overwrite)
    if wanted.pack is not None:
        pack(benchmark, predictions, wanted.pack)
        print_path(wanted.pack, wanted.as_json)
    if results is not None:
        print_scores(results, wanted.output, wanted.as_json, wanted.quiet)


def run_benchmark(
    benchmark: "Benchmark", options: "ModelOptions", folder: Path, wanted: EvaluationOptions
) -> None:
    """Predict and score a benchmark, then pack the masks if that is asked for."""
    from vostool.evaluate.pack import pack
    from vostool.evaluate.results_writer import MASKS

    model = load_model(options, wanted.quiet)
    title = f"{benchmark.name} on {model.device}"
    results = predict_clips(benchmark, model, options, title, folder, wanted)
    print_late_warnings(benchmark, results, wanted.quiet)
    if wanted.pack is not None:
        pack(benchmark, folder / MASKS, wanted.pack)
        print_path(wanted.pack, wanted.as_json)
    print_scores(results, folder, wanted.as_json, wanted.quiet)


def predict_clips(
    benchmark: "Benchmark",
    model: "Predictor",
    options: "ModelOptions",
    title: str,
    folder: Path,
    wanted: EvaluationOptions,
) -> "Results":
    """Return the results of a benchmark, predicted here or by several processes."""
    from vostool.evaluate.predict import ClipWork
    from vostool.evaluate.results_writer import MASKS
    from vostool.evaluate.run import evaluate
    from vostool.progress import show_progress

    with ExitStack() as opened:
        progress = opened.enter_context(show_progress(title, wanted.quiet))
        pool = None
        if wanted.workers > 1:
            work = ClipWork(options, folder / MASKS)
            pool = opened.enter_context(local_pool(work, options, wanted.workers))
        return evaluate(
            benchmark, model, folder, overwrite=wanted.overwrite, progress=progress, pool=pool
        )


def run_sweep(
    benchmark: "Benchmark",
    options: "ModelOptions",
    specs: list[str],
    folder: Path,
    wanted: EvaluationOptions,
) -> None:
    """Run a grid of options, and write and draw the scores."""
    from vostool.evaluate.results import read_results
    from vostool.evaluate.run import describe, holds
    from vostool.evaluate.sweep import grid, write_sweep

    points = {point: point.options(options) for point in grid(specs)}  # before the first run
    results: dict[Point, Results] = {}
    same: dict[str, Results] = {}  # points whose options come to the same are run once
    for point, changed in points.items():
        model, place = load_model(changed, wanted.quiet or bool(results)), folder / point.folder
        key = describe(benchmark, model).model_dump_json()
        if key not in same:
            if not wanted.overwrite and holds(place, benchmark, model):
                same[key] = read_results(place)
            else:
                title = f"{point.name} on {model.device}"
                same[key] = predict_clips(benchmark, model, changed, title, place, wanted)
                print_late_warnings(benchmark, same[key], wanted.quiet)
        results[point] = same[key]
    written = write_sweep(folder, results)
    for path in written:
        print_path(path, wanted.as_json)
    if wanted.as_json:
        print_json(document_of(results, *written))


def document_of(
    results: "Mapping[Point, Results]", table: Path, picture: Path
) -> dict[str, object]:
    """Return a sweep as --json prints it."""
    from vostool.evaluate.results import summary

    found = [
        {
            "options": dict(point.values),
            "scores": summary(each.objects.values()),
            "speed": each.speed and each.speed.model_dump(),
            "predictions": str(each.predictions),
        }
        for point, each in results.items()
    ]
    return {"points": found, "table": str(table), "picture": str(picture)}
