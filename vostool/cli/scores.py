"""Print the results of `vostool eval`: scores, comparisons and warnings."""

from pathlib import Path
from typing import TYPE_CHECKING

from vostool.cli.printing import print_json, print_message, print_table

if TYPE_CHECKING:
    from vostool.evaluate.compare import Comparison
    from vostool.evaluate.protocols import Benchmark
    from vostool.evaluate.results import Results


def print_late_warnings(benchmark: "Benchmark", results: "Results", quiet: bool) -> None:
    """Print the warnings that came up on the way; those of the benchmark are printed before."""
    for warning in results.warnings[len(benchmark.warnings) :]:
        print_message(f"warning: {warning}", quiet)


def print_scores(results: "Results", folder: Path | None, as_json: bool, quiet: bool) -> None:
    """Print the result on stdout: the scores, or the paths that hold them, the table on stderr."""
    from vostool.evaluate.results import summary
    from vostool.evaluate.tables import terminal_table

    is_result = folder is None and not as_json  # no file is written whose path would be it
    if results.clips and (is_result or not quiet):
        print_table(terminal_table(results), on_stdout=is_result)
    if as_json:
        scores = summary(results.objects.values()) if results.clips else {}
        print_json({"scores": scores, **results.model_dump(mode="json")})
    elif folder is not None:
        for name in ("results.json", "report.html")[: 2 if results.clips else 1]:
            print(folder / name)


def print_comparison(comparison: "Comparison", as_json: bool) -> None:
    """Print warnings and, unless a JSON document is printed instead, a table on stdout."""
    from vostool.evaluate.compare import comparison_table

    for warning in comparison.warnings:
        print_message(f"warning: {warning}")
    if not as_json:
        print(f"first run: {comparison.first}")
        print(f"second run: {comparison.second}")
        print_table(comparison_table(comparison), on_stdout=True)
