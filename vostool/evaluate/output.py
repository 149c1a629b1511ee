"""What an evaluation leaves: scores brought together, tables, report; never imports torch."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vostool import __version__
from vostool.claims import claimed, refuse_to_replace
from vostool.errors import InputError
from vostool.evaluate.benchmarks import Benchmark
from vostool.evaluate.report import worst_frames, write_report
from vostool.evaluate.results import FILE, ClipScores, Results, Speed
from vostool.evaluate.scoring import score_clips
from vostool.evaluate.tables import write_tables
from vostool.files import write_text

MASKS, STATE = "masks", "run.json"  # in the folder of a run


def score(
    benchmark: Benchmark, predictions: Path, folder: Path | None, overwrite: bool = False
) -> Results:
    """Score masks made by anyone, in `predictions`/<clip>; report in `folder`, if given."""
    if not predictions.is_dir():
        raise InputError(f"{predictions}: no such folder of predictions")
    if folder is not None:
        refuse_to_replace([folder / STATE], "it is of a run; choose another -o")
        if not overwrite:
            refuse_to_replace([folder / FILE])
    clips = score_clips([clip for clip in benchmark.clips if clip.objects], predictions)
    results = make_results(benchmark, predictions, clips, {}, None)
    if folder is not None:
        with claimed(folder):
            write_results(folder, results)
    return results


def make_results(
    benchmark: Benchmark,
    predictions: Path,
    clips: list[ClipScores],
    description: dict[str, Any],
    speed: Speed | None,
    lowered: dict[str, list[dict[str, Any]]] | None = None,
) -> Results:
    """Bring together what was found, with absolute paths."""
    return Results(
        benchmark=benchmark.name,
        split=benchmark.split,
        root=benchmark.root.resolve(),
        predictions=predictions.resolve(),
        options=description.get("options", {}),
        versions=versions(),
        clips=clips,
        speed=speed,
        lowered=lowered or {},
    )


def write_results(folder: Path, results: Results) -> None:
    """Write the tables and the report where anything was scored, and last results.json."""
    if results.clips:
        write_tables(folder, results)
        write_report(folder / "report.html", results, list(worst_frames(results)))
    write_text(folder / FILE, results.model_dump_json(indent=1) + "\n")


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    return {
        "vostool": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "av", "numpy", "opencv-python-headless")},
    }
