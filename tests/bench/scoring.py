"""Time the scoring of masks against a plain implementation, and compare what they find.

    python -m tests.bench.scoring DAVIS-2016 PREDICTIONS [--processes 2]

Plain is one process, one frame after another, whole frames, both boundaries dilated as images.
PREDICTIONS is a folder of CLIP/00000.png, ...; object 1 is all that is not background, and
frames are those of the truth without the first and the last, as the benchmark has it.
"""

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vostool.evaluate.protocols import open_benchmark
from vostool.evaluate.scoring import score_clips

Pair = tuple[Path, Path]  # truth, predicted
Scores = list[tuple[float, float]]  # J and F, frame by frame


def plain(pairs: list[Pair]) -> Scores:
    """Score frame after frame as the definitions read."""
    return [plain_frame(plain_mask(truth), plain_mask(found)) for truth, found in pairs]


def plain_mask(path: Path) -> NDArray[np.bool_]:
    return np.array(Image.open(path)) > 0


def plain_frame(truth: NDArray[np.bool_], found: NDArray[np.bool_]) -> tuple[float, float]:
    """Return J and F of one frame."""
    union = (truth | found).sum()
    j = float((truth & found).sum() / union) if union else 1.0
    radius = math.ceil(0.008 * math.hypot(*truth.shape))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    true_boundary, found_boundary = plain_boundary(truth), plain_boundary(found)
    true_near, found_near = cv2.dilate(true_boundary, disk), cv2.dilate(found_boundary, disk)
    true_count, found_count = int(true_boundary.sum()), int(found_boundary.sum())
    if not true_count or not found_count:
        return j, float(true_count == found_count)
    precision = np.count_nonzero(found_boundary * true_near) / found_count
    recall = np.count_nonzero(true_boundary * found_near) / true_count
    total = precision + recall
    return j, 2 * precision * recall / total if total else 0.0


def plain_boundary(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return 1 where a pixel differs from the next ones; the frame's last ones go on."""
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, both = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return ((mask ^ right) | (mask ^ below) | (mask ^ both)).astype(np.uint8)


def timed(what: str, score: Callable[[], Scores], frames: int) -> tuple[float, NDArray[np.float64]]:
    """Return the seconds it took, and the scores (frames, 2)."""
    begin = time.perf_counter()
    scores = np.array(score())
    seconds = time.perf_counter() - begin
    print(f"{what:24} {seconds:7.2f} s   {1000 * seconds / frames:6.2f} ms per frame", flush=True)
    return seconds, scores


def main() -> None:
    """Score both ways and print the seconds and the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("predictions", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--split", default="val", help="the clips to score")
    arguments = parser.parse_args()
    clips = open_benchmark("davis16", arguments.root, arguments.split).clips
    pairs = [
        (truth, arguments.predictions / clip.name / truth.name)
        for clip in clips
        for truth in clip.truth.values()
    ]
    for pair in pairs:  # both shall find the files in memory
        for path in pair:
            path.read_bytes()

    def product() -> Scores:
        found = score_clips(clips, arguments.predictions, arguments.processes)
        objects = [clip.objects[1] for clip in found]
        return [pair for scores in objects for pair in zip(scores.j, scores.f, strict=True)]

    slow, expected = timed("plain, 1 process", lambda: plain(pairs), len(pairs))
    fast, found = timed(f"vostool, {arguments.processes} processes", product, len(pairs))
    j, f = np.abs(expected - found).max(axis=0)
    print(f"{slow / fast:.1f} times as fast; largest difference J {j:.1e}, F {f:.1e}")
    print(f"mean J {found[:, 0].mean():.4f}, F {found[:, 1].mean():.4f} over {len(pairs)} frames")


if __name__ == "__main__":
    main()
