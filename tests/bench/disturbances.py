"""Tables 5 and 6 of the journal, and the curve over the strength of an attack, on DAVIS-2016.

    python -m tests.bench.disturbances DAVIS-2016 -o OUT --cycle CYCLE --baseline BASELINE \
        --attacker OTHER_CYCLE
    python -m tests.bench.disturbances DAVIS-2016 -o OUT --cycle CYCLE --parts box

Every line is a run of `vostool eval --disturb` and one with the correction, in folders of OUT.
Finished runs are not repeated, and an interrupted one is resumed. Intervals are bootstrapped over
clips, as those of `vostool eval compare`: a difference is significant if its interval leaves out 0.

table5   the memory of CYCLE disturbed by the masks of BASELINE (low quality), and by boxes
white    Table 6, white box: CYCLE attacks itself
black    Table 6, black box: OTHER_CYCLE, of another backbone, attacks BASELINE
curve    FGSM of CYCLE on itself, from strength 0, where only the correction acts
box      the line of boxes alone, which needs no other weights
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vostool import defaults
from vostool.evaluate.compare import Difference, bootstrap, compare, points, value_of
from vostool.evaluate.protocols import DAVIS_16, Benchmark, open_benchmark
from vostool.evaluate.results import Results, per_cent, read_results, summary
from vostool.evaluate.run import evaluate, holds
from vostool.files import write_text
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.media.figures import save_figure

MEASURES = ("J", "F", "J&F")
DIFFERENCES = ("J", "J&F")  # whose harm and gain are shown with intervals
# with the weights that each needs besides those of the cycle
PARTS: dict[str, tuple[str, ...]] = {
    "table5": ("baseline",),
    "white": (),
    "black": ("baseline", "attacker"),
    "curve": (),
    "box": (),
}
USUAL = ("table5", "white", "black", "curve")
WHITE = "fgsm-white"  # the run of Table 6 that is a point of the curve, too


@dataclass(frozen=True)
class Bench:
    """A benchmark, the options of all runs, and those of the correction."""

    benchmark: Benchmark
    folder: Path
    options: ModelOptions
    correction: dict[str, Any]

    def run(self, name: str, weights: str, **changes: Any) -> Results:
        """Return the results of a run, which is not repeated if it is there."""
        predictor, folder = (
            load_predictor(self.options.changed({"weights": weights, **changes})),
            self.folder / name,
        )
        if holds(folder, self.benchmark, predictor):
            return read_results(folder)
        print(f"{name} ...", file=sys.stderr, flush=True)
        return evaluate(self.benchmark, predictor, folder)

    def pair(self, name: str, clean: Results, **changes: Any) -> "Line":
        """Return a disturbance with and without the correction."""
        plain = self.run(name, **changes)
        return Line(name, clean, plain, self.run(f"{name}-corrected", **changes, **self.correction))


@dataclass(frozen=True)
class Line:
    """A line of a table: runs of one model, clean, disturbed, and corrected in addition."""

    name: str
    clean: Results
    plain: Results
    corrected: Results

    @property
    def cells(self) -> list[str]:
        """Its cells, in per cent and percentage points."""
        scores = [
            per_cent(summary(run.objects.values())[f"{measure}-Mean"])
            for run in (self.plain, self.corrected)
            for measure in MEASURES
        ]
        differences = [
            interval(compare(*runs).measures[measure])
            for runs in ((self.clean, self.plain), (self.plain, self.corrected))
            for measure in DIFFERENCES
        ]
        return [self.name, *scores, *differences]


HEADER = [
    "",
    *MEASURES,
    *(f"{measure}, corrected" for measure in MEASURES),
    *(f"{measure} less clean" for measure in DIFFERENCES),
    *(f"gain in {measure} by the correction" for measure in DIFFERENCES),
]


def interval(difference: Difference) -> str:
    """Return a difference with its interval, in percentage points."""
    low, high = points(difference.low), points(difference.high)
    return f"{points(difference.mean)} ({low} to {high})"


def table(title: str, lines: Iterable[Line]) -> str:
    """Return a table in Markdown."""
    rows = [HEADER, ["---"] * len(HEADER), *(line.cells for line in lines)]
    return "\n".join([f"### {title}", "", *(f"| {' | '.join(row)} |" for row in rows), ""])


def table_5(bench: Bench, cycle: str, baseline: str) -> str:
    """Return Table 5: natural noise."""
    clean = bench.run("clean", weights=cycle)
    corrected = bench.run("clean-corrected", weights=cycle, **bench.correction)
    masks = bench.run("baseline", weights=baseline).predictions
    lines = [
        Line("no noise", clean, clean, corrected),
        bench.pair("low-quality", clean, weights=cycle, disturb=f"masks:{masks}"),
        box(bench, cycle),
    ]
    return table("Table 5: natural noise", lines)


def box(bench: Bench, weights: str) -> Line:
    """Return the line of memories disturbed by boxes."""
    clean = bench.run("clean", weights=weights)
    return bench.pair("box", clean, weights=weights, disturb="box")


def white_box(bench: Bench, cycle: str, steps: int | None) -> str:
    """Return the white box of Table 6: a model attacks itself; `steps` are MI-FGSM's."""
    attack = partial(bench.pair, clean=bench.run("clean", weights=cycle), weights=cycle)
    lines = [
        attack(WHITE, disturb="fgsm"),
        attack("mi-fgsm-white", disturb="mi-fgsm", attack_steps=steps),
    ]
    return table("Table 6: attacks, white box", lines)


def black_box(bench: Bench, baseline: str, attacker: str, steps: int | None) -> str:
    """Return the black box of Table 6: another model attacks; `steps` are MI-FGSM's."""
    clean = bench.run("baseline", weights=baseline)
    attack = partial(bench.pair, clean=clean, weights=baseline, attacker=attacker)
    lines = [
        attack("fgsm-black", disturb="fgsm"),
        attack("mi-fgsm-black", disturb="mi-fgsm", attack_steps=steps),
    ]
    return table("Table 6: attacks, black box", lines)


def curve(bench: Bench, cycle: str, strengths: Sequence[float], picture: Path) -> str:
    """Return a table over the strength of FGSM, white box, and draw it."""
    from matplotlib.figure import Figure

    clean = bench.run("clean", weights=cycle)
    names = {each: f"fgsm-{each:g}" for each in strengths} | {defaults.STRENGTH: WHITE}
    lines = [
        bench.pair(names[each], clean, weights=cycle, disturb="fgsm", strength=each)
        for each in strengths
    ]
    figure = Figure((6, 3.6), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for label, runs in (
        ("disturbed", [line.plain for line in lines]),
        ("and corrected", [line.corrected for line in lines]),
    ):
        means = [mean_of(run) for run in runs]
        axes.plot(strengths, [100 * each.mean for each in means], "o-", label=label)
        low, high = ([100 * getattr(each, side) for each in means] for side in ("low", "high"))
        axes.fill_between(strengths, low, high, alpha=0.15)
    axes.set(xlabel="strength of FGSM, 1/255", ylabel="J&F, per cent")
    axes.legend()
    save_figure(picture, figure)
    return table("Strength of FGSM, white box", lines)


def mean_of(run: Results) -> Difference:
    """Return the mean J&F of a run with its interval over clips."""
    return bootstrap(
        {
            clip.name: [value_of(scores, "J&F") for scores in clip.objects.values()]
            for clip in run.clips
        }
    )


def main() -> None:
    """Run what is not there yet, print the tables, write them and the curve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("root", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--cycle", required=True, help="weights trained with the cycle")
    parser.add_argument("--baseline", help="weights trained without it")
    parser.add_argument("--attacker", help="weights of the black box")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=USUAL)
    parser.add_argument("--split", default="val")
    parser.add_argument("--size", type=int)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--gc-iters", type=int)
    parser.add_argument("--gc-rate", type=float)
    parser.add_argument("--attack-steps", type=int, help="of MI-FGSM")
    parser.add_argument("--strengths", type=float, nargs="+", default=[0, 5, 10, 20, 40])
    given = parser.parse_args()
    for part in given.parts:
        for name in PARTS[part]:
            if getattr(given, name) is None:
                parser.error(f"--parts {part}: expected --{name} with it")
    bench = Bench(
        open_benchmark(DAVIS_16, given.root, given.split),
        given.output,
        ModelOptions(size=given.size, device=given.device, precision=given.precision),
        {"gc_every": defaults.GC_EVERY, "gc_iters": given.gc_iters, "gc_rate": given.gc_rate},
    )
    makers = {
        "table5": lambda: table_5(bench, given.cycle, given.baseline),
        "white": lambda: white_box(bench, given.cycle, given.attack_steps),
        "black": lambda: black_box(bench, given.baseline, given.attacker, given.attack_steps),
        "curve": lambda: curve(bench, given.cycle, given.strengths, given.output / "strength.png"),
        "box": lambda: table("Boxes", [box(bench, given.cycle)]),
    }
    tables = [makers[part]() for part in given.parts]
    write_text(given.output / "tables.md", "\n".join(tables))
    print("\n".join(tables))


if __name__ == "__main__":
    main()
