"""Arrays as pictures (heat over a frame, panels side by side with a colour bar), and in files.

Colours are those of inferno, in which equal steps of a value look equal. Every file is
written whole or not at all.

Shapes: rgb (H, W, 3) uint8; values (h, w), of any size, 0 or more.
"""

import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vostool.files import write_bytes, write_text
from vostool.files.documents import Document
from vostool.media.frame import Rgb

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = "inferno"
FAINT, STRONG = 0.3, 0.85  # opacity of the least and the most heat, over the frame in grey
TOP = 0.995  # quantile at which the scale ends; a few pixels may be far above
PANEL = 3.2  # inches a panel is wide
DOTS = 150  # per inch

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Panel:
    """A picture with a title."""

    title: str
    rgb: Rgb


def heat(rgb: Rgb, values: Values, highest: float) -> Rgb:
    """Return a frame in grey with values over it, 0 dark and `highest` bright."""
    from matplotlib import colormaps

    height, width = rgb.shape[:2]
    scaled = Image.fromarray(values / highest if highest > 0 else values)
    scaled = scaled.resize((width, height), Image.Resampling.BILINEAR)
    share = np.asarray(scaled).clip(0, 1)
    grey = np.asarray(Image.fromarray(rgb).convert("L"))[..., None] / 255
    opacity = FAINT + (STRONG - FAINT) * share[..., None]
    mixed = opacity * colormaps[COLOURS](share)[..., :3] + (1 - opacity) * grey
    return (255 * mixed + 0.5).astype(np.uint8)


def top_of_scale(values: Iterable[Values]) -> float:
    """Return the value at which the colour scale ends, robust to a few extreme pixels."""
    every = np.concatenate([each.ravel() for each in values])
    return float(np.quantile(every, TOP)) or float(every.max())


def draw_panels(rows: Sequence[Sequence[Panel]]) -> "Figure":
    """Return a figure of rows of pictures."""
    from matplotlib.figure import Figure

    height, width = rows[0][0].rgb.shape[:2]
    columns = max(len(row) for row in rows)
    size = (PANEL * columns + 1, (PANEL * height / width + 0.3) * len(rows) + 0.1)
    figure = Figure(size, dpi=DOTS, layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for places, row in zip(axes, rows, strict=True):
        for place in places:
            place.axis("off")
        for place, panel in zip(places, row, strict=False):
            place.imshow(panel.rgb)
            place.set_title(panel.title, fontsize=8, parse_math=False)
    return figure


def with_colour_bar(figure: "Figure", highest: float, label: str) -> "Figure":
    """Return a figure with one colour bar beside its pictures, from 0 to `highest`."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = ScalarMappable(Normalize(0, highest or 1), colormaps[COLOURS])
    figure.colorbar(bar, ax=figure.axes, label=label, fraction=0.05, pad=0.01, extend="max")
    return figure


def save_figure(path: Path, figure: "Figure") -> None:
    """Write a figure as PNG; raises OutputError."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    save(path, FigureCanvasAgg(figure).print_png)


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as .npy; raises OutputError."""
    save(path, lambda buffer: np.save(buffer, array))


def save_json(path: Path, report: Document) -> None:
    """Write a report as JSON, paths and fractions as text; raises OutputError."""
    write_text(path, json.dumps(report.model_dump(), indent=2, default=str) + "\n")


def save(path: Path, write: Callable[[io.BytesIO], object]) -> None:
    """Write a file all or nothing; raises OutputError."""
    buffer = io.BytesIO()
    write(buffer)
    write_bytes(path, buffer.getvalue())
