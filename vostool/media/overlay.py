"""Objects made visible: tinted over their frame, or cut out of it.

Shapes: rgb (H, W, 3), labels (H, W), both uint8.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vostool.files import write_bytes
from vostool.media.boxes import boxes_around
from vostool.media.frame import Rgb
from vostool.media.labels import PALETTE, LabelMap
from vostool.media.matting import Alpha, with_alpha

COLOURS = np.frombuffer(PALETTE, np.uint8).reshape(-1, 3)
# Okabe and Ito, 2008: colours that people with any kind of colour blindness can tell apart
OKABE_ITO = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)),
    *((0, 114, 178), (213, 94, 0), (204, 121, 167)),
)
LINES_PER_OUTLINE_PIXEL = 300  # 480p gets an outline of 2 pixels, 1080p of 4


def _colour_blind() -> bytes:
    """Return 256 colours, black and those of Okabe and Ito again and again."""
    return bytes([0, 0, 0] + [each for n in range(255) for each in OKABE_ITO[n % len(OKABE_ITO)]])


PALETTES = {"davis": PALETTE, "colour-blind": _colour_blind()}


def outlines_of(palette: bytes) -> NDArray[np.uint8]:
    """Return colours (256, 3) that stand out from a tint: palettes are dark, these are lighter."""
    colours = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    return np.minimum(colours * 1.5 + 60, 255).astype(np.uint8)


OUTLINES = outlines_of(PALETTE)


def paint(rgb: Rgb, labels: LabelMap, opacity: float = 0.5, palette: bytes = PALETTE) -> Rgb:
    """Return a copy of a frame with each object tinted in its palette colour and outlined.

    `opacity` of the tint is from 0 (outline only) to 1; the background stays as it is. The
    outline lies inside the object, in a lighter shade of its colour.
    """
    painted = rgb.copy()
    thickness = max(1, round(labels.shape[0] / LINES_PER_OUTLINE_PIXEL))
    strength = [0] + [round(255 * opacity)] * 255
    for box in boxes_around(labels, thickness):  # nothing happens outside of them
        objects = Image.fromarray(labels[box])  # Pillow mixes in a fraction of numpy's time
        shares = objects.point(strength)
        objects.putpalette(palette)
        part = Image.fromarray(rgb[box])
        mixed = np.array(Image.composite(objects.convert("RGB"), part, shares))
        outline = np.flatnonzero(_outline(labels[box], thickness))
        mixed.reshape(-1, 3)[outline] = outlines_of(palette)[labels[box].ravel()[outline]]
        painted[box] = mixed
    return painted


def write_cutout(path: Path, rgb: Rgb, alpha: Alpha) -> None:
    """Write the objects of a frame on a transparent background as PNG, all or nothing.

    `alpha` (H, W) is from 0 to 1; see `with_alpha`. Raises OutputError.
    """
    import cv2

    # Pillow takes twice as long: it tries all filters of PNG on each row
    _, encoded = cv2.imencode(".png", cv2.cvtColor(with_alpha(rgb, alpha), cv2.COLOR_RGBA2BGRA))
    write_bytes(path, encoded.tobytes(), sync=False)


def _outline(labels: LabelMap, thickness: int) -> NDArray[np.bool_]:
    """Return the pixels of objects within `thickness` pixels of something else, (H, W).

    That is to the left, right, above or below. The border of the picture is no outline: the object
    may go on beyond it.
    """
    import cv2

    # between the largest and the smallest label so near, beyond the border there being none
    across, down = (
        np.asarray(cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, np.ones(near, np.uint8)), np.uint8)
        for near in ((1, 2 * thickness + 1), (2 * thickness + 1, 1))
    )
    return ((across | down) > 0) & (labels > 0)
