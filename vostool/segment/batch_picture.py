"""What the workers of a batch did and when: a row for each worker, a bar for each job."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vostool.segment.batch_report import BatchReport, JobEntry, JobStatus

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, DOTS = 11.0, 130  # inches, dots per inch
ROW, TALLEST = 0.36, 18.0  # inches of a worker's row, and of all of them at most
NARROW = 1 / 1500  # of the time: a shorter bar is no wider than a dot
CHARACTER = 1 / 150  # of the width, in a bar
MANY = 100  # bars of a row, or crosses, that would cover each other

COLOURS: dict[JobStatus, str] = {
    "done": "#4c78a8",
    "already done": "#9ecae9",
    "failed": "#d62728",
    "elsewhere": "#bbbbbb",
}
UNITS = (("h", 3600.0), ("min", 60.0), ("s", 1.0))  # with their seconds

Span = tuple[float, float]  # when a bar begins, and how long it is


def draw_batch(report: BatchReport) -> "Figure":
    """Return a figure of the jobs of a batch over time, a row for each worker.

    Failed jobs are also marked by a cross, as their bars may be short.
    """
    from matplotlib.figure import Figure

    rows = {each.worker: row for row, each in enumerate(report.workers)}
    height = min(TALLEST, ROW * len(rows))
    figure = Figure((WIDTH, height + 1.1), dpi=DOTS, layout="constrained")
    place = figure.add_subplot()
    seconds = max([report.seconds, *(each.began + each.seconds for each in report.jobs)]) or 1.0
    unit, scale = next((each for each in UNITS if seconds >= 2 * each[1]), UNITS[-1])
    draw_bars(place, rows, report, seconds, scale)
    name_bars(place, rows, report, seconds, scale)
    named = list(enumerate(report.workers))[:: -(-len(rows) // int(TALLEST / ROW))]
    words = [f"{each.worker}\n{each.videos}, busy {each.share:.0%}" for _, each in named]
    place.set_yticks([row for row, _ in named], words, fontsize=6, parse_math=False)
    place.set(xlim=(0, seconds / scale), ylim=(len(rows) - 0.4, -0.6), xlabel=unit)
    place.set_axisbelow(True)
    place.grid(axis="x", alpha=0.3)
    place.tick_params(axis="x", labelsize=8)
    place.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(COLOURS), fontsize=7)
    speed = report.frames_per_second
    title = f"{Path(report.table).name}: {report.frames} frames"
    title += "" if speed is None else f", {speed} frames/s"
    figure.suptitle(title, fontsize=9, parse_math=False)
    return figure


def draw_bars(
    place: "Axes", rows: Mapping[str, int], report: BatchReport, seconds: float, scale: float
) -> None:
    """Draw the bar of each job, in `scale` seconds, and crosses over those that failed."""
    from matplotlib.collections import PolyCollection

    edge = 0.4 if len(report.jobs) < MANY * len(rows) else 0.0
    for status, count in report.totals.items():
        if count:
            jobs = [each for each in report.jobs if each.status == status]
            corners = [
                [(x / scale, row + y) for x, y in ((a, -0.4), (a, 0.4), (b, 0.4), (b, -0.4))]
                for row, several in spans_of(rows, jobs).items()
                for a, b in joined_spans(several, seconds * NARROW)
            ]
            bars = PolyCollection(
                corners,
                facecolor=COLOURS[status],
                edgecolor="white" if edge else "face",
                linewidth=edge,
                label=f"{count} {status}",
            )
            place.add_collection(bars, autolim=False)
    failed = [each for each in report.jobs if each.status == "failed"]
    middles = [(each.began + each.seconds / 2) / scale for each in failed]
    size = 5 if len(failed) < MANY else 2
    place.plot(middles, [rows[each.worker] for each in failed], "kx", ms=size)


def spans_of(rows: Mapping[str, int], jobs: Iterable[JobEntry]) -> dict[int, list[Span]]:
    """Return when jobs began and ended, by the rows of their workers, in order."""
    spans = defaultdict[int, list[Span]](list)
    for each in jobs:
        spans[rows[each.worker]].append((each.began, each.began + each.seconds))
    return {row: sorted(several) for row, several in spans.items()}


def joined_spans(spans: Iterable[Span], narrow: float) -> Iterator[Span]:
    """Yield spans; those shorter than `narrow` are joined with the one close before.

    There may be a million jobs, and a picture has no room for as many bars.
    """
    last: Span | None = None
    for first, end in spans:
        if last is not None and max(end - first, first - last[1]) < narrow:
            last = last[0], max(last[1], end)
            continue
        if last is not None:
            yield last
        last = first, end
    if last is not None:
        yield last


def name_bars(
    place: "Axes", rows: Mapping[str, int], report: BatchReport, seconds: float, scale: float
) -> None:
    """Write the names of videos into the bars that have room for them."""
    style: dict[str, Any] = {"fontsize": 6, "color": "white", "parse_math": False}
    centred: dict[str, Any] = {"ha": "center", "va": "center_baseline"}
    for each in report.jobs:
        name = Path(each.video).stem
        if len(name) * CHARACTER * seconds < each.seconds:
            middle = (each.began + each.seconds / 2) / scale
            place.text(middle, rows[each.worker], name, **centred, **style)
