"""Results as an HTML page: one file that needs nothing beside it.

The content is made here, the layout is in `report.html.jinja`: figures, curves as SVG, and of the
clips with the lowest scores one frame each, with truth, prediction and error as pictures.

Shapes: rgb (H, W, 3), labels (H, W), both uint8.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from vostool.datasets.layout import clip_source, masks_root
from vostool.errors import InputError, MaskError
from vostool.evaluate.results import (
    ClipScores,
    ObjectScores,
    Results,
    by_group,
    per_cent,
    summary,
)
from vostool.files import write_text
from vostool.media.frame import Rgb
from vostool.media.labels import LabelMap
from vostool.media.masks import read_mask
from vostool.media.overlay import paint
from vostool.media.video import read_frames

TEMPLATE = "report.html.jinja"
POINTS = 200  # of a curve, at most
PICTURE_WIDTH = 720  # pixels, at most: twice what the page shows
LEFT, TOP, WIDTH, HEIGHT = 26, 8, 228, 100  # of the curves, in the units of their SVG

# the palette of Okabe and Ito: distinct for the colour-blind too, and all lighter than the frame
KINDS = {
    "right": (255, 255, 255),
    "missed": (230, 159, 0),
    "false": (86, 180, 233),
    "wrong object": (204, 121, 167),
}
FRAME_STRENGTH = 0.45  # of the grey frame under the error
COLOUR_STRENGTH = 0.85  # of the error over it


@dataclass(frozen=True)
class WorstFrame:
    """The frame of a clip with the lowest scores."""

    clip: str
    frame: str  # its name
    j_and_f: float  # mean over the objects scored on it
    rgb: Rgb
    truth: LabelMap
    predicted: LabelMap


@dataclass(frozen=True)
class Shown:
    """A frame as the page shows it: pictures are data URIs."""

    frame: WorstFrame
    truth: str
    predicted: str
    error: str


@dataclass(frozen=True)
class Curve:
    """J of an object over the frames of its clip, in the units of the SVG."""

    points: str  # "x,y x,y ..."
    start: tuple[float, float] | None  # where an object enters late, or has but one frame


def write_report(path: Path, results: Results, pictures: Sequence[WorstFrame]) -> None:
    """Write the page atomically; replaces an existing file.

    `results` holds at least one clip. Raises OutputError if the file cannot be written.
    """
    write_text(path, render(results, pictures))


def render(results: Results, pictures: Sequence[WorstFrame]) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=PackageLoader("vostool.evaluate", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(summary=summary, curve=curve, tick_label=tick_label)
    environment.filters["score"] = per_cent
    return environment.get_template(TEMPLATE).render(
        results=results,
        ranked=sorted(results.clips, key=lambda clip: -clip.j_and_f),
        groups=by_group(results),
        pictures=[show(picture) for picture in pictures],
        kinds=_kinds_in(pictures),
        plot={"left": LEFT, "top": TOP, "width": WIDTH, "height": HEIGHT},
    )


def worst_frames(results: Results, count: int = 6) -> Iterator[WorstFrame]:
    """Yield the worst frame of each of the `count` clips that have the worst ones, worst first.

    A clip whose frames or masks cannot be read any more is left out.
    """
    lows = [(*_lowest(clip), clip.name) for clip in results.clips]
    for j_and_f, frame, clip in sorted(lows):
        if count <= 0:
            return
        with suppress(InputError, MaskError):
            yield _load(results, clip, frame, j_and_f)
            count -= 1


def _lowest(clip: ClipScores) -> tuple[float, str]:
    """Return the lowest mean of J&F over the objects of a frame, and the frame."""
    scores = np.full((len(clip.objects), len(clip.frames)), np.nan)
    for row, each in zip(scores, clip.objects.values(), strict=True):
        row[len(row) - len(each.j) :] = np.add(each.j, each.f) / 2  # nothing before it enters
    scored = np.flatnonzero(~np.isnan(scores).all(axis=0))
    means = np.nanmean(scores[:, scored], axis=0)
    return float(means.min()), clip.frames[scored[means.argmin()]]


def _load(results: Results, clip: str, frame: str, j_and_f: float) -> WorstFrame:
    """Read a frame and its masks; raises InputError or MaskError."""
    truth = read_mask(
        masks_root(results.root) / clip / f"{frame}.png", allow_empty=True, strict=False
    )
    height, width = truth.shape
    predicted = read_mask(
        results.predictions / clip / f"{frame}.png", width, height, allow_empty=True, strict=False
    )
    rgb = read_frame(clip_source(results.root, clip), frame, truth)
    return WorstFrame(clip, frame, j_and_f, rgb, truth, predicted)


def read_frame(source: Path, frame: str, labels: LabelMap) -> Rgb:
    """Return a frame of a clip at the size of its masks, which may be smaller.

    Raises InputError if the clip cannot be read or has no such frame.
    """
    rgb = next((each.rgb for each in read_frames(source) if each.name == frame), None)
    if rgb is None:
        raise InputError(f"{source}: has no frame {frame}")
    height, width = labels.shape
    if rgb.shape[:2] == labels.shape:
        return rgb
    return np.array(Image.fromarray(rgb).resize((width, height)))


def curve(scores: ObjectScores, frames: int) -> Curve:
    """Return the curve of J of an object over a clip of `frames` frames.

    The scores of an object that enters late are those of the last frames.
    """
    first = frames - len(scores.j)
    step = WIDTH / max(1, frames - 1)
    points = [
        (round(LEFT + step * (first + index), 1), round(TOP + HEIGHT * (1 - scores.j[index]), 1))
        for index in thin(scores.j)
    ]
    late = first > 0 or len(points) == 1
    return Curve(" ".join(f"{x:g},{y:g}" for x, y in points), points[0] if late else None)


def thin(values: Sequence[float], most: int = POINTS) -> list[int]:
    """Return the indices of at most `most` of the values: the ends, and all peaks and dips."""
    if len(values) <= most:
        return list(range(len(values)))
    kept = {0, len(values) - 1}
    for piece in np.array_split(np.arange(len(values)), most // 2 - 1):
        part = np.asarray(values)[piece]
        kept |= {int(piece[part.argmin()]), int(piece[part.argmax()])}
    return sorted(kept)


def tick_label(frame: str) -> str:
    """Return a frame's name on an axis: its number if it has one."""
    return str(int(frame)) if frame.isdecimal() else frame


def show(picture: WorstFrame) -> Shown:
    """Return a frame with truth, prediction and error painted over it."""
    return Shown(
        picture,
        truth=_encode(paint(picture.rgb, picture.truth)),
        predicted=_encode(paint(picture.rgb, picture.predicted)),
        error=_encode(paint_error(picture)),
    )


def paint_error(picture: WorstFrame) -> Rgb:
    """Return the frame in grey, with right, missed, false and confused pixels coloured."""
    grey = np.asarray(Image.fromarray(picture.rgb).convert("L"))[..., np.newaxis]
    painted = (FRAME_STRENGTH * grey).repeat(3, axis=2)
    for kind, where in _kinds_of(picture).items():
        colour = COLOUR_STRENGTH * np.asarray(KINDS[kind])
        painted[where] = colour + (1 - COLOUR_STRENGTH) * painted[where]
    return painted.round().astype(np.uint8)


def _kinds_of(picture: WorstFrame) -> dict[str, NDArray[np.bool_]]:
    """Return where each kind of pixel is, (H, W)."""
    there, found = picture.truth > 0, picture.predicted > 0
    same = picture.truth == picture.predicted
    return {
        "right": there & same,
        "missed": there & ~found,
        "false": found & ~there,
        "wrong object": there & found & ~same,
    }


def _kinds_in(pictures: Sequence[WorstFrame]) -> dict[str, tuple[int, int, int]]:
    """Return the legend of the errors, without confusion where there is none."""
    confused = any(_kinds_of(picture)["wrong object"].any() for picture in pictures)
    return {kind: colour for kind, colour in KINDS.items() if confused or kind != "wrong object"}


def _encode(rgb: Rgb) -> str:
    """Return a picture as the data URI of a JPEG, at most as wide as the page."""
    image = Image.fromarray(rgb)
    image.thumbnail((PICTURE_WIDTH, PICTURE_WIDTH))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
