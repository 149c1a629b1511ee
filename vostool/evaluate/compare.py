"""Two runs side by side: by how much, how surely, and where they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from vostool.errors import InputError
from vostool.evaluate.results import ObjectScores, Results

RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """The mean of a difference over all objects, with its bootstrap interval over clips."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Run B less run A, on the same objects."""

    measures: dict[str, Difference]  # J&F, J, F
    objects: dict[str, float]  # J&F by object
    clips: dict[str, float]  # J&F by clip, ascending


def compare(a: Results, b: Results) -> Comparison:
    """Compare two runs object by object; raises InputError unless both scored the same ones."""
    if a.benchmark != b.benchmark:
        raise InputError(f"the runs are of different benchmarks: {a.benchmark} and {b.benchmark}")
    for run in (a, b):
        if not run.clips:
            raise InputError(f"{run.predictions}: nothing was scored, there is no truth")
    ours, theirs = a.objects, b.objects
    odd = sorted(set(ours) ^ set(theirs))
    if odd:
        where = a.predictions if odd[0] in ours else b.predictions
        raise InputError(
            f"the runs scored different objects: {odd[0]} is only in {where} "
            f"({len(odd)} such in all)"
        )
    for name, scores in ours.items():
        if len(scores.j) != len(theirs[name].j):
            raise InputError(
                f"the runs scored different frames of {name}: "
                f"{len(scores.j)} in the first, {len(theirs[name].j)} in the second"
            )
    frames = {clip.name: clip.frames for clip in b.clips}
    for clip in a.clips:
        if clip.frames != frames[clip.name]:
            raise InputError(f"the runs scored different frames of {clip.name}, by their names")
    gains = {
        measure: {
            clip.name: [
                value_of(theirs[f"{clip.name}_{id_}"], measure) - value_of(scores, measure)
                for id_, scores in clip.objects.items()
            ]
            for clip in a.clips
        }
        for measure in ("J&F", "J", "F")
    }
    both = gains["J&F"]
    return Comparison(
        measures={measure: bootstrap(by_clip) for measure, by_clip in gains.items()},
        objects={
            f"{clip.name}_{id_}": gain
            for clip in a.clips
            for id_, gain in zip(clip.objects, both[clip.name], strict=True)
        },
        clips=dict(
            sorted(
                ((name, float(np.mean(values))) for name, values in both.items()),
                key=lambda pair: pair[1],
            )
        ),
    )


def value_of(scores: ObjectScores, measure: str) -> float:
    """Return one measure of an object."""
    j, f = scores.j_statistics.mean, scores.f_statistics.mean
    return {"J": j, "F": f, "J&F": (j + f) / 2}[measure]


def bootstrap(gains: Mapping[str, Sequence[float]], seed: int = 0) -> Difference:
    """Return the mean over all objects, and its interval when clips are drawn with replacement.

    Clips are drawn whole: objects and frames of one clip are not independent.
    """
    sums = np.array([sum(values) for values in gains.values()])
    counts = np.array([len(values) for values in gains.values()])
    drawn = np.random.default_rng(seed).integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return Difference(float(sums.sum() / counts.sum()), float(low), float(high))


def comparison_table(comparison: Comparison, count: int = 5) -> Table:
    """Return a comparison in points: each measure, the worst and the best clips, the objects.

    Objects are listed where a clip has several.
    """
    table = Table(title="second run less first, points")
    for name, side in (("", "left"), ("difference", "right"), ("95 % interval", "right")):
        table.add_column(name, justify="right" if side == "right" else "left")
    for measure, gain in comparison.measures.items():
        interval = f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}"
        if len(comparison.clips) == 1:
            interval = "none, of one clip"
        table.add_row(measure, f"{100 * gain.mean:+.2f}", interval)
    table.add_section()
    clips = list(comparison.clips.items())
    shown = clips if len(clips) <= 2 * count else [*clips[:count], ("…", None), *clips[-count:]]
    for name, gain_ in shown:
        table.add_row(name, "" if gain_ is None else f"{100 * gain_:+.2f}", "")
    if len(comparison.objects) > len(comparison.clips):
        table.add_section()
        for name, gain_ in sorted(comparison.objects.items(), key=lambda pair: pair[1]):
            table.add_row(name, f"{100 * gain_:+.2f}", "")
    return table
