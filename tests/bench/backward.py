"""Follow the clips of DAVIS-2016 backward from a mask in the middle, and between two masks.

    python -m tests.bench.backward DAVIS [--clips dog,libby] [--size 240]

Printed is the mean J&F over frames, with its 95 % interval over clips:

before   the frames before the middle: forward from the first one's mask, backward from the middle's
after    the frames after the middle: forward from the first one's mask, forward from the middle's
between  the frames between masks on the first and on the last: by the way forward alone, by the
         nearer mask, and by both ways, the nearer mask counting more
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

from vostool.evaluate.compare import bootstrap
from vostool.evaluate.metrics import score_frame
from vostool.evaluate.protocols import DAVIS_16, BenchmarkClip, open_benchmark
from vostool.evaluate.scoring import read_truth
from vostool.inference.backward import WayBack
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.tracker import Tracker, labels_of
from vostool.inference.video import Stopwatch, predict
from vostool.media.folder import list_images
from vostool.media.labels import LabelMap
from vostool.media.video import probe, read_frames

BETWEEN: Mapping[str, Callable[[int, int], float]] = {
    "forward": lambda since, until: 1,
    "nearer": lambda since, until: float(since <= until),
    "both": lambda since, until: until / (since + until),
}
LINES = {
    "before": ("forward", "backward"),
    "after": ("forward", "from the middle"),
    "between": tuple(BETWEEN),
}
Scores = dict[str, list[float]]  # J&F of each frame, by way


def follow(
    source: Path, truth: Sequence[LabelMap], shown: Sequence[int], predictor: Predictor
) -> Scores:
    """Return the J&F of every frame, given the truth of some, each merged in every way."""
    given = GivenMasks({frame: truth[frame] for frame in shown}, probe(source), strict=False)
    scores: Scores = defaultdict(list)
    with TemporaryDirectory(prefix="vostool-backward-") as folder:
        ways = {
            name: WayBack(source, 0, given, Path(folder), share) for name, share in BETWEEN.items()
        }
        for _ in ways["both"].follow(predictor, Stopwatch()):
            pass
        tracker = Tracker(predictor=predictor)
        for frame, prediction in predict(read_frames(source), given, tracker, Stopwatch()):
            for name, way in ways.items():
                merged = way.merge(frame, prediction)
                labels = labels_of(
                    merged.masks, merged.ids, frame.rgb.shape[:2], given.get(frame.index)
                )
                ((j, f),) = score_frame(truth[frame.index], labels, [1])
                scores[name].append((j + f) / 2)
    return scores


def measure(clip: BenchmarkClip, predictor: Predictor) -> dict[str, Scores]:
    """Return the scores of each line for a clip."""
    if clip.source is None:
        raise ValueError(f"{clip.name}: has no frames")
    folder = next(iter(clip.given.values())).path.parent  # the protocol leaves out both ends
    truth = [read_truth(path, clip) for path in list_images(folder)]
    last = len(truth) - 1
    middle = last // 2
    first, halves, ends = (
        follow(clip.source, truth, shown, predictor) for shown in ([0], [middle], [0, last])
    )
    before, after = slice(1, middle), slice(middle + 1, None)
    return {
        "before": {
            "forward": first["forward"][before],
            "backward": halves["both"][before],
        },
        "after": {
            "forward": first["forward"][after],
            "from the middle": halves["forward"][after],
        },
        "between": {name: ends[name][1:last] for name in BETWEEN},
    }


def main() -> None:
    """Follow every clip, and print the table as it grows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("davis", type=Path)
    parser.add_argument("--clips", help="names, with commas between them; default: all")
    parser.add_argument("--size", type=int)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    benchmark = open_benchmark(DAVIS_16, arguments.davis, "val")
    names = (arguments.clips or ",".join(clip.name for clip in benchmark.clips)).split(",")
    predictor = load_predictor(ModelOptions(size=arguments.size, device=arguments.device))
    found = {}
    for clip in benchmark.clips:
        if clip.name in names:
            found[clip.name] = measure(clip, predictor)
            cells = (
                f"{line}: " + ", ".join(f"{100 * fmean(s):.1f} {way}" for way, s in ways.items())
                for line, ways in found[clip.name].items()
            )
            print(f"{clip.name:20} {'; '.join(cells)}", flush=True)
    for line, ways in LINES.items():
        for way in ways:
            mean = bootstrap({name: lines[line][way] for name, lines in found.items()})
            gain = bootstrap(
                {
                    name: [a - b for a, b in zip(s[line][way], s[line]["forward"], strict=True)]
                    for name, s in found.items()
                }
            )
            print(
                f"{line:8} {way:16} {100 * mean.mean:5.1f} [{100 * mean.low:.1f}, "
                f"{100 * mean.high:.1f}]   less forward {100 * gain.mean:+.1f} "
                f"[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]"
            )


if __name__ == "__main__":
    main()
