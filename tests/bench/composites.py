"""Make clips of two objects with exact truth out of clips of one: a small DAVIS-2017 set.

    python -m tests.bench.composites DAVIS-2016 OUT hockey mallard-fly stroller
    vostool eval davis17 OUT

For each ordered pair of clips the object of the second is cut out and put, frame by frame
and half as large as it was, before the first: it moves as in its own clip, and hides what is
behind it. Only clips that were held out of training make an honest test.
"""

import argparse
from itertools import permutations
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from vostool.datasets.layout import clip_source, masks_root
from vostool.media.frame import Rgb
from vostool.media.labels import LabelMap
from vostool.media.masks import read_mask, write_mask
from vostool.media.video import read_frames

SHARE = 0.5  # of its size that a pasted object keeps
BLUR = 1.0  # pixels, standard deviation, of the pasted outline

Shot = tuple[Rgb, LabelMap]


def load(root: Path, name: str) -> list[Shot]:
    """Read the frames of a clip with their masks, one object."""
    masks = masks_root(root) / name
    return [
        (frame.rgb, np.minimum(read_mask(masks / f"{frame.name}.png", allow_empty=True), 1))
        for frame in read_frames(clip_source(root, name))
    ]


def paste(scene: Shot, guest: Shot) -> Shot:
    """Put the guest's object, as 2, over the scene, whose own is 1."""
    rgb, labels = scene
    height, width = labels.shape
    size = (round(SHARE * width), round(SHARE * height))
    cutout = np.zeros_like(rgb)
    mask = np.zeros_like(labels)
    top, left = height - size[1], (width - size[0]) // 2  # at the bottom, in the middle
    place = np.s_[top : top + size[1], left : left + size[0]]
    cutout[place] = cv2.resize(guest[0], size, interpolation=cv2.INTER_AREA)
    mask[place] = cv2.resize(guest[1], size, interpolation=cv2.INTER_NEAREST)
    alpha = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), BLUR)[..., None]
    mixed = cutout * alpha + rgb * (1 - alpha)
    return mixed.astype(np.uint8), np.where(mask > 0, np.uint8(2), labels)


def main() -> None:
    """Write a clip for each ordered pair, and the list of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("clips", nargs="+")
    arguments = parser.parse_args()
    clips = {name: load(arguments.root, name) for name in arguments.clips}
    names = []
    for first, second in permutations(clips, 2):
        name = f"{first}-{second}"
        frames = arguments.output / "JPEGImages" / "480p" / name
        masks = arguments.output / "Annotations" / "480p" / name
        frames.mkdir(parents=True)
        masks.mkdir(parents=True)
        for index, (scene, guest) in enumerate(zip(clips[first], clips[second], strict=False)):
            rgb, labels = paste(scene, guest)
            Image.fromarray(rgb).save(frames / f"{index:05d}.jpg", quality=95)
            write_mask(masks / f"{index:05d}.png", labels)
        names.append(name)
    listing = arguments.output / "ImageSets" / "2017" / "val.txt"
    listing.parent.mkdir(parents=True)
    listing.write_text("\n".join(names) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
