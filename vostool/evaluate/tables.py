"""Results as tables: the official tool's CSV files in [0, 1], and one in per cent to print."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vostool.evaluate.protocols import YOUTUBE_VOS
from vostool.evaluate.published import PUBLISHED
from vostool.evaluate.results import Results, by_group, per_cent, summary
from vostool.files import write_text

if TYPE_CHECKING:
    from rich.table import Table


def write_tables(folder: Path, results: Results) -> None:
    """Write global_results-<set>.csv and per-sequence_results-<set>.csv, on a scale of 0 to 1."""
    name = Path(results.split).stem
    whole = summary(results.objects.values())
    write_csv(folder / f"global_results-{name}.csv", list(whole), [rounded(whole.values())])
    rows = [
        [name_, *rounded([scores.j_statistics.mean, scores.f_statistics.mean])]
        for name_, scores in results.objects.items()
    ]
    header = ["Sequence", "J-Mean", "F-Mean"]
    write_csv(folder / f"per-sequence_results-{name}.csv", header, rows)


def rounded(values: Iterable[float]) -> list[str]:
    """Return numbers as the official tool writes them."""
    return [f"{value:.3f}" for value in values]


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table atomically; raises OutputError."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_text(path, text.getvalue())


def terminal_table(results: Results) -> "Table":
    """Return the scores in per cent, beside the published ones of the journal."""
    from rich.table import Table
    from rich.text import Text  # without markup: names are shown as they are

    columns = ("J_S", "J_U", "F_S", "F_U", "G") if seen_and_unseen(results) else ("J", "F", "J&F")
    table = Table(title=Text(f"{results.benchmark} {Path(results.split).stem}, per cent"))
    table.add_column("", overflow="fold")
    for name in (*columns, "fps"):
        table.add_column(name, justify="right")
    speed = f"{results.speed.network_fps:.1f}" if results.speed else "-"
    ours = [per_cent(value) for value in headline(results)]
    table.add_row("this run", *ours, speed, style="bold", end_section=True)
    for row in PUBLISHED.get((results.benchmark, results.split), ()):
        if len(row.scores) == len(columns):
            table.add_row(row.method, *(f"{score:.1f}" for score in row.scores), row.fps)
    return table


def headline(results: Results) -> list[float]:
    """Return the scores that papers print: J, F, J&F, or J_S, J_U, F_S, F_U, G."""
    if not seen_and_unseen(results):
        whole = summary(results.objects.values())
        return [whole["J-Mean"], whole["F-Mean"], whole["J&F-Mean"]]
    groups = by_group(results)
    four = [groups[group][name] for name in ("J-Mean", "F-Mean") for group in ("seen", "unseen")]
    return [*four, sum(four) / 4]


def seen_and_unseen(results: Results) -> bool:
    """Return whether the objects are in the two groups of YouTube-VOS."""
    groups = {scores.group for scores in results.objects.values()}
    return results.benchmark == YOUTUBE_VOS and {"seen", "unseen"} <= groups
