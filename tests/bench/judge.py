"""How well do scores that need no truth tell the true one? On DAVIS-2016, or on composites.

    python -m tests.bench.judge DAVIS [--clips dog,libby] [--size 240] [--every 1] [-o judge.csv]
    python -m tests.bench.judge COMPOSITES --every 3 --picture failure.png

COMPOSITES is a folder of tests.bench.composites, or any other with the layout of DAVIS-2017. Every
clip is followed from the truth of its first frame, and every Kth frame is checked, each object for
itself. Printed are, for the cycle's score and the others, over all checked objects with 95 %
intervals over clips: the rank correlation (Spearman) with the true J on the frame, and the area
under the curve by which the score tells objects of J < 0.5. Then how many of those that a run would
name have a low J, and what a check takes of the time of a frame.

--picture draws the worst failure that the judge finds, the lowest J among what a run would name:
frames of that clip with the truth and with the masks found, above J and the scores over time.
"""

import argparse
import csv
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vostool.evaluate.compare import CONFIDENCE, RESAMPLES
from vostool.evaluate.metrics import jaccard
from vostool.evaluate.protocols import (
    DAVIS_16,
    DAVIS_17,
    Benchmark,
    BenchmarkClip,
    open_benchmark,
)
from vostool.evaluate.scoring import read_truth
from vostool.inference.checks import LOW, Check
from vostool.inference.judge import judge
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.tracker import Tracker, labels_of
from vostool.inference.video import Stopwatch, predict
from vostool.media.figures import save_figure
from vostool.media.folder import list_images
from vostool.media.frame import Frame, Rgb
from vostool.media.labels import LabelMap
from vostool.media.overlay import paint
from vostool.media.video import probe, read_frames
from vostool.propagation.frames import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCORES = ("score", "confidence", "presence", "area")
BAD = 0.5  # an object of a lower J
SIZE, DOTS = (3.2, 2.0), 110  # inches of a picture, dots per inch

Table = NDArray[np.float64]  # a row for each checked object of a frame: J, and the scores


@dataclass(frozen=True)
class Judged:
    """An object of a checked frame: its true J, and what the judge says of it."""

    clip: str
    j: float
    check: Check

    @property
    def values(self) -> list[float]:
        """J, and the scores."""
        return [self.j, *(getattr(self.check, name) for name in SCORES)]


@dataclass(frozen=True)
class Followed:
    """A frame of a clip, its true labels, and those found."""

    frame: Frame
    truth: LabelMap
    labels: LabelMap
    prediction: Prediction[Any]
    tracker: Tracker


def follow(clip: BenchmarkClip, predictor: Predictor, watch: Stopwatch) -> Iterator[Followed]:
    """Yield the frames of a clip, followed from the truth of the first one."""
    if clip.source is None:
        raise ValueError(f"{clip.name}: has no frames")
    folder = next(iter(clip.given.values())).path.parent
    truth = [read_truth(path, clip) for path in list_images(folder)]
    given = GivenMasks({0: truth[0]}, probe(clip.source), strict=False)
    tracker = Tracker(predictor=predictor)
    for frame, prediction in predict(read_frames(clip.source), given, tracker, watch):
        labels = labels_of(
            prediction.masks, prediction.ids, frame.rgb.shape[:2], given.get(frame.index)
        )
        yield Followed(frame, truth[frame.index], labels, prediction, tracker)


def measure(
    clip: BenchmarkClip, predictor: Predictor, every: int, watch: Stopwatch
) -> tuple[list[Judged], float]:
    """Return the J and the scores of a clip's objects, and the seconds of the checks."""
    rows, seconds = [], 0.0
    for each in follow(clip, predictor, watch):
        number, track = each.frame.index, each.tracker.track
        if number == 0 or number % every:
            continue
        started = time.perf_counter()
        place = each.tracker.latest_place((each.truth.shape[0], each.truth.shape[1]))
        checks = list(judge(number, each.prediction, place, track.groups, track.loop.segmenter))
        seconds += time.perf_counter() - started
        for check in checks:
            j = jaccard(each.truth == check.object, each.labels == check.object)
            rows.append(Judged(clip.name, j, check))
    return rows, seconds


def table_of(rows: Sequence[Judged]) -> Table:
    return np.array([row.values for row in rows])


def ranks(values: Table) -> Table:
    """Return the rank of each value, the mean one where some are equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def correlation(j: Table, score: Table) -> float:
    """Return Spearman's rank correlation."""
    return float(np.corrcoef(ranks(j), ranks(score))[0, 1])


def area_under_curve(j: Table, score: Table) -> float:
    """Return how probably an object of J < 0.5 has the lower score than another; 0.5 is chance."""
    bad = j < BAD
    good_count, bad_count = np.count_nonzero(~bad), np.count_nonzero(bad)
    if not good_count or not bad_count:
        return float("nan")
    above = ranks(score)[~bad].sum() - good_count * (good_count + 1) / 2
    return float(above / (good_count * bad_count))


def interval(
    statistic: Callable[[Table, Table], float], tables: Sequence[Table], column: int
) -> tuple[float, float, float]:
    """Return a statistic, and its interval when clips are drawn with replacement."""
    random = np.random.default_rng(0)
    whole = np.concatenate(tables)
    values = []
    for _ in range(RESAMPLES // 10):
        drawn = np.concatenate([tables[n] for n in random.integers(len(tables), size=len(tables))])
        values.append(statistic(drawn[:, 0], drawn[:, column]))
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return statistic(whole[:, 0], whole[:, column]), float(low), float(high)


def worst_failure(rows: Sequence[Judged]) -> Judged:
    """Return the lowest J among what a run would name; of all, if it would name nothing."""
    return min(rows, key=lambda row: (not row.check.low, row.j))


def draw_failure(clip: BenchmarkClip, predictor: Predictor, rows: Sequence[Judged]) -> "Figure":
    """Return a figure of the worst failure of a clip: frames before, at and after it, and scores.

    `rows` are those of the clip; it is followed once more for its masks.
    """
    from matplotlib.figure import Figure

    worst = worst_failure(rows)
    own = [row for row in rows if row.check.object == worst.check.object]
    place = own.index(worst)
    shown = {own[at].check.frame: own[at] for at in sorted({0, place // 2, place, len(own) - 1})}
    found = [each for each in follow(clip, predictor, Stopwatch()) if each.frame.index in shown]
    size = (SIZE[0] * len(found), SIZE[1] * 3.2)
    figure = Figure(size, dpi=DOTS, layout="constrained")
    grid = figure.add_gridspec(3, len(found), height_ratios=[1, 1, 1.2])
    for column, each in enumerate(found):
        row = shown[each.frame.index]
        truth, masks = (figure.add_subplot(grid[line, column]) for line in (0, 1))
        words = f"frame {each.frame.index}"
        show(truth, paint(each.frame.rgb, each.truth), f"{words}, truth")
        show(
            masks,
            paint(each.frame.rgb, each.labels),
            f"J {row.j:.2f}, cycle {row.check.score:.2f}, "
            f"mean probability {row.check.confidence:.2f}",
        )
    plot(figure.add_subplot(grid[2, :]), own, list(shown))
    return figure


def show(place: "Axes", rgb: Rgb, words: str) -> None:
    """Show a picture under some words."""
    place.imshow(rgb)
    place.axis("off")
    place.set_title(words, fontsize=8)


def plot(place: "Axes", rows: Sequence[Judged], shown: Sequence[int]) -> None:
    """Plot J and the scores of an object over time; frames that are shown are marked."""
    frames = [row.check.frame for row in rows]
    place.plot(frames, [row.j for row in rows], "k-", lw=1.8, label="J (truth)")
    place.plot(frames, [row.check.score for row in rows], "-o", ms=3, lw=1.2, label="cycle score")
    place.plot(frames, [row.check.confidence for row in rows], lw=1.2, label="mean probability")
    place.axhline(LOW, color="grey", lw=0.6)
    for frame in shown:
        place.axvline(frame, color="grey", ls=":", lw=0.8)
    place.set(ylim=(0, 1.02), xlabel="frame")
    place.set_title(f"{rows[0].clip}, object {rows[0].check.object}", fontsize=9)
    place.grid(alpha=0.3)
    place.legend(fontsize=7, loc="lower left")


def open_folder(root: Path) -> Benchmark:
    """Return the clips of DAVIS-2016, or of a folder that has only the list of DAVIS-2017."""
    lists = root / "ImageSets"
    several = (lists / "2017").is_dir() and not (lists / "2016").is_dir()
    return open_benchmark(DAVIS_17 if several else DAVIS_16, root, "val")


def write_rows(path: Path, rows: Sequence[Judged]) -> None:
    """Write a table of all checked objects."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "frame", "object", "J", *SCORES])
        writer.writerows([row.clip, row.check.frame, row.check.object, *row.values] for row in rows)


def print_objects(rows: Sequence[Judged]) -> None:
    """Print the J of each object of a clip."""
    for id_ in sorted({row.check.object for row in rows}):
        j = np.array([row.j for row in rows if row.check.object == id_])
        words = f"J {j.mean():.3f}, below {BAD}: {np.mean(j < BAD):.0%}"
        print(f"{rows[0].clip:24} object {id_}  {words}", flush=True)


def print_statistics(tables: Sequence[Table]) -> None:
    """Print what the scores tell of J, and how good what a run would name is."""
    for column, name in enumerate(SCORES, start=1):
        for what, statistic in (("rank correlation", correlation), ("AUC", area_under_curve)):
            value, low, high = interval(statistic, tables, column)
            print(f"{name:12} {what:18} {value:.3f} [{low:.3f}, {high:.3f}]")
    whole = np.concatenate(tables)
    named = whole[:, 1 + SCORES.index("confidence")] < LOW
    print(f"confidence below {LOW}: {named.mean():.1%} of the checks")
    for bound in (BAD, 0.7):
        bad = whole[:, 0] < bound
        share = f"{np.mean(bad[named]):.0%}" if named.any() else "none"
        found = f"{np.mean(named[bad]):.0%}" if bad.any() else "none"
        print(f"J below {bound}: {share} of these, and {found} of all such are among them")


def main() -> None:
    """Measure every clip, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="DAVIS, or a folder of composites")
    parser.add_argument("--clips", help="names, with commas between them; default: all")
    parser.add_argument("--size", type=int)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, help="a table of all checked objects")
    parser.add_argument("--picture", type=Path, help="a picture of the worst failure it finds")
    arguments = parser.parse_args()
    clips = {clip.name: clip for clip in open_folder(arguments.root).clips}
    predictor = load_predictor(ModelOptions(size=arguments.size, device=arguments.device))
    judged: dict[str, list[Judged]] = {}
    watch, seconds = Stopwatch(), 0.0
    for name in (arguments.clips or ",".join(clips)).split(","):
        judged[name], spent = measure(clips[name], predictor, arguments.every, watch)
        seconds += spent
        print_objects(judged[name])
    every = [row for rows in judged.values() for row in rows]
    if arguments.output is not None:
        write_rows(arguments.output, every)
    print_statistics([table_of(rows) for rows in judged.values()])
    checked = len({(row.clip, row.check.frame) for row in every})
    frames = watch.network / (checked * arguments.every)
    print(f"a check takes {seconds / checked / frames:.2f} of the network's time for a frame")
    if arguments.picture is not None:
        name = worst_failure(every).clip
        save_figure(arguments.picture, draw_failure(clips[name], predictor, judged[name]))


if __name__ == "__main__":
    main()
