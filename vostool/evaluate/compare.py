"""The difference of two runs: how large, how certain, and on which clips and objects."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from vostool.errors import InputError
from vostool.evaluate.results import ObjectScores, Results
from vostool.files.documents import Document

if TYPE_CHECKING:
    from rich.table import Table

RESAMPLES = 10_000
CONFIDENCE = 0.95
FEW = 10  # of fewer clips a bootstrap interval is clearly too narrow


class Difference(Document):
    """The mean of a difference over all objects, with its bootstrap interval over clips."""

    mean: float
    low: float
    high: float


class Comparison(Document):
    """The second run less the first, on the same objects; scores in [0, 1]."""

    schema_version: int = 1
    first: str
    second: str
    confidence: float = CONFIDENCE  # of the intervals
    measures: dict[str, Difference]  # J&F, J, F
    objects: dict[str, float]  # J&F by object
    clips: dict[str, float]  # J&F by clip, ascending

    @property
    def warnings(self) -> list[str]:
        """Why the intervals are unreliable, if they are."""
        count = len(self.clips)
        if count == 1:
            return ["one clip alone gives no interval"]
        if count < FEW:
            return [
                f"the intervals rest on {count} clips: with fewer than {FEW} they are too narrow, "
                f"and contain the true difference in less than {100 * self.confidence:g} % of cases"
            ]
        return []


def compare(a: Results, b: Results, names: tuple[str, str] | None = None) -> Comparison:
    """Return the difference of two runs, object by object, under their names.

    Raises InputError unless both scored the same objects on the same frames.
    """
    check_same_objects(a, b)
    first, second = names or (str(a.predictions), str(b.predictions))
    theirs = b.objects
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
        first=first,
        second=second,
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


def check_same_objects(a: Results, b: Results) -> None:
    """Raise InputError unless both runs scored the same objects on the same frames."""
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
    return Difference(mean=float(sums.sum() / counts.sum()), low=float(low), high=float(high))


def comparison_table(comparison: Comparison, count: int = 5) -> "Table":
    """Return a comparison in percentage points: measures, worst and best clips, objects.

    Objects are listed where a clip has several.
    """
    from rich.table import Table
    from rich.text import Text  # without markup: names are shown as they are

    clips = list(comparison.clips.items())
    table = Table(title="second run less first, percentage points")
    table.add_column("", overflow="fold")
    table.add_column("difference", justify="right")
    s = "" if len(clips) == 1 else "s"
    interval = f"{100 * comparison.confidence:g} % interval, {len(clips)} clip{s}"
    table.add_column(interval, justify="right")
    for measure, gain in comparison.measures.items():
        limits = f"{points(gain.low)} to {points(gain.high)}" if len(clips) > 1 else "none"
        table.add_row(measure, points(gain.mean), limits)
    table.add_section()
    for name, value in clips if len(clips) <= 2 * count else clips[:count]:
        table.add_row(Text(name), points(value), "")
    if len(clips) > 2 * count:
        table.add_row("…", "", "")
        for name, value in clips[-count:]:
            table.add_row(Text(name), points(value), "")
    if len(comparison.objects) > len(clips):
        table.add_section()
        for name, value in sorted(comparison.objects.items(), key=lambda pair: pair[1]):
            table.add_row(Text(name), points(value), "")
    return table


def points(difference: float) -> str:
    """Return a difference of scores in percentage points, with its sign."""
    return f"{100 * difference:+.2f}"
