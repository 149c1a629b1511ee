"""How good are first masks that a user draws, and what comes of following from them?

    python -m tests.bench.first_masks DAVIS-2016 [--follow] [--clips camel,goat] [--size 320]

Of every clip, the first frame's true outline (of its largest part) becomes a polygon whose corners
lie where the outline bends, as a user clicks (Douglas-Peucker, the tolerance as small as the number
of corners allows); `snap` has the network draw that tighter; GrabCut gets
the box of the true mask. Printed is the intersection over union with the true mask, and with
--follow the J&F of the clip, followed from the true mask and from either polygon.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np

from vostool import follow
from vostool.errors import MaskError
from vostool.evaluate.metrics import jaccard, score_frame
from vostool.evaluate.protocols import BenchmarkClip, open_benchmark
from vostool.first_mask.grabcut import cut_box
from vostool.first_mask.outlines import fill_polygon
from vostool.first_mask.refine import largest
from vostool.first_mask.snap import snap
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor
from vostool.media.frame import Rgb
from vostool.media.labels import BoolMask, LabelMap
from vostool.media.masks import read_values
from vostool.media.video import read_frames

STEPS = 20  # of the bisection
TRUTH, POLYGON, SNAPPED, BOX = "true mask", "polygon", "polygon, snapped", "box (GrabCut)"


@dataclass(frozen=True)
class FirstFrame:
    """The first frame of a clip, and its masks by how they came about."""

    source: Path
    masks: dict[str, BoolMask]

    def iou(self, name: str) -> float:
        """Return the intersection over union of a mask with the true one."""
        return jaccard(self.masks[TRUTH], self.masks[name])


def clicked(mask: BoolMask, points: int) -> BoolMask:
    """Return the polygon of at most so many corners that is closest to a mask's largest part."""
    part = largest(mask).astype(np.uint8)
    outlines, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = max(outlines, key=cv2.contourArea)
    low, high = 0.0, float(max(mask.shape))  # pixels that the polygon may lie off the outline
    for _ in range(STEPS):
        middle = (low + high) / 2
        enough = len(cv2.approxPolyDP(outline, middle, closed=True)) <= points
        low, high = (low, middle) if enough else (middle, high)
    corners = cv2.approxPolyDP(outline, high, closed=True).reshape(-1, 2)
    shape = mask.shape[0], mask.shape[1]
    return fill_polygon([(float(x), float(y)) for x, y in corners], shape)


def boxed(rgb: Rgb, mask: BoolMask) -> BoolMask:
    """Return what GrabCut finds in the box of a mask; nothing if it collapses."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    try:
        return cut_box(rgb, (x, y, width, height))
    except MaskError:
        return np.zeros_like(mask)


def first_frame(clip: BenchmarkClip, predictor: Predictor, points: int) -> FirstFrame:
    """Make the masks of a clip's first frame."""
    assert clip.source is not None
    (given,) = clip.given.values()
    (frame,) = read_frames(clip.source, 0, 1)
    truth = read_values(given.path) > 0
    rough = clicked(truth, points)
    snapped = snap(predictor, frame.rgb, rough.astype(np.uint8)) > 0
    masks = {TRUTH: truth, BOX: boxed(frame.rgb, truth), POLYGON: rough, SNAPPED: snapped}
    return FirstFrame(clip.source, masks)


def followed(clip: BenchmarkClip, first: FirstFrame, name: str, predictor: Predictor) -> float:
    """Return the J&F of a clip, followed from one of its first masks."""
    mask: LabelMap = first.masks[name].astype(np.uint8)
    scores = []
    for frame, labels in follow(first.source, {0: mask}, predictor=predictor):
        if frame.name in clip.truth:
            truth = (read_values(clip.truth[frame.name]) > 0).astype(np.uint8)
            scores += score_frame(truth, labels, [1])
    return fmean(fmean(pair) for pair in scores)


def print_table(rows: dict[str, list[float]], header: list[str]) -> None:
    """Print a row of numbers for each clip, and their means, in Markdown."""
    print(f"| clip | {' | '.join(header)} |\n|---|{'---|' * len(header)}")
    means = [fmean(column) for column in zip(*rows.values(), strict=True)]
    for name, values in {**rows, "mean": means}.items():
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in values)} |", flush=True)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--clips", help="names with commas between them; all unless given")
    parser.add_argument("--points", type=int, default=20, help="corners of a polygon")
    parser.add_argument("--follow", action="store_true", help="follow each clip three times, too")
    parser.add_argument("--size", type=int, help="short side of the network's input")
    arguments = parser.parse_args()
    predictor = load_predictor(ModelOptions(size=arguments.size))
    wanted = arguments.clips.split(",") if arguments.clips else None
    every = open_benchmark("davis16", arguments.root, arguments.split).clips
    clips = {clip.name: clip for clip in every if wanted is None or clip.name in wanted}
    firsts = {name: first_frame(clip, predictor, arguments.points) for name, clip in clips.items()}

    def rows(
        names: tuple[str, ...], measure: Callable[[str, str], float]
    ) -> dict[str, list[float]]:
        return {clip: [measure(clip, name) for name in names] for clip in clips}

    drawn = (BOX, POLYGON, SNAPPED)
    print(f"IoU with the true first mask, polygons of {arguments.points} corners\n")
    print_table(rows(drawn, lambda clip, name: firsts[clip].iou(name)), [*drawn])
    if arguments.follow:
        starts = (TRUTH, POLYGON, SNAPPED)
        print("\nJ&F of the clip, followed from\n")
        print_table(
            rows(starts, lambda clip, name: followed(clips[clip], firsts[clip], name, predictor)),
            [*starts],
        )


if __name__ == "__main__":
    main()
