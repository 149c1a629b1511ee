"""Draw cut-outs over magenta, beside what a plain crop by the masks gives: a fringe shows there.

    vostool segment --demo --write masks,cutouts -o demo
    python -m tests.bench.magenta demo/demo.mp4 demo PICTURE.png --frame 20

On the left is the frame cropped by its mask, in hard steps and with what was behind the object in
its outermost pixels; on the right is the cut-out, both enlarged around the top of the object.
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vostool.media.masks import read_mask
from vostool.media.video import read_frames

MAGENTA = np.array([255.0, 0, 255])
GAP = 6  # pixels between the two
Pixels = NDArray[np.uint8]


def over_magenta(rgb: Pixels, alpha: NDArray[np.float64]) -> Pixels:
    """Return colours (H, W, 3) with straight alpha (H, W), from 0 to 1, over magenta."""
    share = alpha[..., np.newaxis]
    return (share * rgb + (1 - share) * MAGENTA + 0.5).astype(np.uint8)


def around_top(labels: Pixels, width: int, height: int) -> tuple[slice, slice]:
    """Return rows and columns around the top of what labels show."""
    rows, columns = np.nonzero(labels)
    middle = int(columns[rows < rows.min() + height // 3].mean())
    top = min(max(0, rows.min() - height // 8), labels.shape[0] - height)
    left = min(max(0, middle - width // 2), labels.shape[1] - width)
    return slice(top, top + height), slice(left, left + width)


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("run", type=Path, help="the folder with masks/ and cutouts/")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--frame", type=int, default=0)
    parser.add_argument("--object", type=int, default=1, help="whose top is shown")
    parser.add_argument("--size", type=int, nargs=2, default=(104, 104), help="width, height")
    parser.add_argument("--enlarge", type=int, default=3)
    arguments = parser.parse_args()
    (frame,) = read_frames(arguments.video, arguments.frame, arguments.frame + 1)
    labels = read_mask(arguments.run / "masks" / f"{frame.name}.png", allow_empty=True)
    with Image.open(arguments.run / "cutouts" / f"{frame.name}.png") as file:
        cutout = np.asarray(file.convert("RGBA"))
    window = around_top((labels == arguments.object).astype(np.uint8), *arguments.size)
    before = over_magenta(frame.rgb, (labels > 0).astype(float))[window]
    after = over_magenta(cutout[..., :3], cutout[..., 3] / 255)[window]
    gap = np.full((before.shape[0], max(1, GAP // arguments.enlarge), 3), 255, np.uint8)
    both = np.hstack([before, gap, after])
    large = both.repeat(arguments.enlarge, axis=0).repeat(arguments.enlarge, axis=1)
    Image.fromarray(large).save(arguments.picture, optimize=True)


if __name__ == "__main__":
    main()
