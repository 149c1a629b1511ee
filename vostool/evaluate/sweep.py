"""A grid of options, a run for each, and the curve of score and speed (journal Figs. 4 and 5).

Every point is a run in a folder of its own; points that are done already, with the same options,
are not run again.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from pathlib import Path

from vostool.errors import UsageError
from vostool.evaluate.results import Results, summary
from vostool.evaluate.tables import write_csv
from vostool.files import write_bytes
from vostool.inference.options import ModelOptions

UNSAFE = re.compile(r'[\x00-\x1f"%*/:<>?\\|]')  # in the name of a file, on one system or another
LONGEST = 200  # bytes
COLUMNS = ("J&F-Mean", "J-Mean", "F-Mean")


@dataclass(frozen=True)
class Point:
    """One combination of the swept options: names and values as typed."""

    values: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Its name: the options as typed."""
        return ",".join(f"{name}={value}" for name, value in self.values)

    @property
    def folder(self) -> str:
        """The name of its folder: safe, and no longer than file systems allow."""
        safe = UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", self.name)
        content = safe.encode()
        if len(content) <= LONGEST:
            return safe
        return f"{content[:LONGEST].decode(errors='ignore')}~{sha256(content).hexdigest()[:8]}"

    def options(self, base: ModelOptions) -> ModelOptions:
        """Return the options of this point; raises UsageError."""
        changes = {name.replace("-", "_"): value for name, value in self.values}
        try:
            return base.changed(changes)
        except UsageError as error:
            raise UsageError(f"--sweep {self.name}: {error}") from error


def grid(specs: Sequence[str]) -> list[Point]:
    """Return the points of specs such as "gc-iters=0,5,10"; raises UsageError."""
    axes = []
    for spec in specs:
        name, equals, text = spec.partition("=")
        values = [value.strip() for value in text.split(",") if value.strip()]
        if not equals or not values:
            raise UsageError(f"--sweep {spec}: expected option=value,value,...")
        axes.append([(name.strip().removeprefix("--"), value) for value in values])
    return [Point(values) for values in product(*axes)]


def write_sweep(folder: Path, results: dict[Point, Results]) -> tuple[Path, Path]:
    """Write sweep.csv and sweep.png, and return their paths."""
    names = [name for name, _ in next(iter(results)).values]
    rows = []
    for point, result in results.items():
        scores = summary(result.objects.values())
        row = [value for _, value in point.values]
        row += [f"{scores[column]:.4f}" for column in COLUMNS]
        if result.speed is not None:
            row += [f"{result.speed.network_fps:.2f}", f"{result.speed.total_fps:.2f}"]
        rows.append(row)
    table, picture = folder / "sweep.csv", folder / "sweep.png"
    write_csv(table, [*names, *COLUMNS, "network-fps", "end-to-end-fps"], rows)
    write_bytes(picture, draw(results))
    return table, picture


def draw(results: dict[Point, Results]) -> bytes:
    """Return a PNG of J&F and frames per second over the first option, a line for each other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    score_axis = figure.add_subplot()
    speed_axis = score_axis.twinx()
    lines: dict[tuple[tuple[str, str], ...], list[tuple[str, Results]]] = {}
    for point, result in results.items():
        lines.setdefault(point.values[1:], []).append((point.values[0][1], result))
    for number, (rest, points) in enumerate(lines.items()):
        places = [value for value, _ in points]  # categories: evenly spaced
        scores = [100 * summary(result.objects.values())["J&F-Mean"] for _, result in points]
        speeds = [result.speed.network_fps if result.speed else 0.0 for _, result in points]
        label = ", ".join(f"{name} {value}" for name, value in rest) or "J&F"
        score_axis.plot(places, scores, "o-", color=f"C{number}", label=label)
        speed_axis.plot(places, speeds, "s:", color=f"C{number}", alpha=0.6)
    score_axis.set_xlabel(next(iter(results)).values[0][0])
    score_axis.set_ylabel("J&F, per cent (solid)")
    speed_axis.set_ylim(bottom=0)  # so that noise of the measurement does not look like a slope
    speed_axis.set_ylabel("frames per second, network (dotted)")
    legend = score_axis.legend()
    for text in (*legend.get_texts(), *score_axis.get_xticklabels(), score_axis.xaxis.label):
        text.set_parse_math(False)  # names are shown as they are
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)  # type: ignore[no-untyped-call]
    return picture.getvalue()
