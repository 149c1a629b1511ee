"""The output of an evaluation: results, tables and report; never imports torch."""

import platform
import shlex
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vostool import __version__
from vostool.errors import InputError
from vostool.evaluate.protocols import Benchmark
from vostool.evaluate.report import worst_frames, write_report
from vostool.evaluate.results import FILE, ClipScores, Results, Speed
from vostool.evaluate.scoring import score_clips
from vostool.evaluate.tables import write_tables
from vostool.files import write_text
from vostool.files.claims import claimed, refuse_to_replace

MASKS, STATE = "masks", "run.json"  # in the folder of a run


def score(
    benchmark: Benchmark, predictions: Path, folder: Path | None, overwrite: bool = False
) -> Results:
    """Return the scores of masks in `predictions`/<clip>; reported in `folder`, if given.

    Raises InputError, MaskError, OutputError or DeviceError.
    """
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
    options: dict[str, Any],
    speed: Speed | None,
    lowered: dict[str, list[dict[str, Any]]] | None = None,
    weights: Path | None = None,
    warnings: Iterable[str] = (),
) -> Results:
    """Return the results of a run, with absolute paths, the time and the command."""
    return Results(
        benchmark=benchmark.name,
        split=benchmark.split,
        root=benchmark.root.resolve(),
        predictions=predictions.resolve(),
        options=options,
        versions=versions(),
        created=datetime.now(UTC).replace(microsecond=0),
        command=command_line(),
        weights=str(weights) if weights else None,
        warnings=[*benchmark.warnings, *warnings],
        clips=clips,
        speed=speed,
        lowered=lowered or {},
    )


def write_results(folder: Path, results: Results) -> None:
    """Write tables and report if anything was scored, and last results.json."""
    if results.clips:
        write_tables(folder, results)
        write_report(folder / "report.html", results, list(worst_frames(results)))
    write_text(folder / FILE, results.model_dump_json(indent=1) + "\n")


def command_line() -> str:
    """Return the command of this process, as it can be typed into a shell."""
    program = Path(sys.argv[0])
    start = ["python", "-m", program.parent.name] if program.stem == "__main__" else [program.name]
    return shlex.join([*start, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Return the versions that a result may depend on."""
    return {
        "vostool": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "av", "numpy", "opencv-python-headless")},
    }
