"""Two runs side by side, on the frames on which they differ most (journal Figs. 6 and 7).

The masks of both are painted over their frames, beside the truth, where there is one.

Shapes: labels (H, W).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vostool.datasets.layout import clip_source, masks_root
from vostool.errors import InputError
from vostool.evaluate.report import read_frame
from vostool.evaluate.results import Results, per_cent
from vostool.media.figures import Panel, draw_panels
from vostool.media.folder import list_files, list_images
from vostool.media.labels import LabelMap
from vostool.media.masks import read_mask
from vostool.media.overlay import paint

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS = 4  # frames that are shown, each of another clip

Runs = tuple[Results, Results]


@dataclass(frozen=True)
class DifferingFrame:
    """A frame on which two runs differ."""

    clip: str
    frame: str
    share: float  # of its pixels, those with another object or none


def draw_side_by_side(runs: Runs, names: tuple[str, str], count: int = ROWS) -> "Figure":
    """Return a figure of the frames on which two runs differ most, of each clip one at most.

    Raises InputError if they have no masks of a clip in common or all of these are the same, and
    InputError or MaskError for what cannot be read.
    """
    frames = differing_frames(runs)[:count]
    if not frames:
        raise InputError(f"{between(runs)}: their masks are the same on every frame")
    return draw_panels([list(panels(runs, names, each)) for each in frames])


def titles_of(first: Path, second: Path) -> tuple[str, str]:
    """Return short names of two runs by their paths: of their folders, if these differ."""
    folders = [path.parent if path.suffix == ".json" else path for path in (first, second)]
    a, b = (folder.resolve().name for folder in folders)
    return (a, b) if a != b else (str(folders[0]), str(folders[1]))


def differing_frames(runs: Runs) -> list[DifferingFrame]:
    """Return the frame of each clip on which two runs differ most, the largest difference first.

    Clips that only one run has are left out, and frames that lack a mask or their picture, or,
    where any is scored, a score.
    """
    folders = [run.predictions for run in runs]
    clips = sorted(set.intersection(*(clips_in(folder) for folder in folders)))
    if not clips:
        raise InputError(f"{between(runs)}: found no clip that both have masks of")
    found = []
    for clip in clips:
        shown = [masks_in(folder / clip) for folder in folders] + limits_of(runs[0], clip)
        shares = [
            (float((first != second).mean()), frame)
            for frame in sorted(set.intersection(*shown))
            for first, second in [masks_of(runs, clip, frame)]
        ]
        share, frame = max(shares, key=lambda pair: pair[0], default=(0.0, ""))
        if share > 0:
            found.append(DifferingFrame(clip, frame, share))
    return sorted(found, key=lambda each: -each.share)


def between(runs: Runs) -> str:
    """Return the folders of the masks of two runs, for messages."""
    return f"{runs[0].predictions} and {runs[1].predictions}"


def clips_in(folder: Path) -> set[str]:
    """Return the names of the clips that a folder holds masks of; raises InputError."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; the masks of a run are needed")
    return {path.name for path in folder.iterdir() if path.is_dir()}


def masks_in(folder: Path) -> set[str]:
    """Return the names of the frames that a folder holds masks of."""
    return {path.stem for path in list_files(folder, (".png",))}


def limits_of(run: Results, clip: str) -> list[set[str]]:
    """Return the frames of a clip that have a picture, of a folder, and those that are scored."""
    source = clip_source(run.root, clip)
    pictures = [{path.stem for path in list_images(source)}] if source.is_dir() else []
    return pictures + [set(each.frames) for each in run.clips if each.name == clip]


def masks_of(runs: Runs, clip: str, frame: str) -> tuple[LabelMap, LabelMap]:
    """Return the masks of a frame by both runs; raises InputError if they differ in size."""
    paths = [run.predictions / clip / f"{frame}.png" for run in runs]
    first, second = (read_mask(path, allow_empty=True, strict=False) for path in paths)
    if first.shape != second.shape:
        (height, width), (tall, wide) = first.shape, second.shape
        raise InputError(f"{paths[1]}: mask is {wide}x{tall}, that of {paths[0]} {width}x{height}")
    return first, second


def panels(runs: Runs, names: tuple[str, str], where: DifferingFrame) -> Iterator[Panel]:
    """Yield a frame with its truth, if there is one, and with the masks of either run."""
    masks = masks_of(runs, where.clip, where.frame)
    rgb = read_frame(clip_source(runs[0].root, where.clip), where.frame, masks[0])
    truth = masks_root(runs[0].root) / where.clip / f"{where.frame}.png"
    shown = rgb
    if runs[0].clips and truth.exists():
        height, width = masks[0].shape
        shown = paint(rgb, read_mask(truth, width, height, allow_empty=True, strict=False))
    yield Panel(f"{where.clip}, frame {where.frame}", shown)
    for run, name, labels in zip(runs, names, masks, strict=True):
        yield Panel(name + score_on(run, where), paint(rgb, labels))


def score_on(run: Results, where: DifferingFrame) -> str:
    """Return the mean J of a frame's objects, as a title says it; empty if none is scored."""
    scores = [
        objects.j[clip.frames.index(where.frame) - len(clip.frames)]
        for clip in run.clips
        if clip.name == where.clip and where.frame in clip.frames
        for objects in clip.objects.values()
        # the scores of an object that enters late are those of the last frames
        if len(clip.frames) - clip.frames.index(where.frame) <= len(objects.j)
    ]
    return f": J {per_cent(float(np.mean(scores)))}" if scores else ""
