"""How well do scores that need no truth tell the true one? On DAVIS-2016 validation.

    python -m tests.bench.judge DAVIS [--clips dog,libby] [--size 240] [--every 1] [-o judge.csv]

Every clip is followed from the truth of its first frame, and every Kth frame is checked. Printed
are, for the cycle's score and the others, over all checked frames with 95 % intervals over clips:
the rank correlation (Spearman) with the true J of the frame, and the area under the curve by which
the score tells frames of J < 0.5. Then how many of the frames that a run would name have a low J,
and what a check takes of the time of a frame.
"""

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vostool.evaluate.compare import CONFIDENCE, RESAMPLES
from vostool.evaluate.metrics import jaccard
from vostool.evaluate.protocols import DAVIS_16, BenchmarkClip, open_benchmark
from vostool.evaluate.scoring import read_truth
from vostool.inference.checks import LOW
from vostool.inference.judge import judge
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor, load_predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.tracker import Tracker, labels_of
from vostool.inference.video import Stopwatch, predict
from vostool.media.folder import list_images
from vostool.media.video import probe, read_frames

SCORES = ("score", "confidence", "presence", "area")
BAD = 0.5  # a frame of a lower J

Table = NDArray[np.float64]  # a row for each checked frame: J, and the scores


def measure(
    clip: BenchmarkClip, predictor: Predictor, every: int, watch: Stopwatch
) -> tuple[Table, float]:
    """Return the J and the scores of a clip's frames, and the seconds of the checks."""
    if clip.source is None:
        raise ValueError(f"{clip.name}: has no frames")
    folder = next(iter(clip.given.values())).path.parent
    truth = [read_truth(path, clip) for path in list_images(folder)]
    given = GivenMasks({0: truth[0]}, probe(clip.source), strict=False)
    tracker, rows, seconds = Tracker(predictor=predictor), [], 0.0
    for frame, prediction in predict(read_frames(clip.source), given, tracker, watch):
        if frame.index == 0 or frame.index % every:
            continue
        started = time.perf_counter()
        (check,) = judge(
            frame.index, prediction, tracker.track.groups, tracker.track.loop.segmenter
        )
        seconds += time.perf_counter() - started
        labels = labels_of(prediction.masks, prediction.ids, frame.rgb.shape[:2], None)
        j = jaccard(truth[frame.index] == 1, labels == 1)
        rows.append([j, *(getattr(check, name) for name in SCORES)])
    return np.array(rows), seconds


def ranks(values: Table) -> Table:
    """Return the rank of each value, the mean one where some are equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def correlation(j: Table, score: Table) -> float:
    """Return Spearman's rank correlation."""
    return float(np.corrcoef(ranks(j), ranks(score))[0, 1])


def area_under_curve(j: Table, score: Table) -> float:
    """Return how probably a frame of J < 0.5 has the lower score than another; 0.5 is chance."""
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


def main() -> None:
    """Measure every clip, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("davis", type=Path)
    parser.add_argument("--clips", help="names, with commas between them; default: all")
    parser.add_argument("--size", type=int)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, help="a table of all checked frames")
    arguments = parser.parse_args()
    benchmark = open_benchmark(DAVIS_16, arguments.davis, "val")
    names = (arguments.clips or ",".join(clip.name for clip in benchmark.clips)).split(",")
    predictor = load_predictor(ModelOptions(size=arguments.size, device=arguments.device))
    tables: dict[str, Table] = {}
    watch, seconds = Stopwatch(), 0.0
    for clip in benchmark.clips:
        if clip.name in names:
            tables[clip.name], spent = measure(clip, predictor, arguments.every, watch)
            seconds += spent
            j = tables[clip.name][:, 0]
            print(
                f"{clip.name:20} J {j.mean():.3f}, below {BAD}: {np.mean(j < BAD):.0%}", flush=True
            )
    if arguments.output is not None:
        with arguments.output.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["clip", "J", *SCORES])
            writer.writerows([name, *row] for name, table in tables.items() for row in table)
    for column, name in enumerate(SCORES, start=1):
        for what, statistic in (("rank correlation", correlation), ("AUC", area_under_curve)):
            value, low, high = interval(statistic, list(tables.values()), column)
            print(f"{name:12} {what:18} {value:.3f} [{low:.3f}, {high:.3f}]")
    whole = np.concatenate(list(tables.values()))
    named = whole[:, 1 + SCORES.index("confidence")] < LOW
    print(f"confidence below {LOW}: {named.mean():.1%} of the frames")
    for low in (BAD, 0.7):
        bad = whole[:, 0] < low
        share, found = np.mean(bad[named]), np.mean(named[bad])
        print(f"J below {low}: {share:.0%} of these, and {found:.0%} of all such are among them")
    checked = sum(len(table) for table in tables.values())
    frames = watch.network / (checked * arguments.every)
    print(f"a check takes {seconds / checked / frames:.2f} of the network's time for a frame")


if __name__ == "__main__":
    main()
