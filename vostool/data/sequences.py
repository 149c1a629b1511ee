"""Data sets on disk to sequences in memory.

Two layouts. "clips" holds videos and their masks: ROOT/videos/<name>.mp4 or
ROOT/JPEGImages/480p/<name>/ or ROOT/JPEGImages/<name>/ beside ROOT/Annotations/480p/<name>/
or ROOT/Annotations/<name>/, where masks named by frame may be sparse (DAVIS, YouTube-VOS
and others are of this form). "photographs" holds ROOT/images/ and ROOT/masks/, paired by
stem; each is a sequence of one frame.

Frames are kept as bytes at a small size: a training set of some thousand frames fits
in memory, and decoding is never in the way of training.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from vostool.errors import InputError
from vostool.media.masks import read_mask
from vostool.media.video import read_frames

IMAGES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Sequence:
    """Frames with masks: T >= 1 of a clip, 1 of a photograph."""

    name: str
    images: Tensor  # (T, 3, H, W) uint8
    labels: Tensor  # (T, H, W) uint8, 0 background
    annotated: tuple[int, ...]  # the frames whose labels are known

    def to(self, device: torch.device) -> "Sequence":
        """Return the sequence with its tensors on a device."""
        return Sequence(self.name, self.images.to(device), self.labels.to(device), self.annotated)


def clip_names(root: Path, split: Path | None = None) -> list[str]:
    """Return the names of a set's clips: those listed in a file, or all that have masks.

    Raises InputError if there is none.
    """
    if split is not None:
        if not split.is_file():
            raise InputError(f"{split}: no such list of clips")
        lines = split.read_text().splitlines()
        # DAVIS-2016 lists pairs of files, DAVIS-2017 plain names
        return list(dict.fromkeys(Path(line.split()[0]).name for line in lines if line.strip()))
    masks = masks_root(root)
    names = sorted(path.name for path in masks.iterdir() if path.is_dir())
    if not names:
        raise InputError(f"{masks}: holds no folder of masks")
    return names


def masks_root(root: Path) -> Path:
    """Return the folder that holds one folder of masks per clip."""
    for folder in (root / "Annotations" / "480p", root / "Annotations"):
        if folder.is_dir():
            return folder
    raise InputError(f"{root}: expected a folder Annotations in it")


def clip_source(root: Path, name: str) -> Path:
    """Return the video file or the folder of frames of a clip."""
    candidates = (
        root / "videos" / f"{name}.mp4",
        root / "JPEGImages" / "480p" / name,
        root / "JPEGImages" / name,
    )
    for path in candidates:
        if path.exists():
            return path
    raise InputError(f"{root}: no video and no folder of frames for the clip {name!r}")


def load_clip(root: Path, name: str, short_side: int) -> Sequence:
    """Read one clip with its masks, resized to a short side in pixels."""
    masks = {int(path.stem): path for path in sorted((masks_root(root) / name).glob("*.png"))}
    images: list[Tensor] = []
    labels: list[Tensor] = []
    for frame in read_frames(clip_source(root, name)):
        images.append(shrink(frame.rgb, short_side))
        size = (images[-1].shape[1], images[-1].shape[2])
        known = masks.get(frame.index)
        labels.append(shrink_labels(known, size) if known else torch.zeros(size).byte())
    annotated = tuple(index for index in masks if index < len(images))
    return Sequence(name, torch.stack(images), torch.stack(labels), annotated)


def load_clips(root: Path, short_side: int, split: Path | None = None) -> Iterator[Sequence]:
    """Read the clips of a set one by one."""
    for name in clip_names(root, split):
        yield load_clip(root, name, short_side)


def load_photographs(root: Path, short_side: int) -> Iterator[Sequence]:
    """Read photographs with their masks, one by one; each a sequence of one frame."""
    paths = sorted(path for path in (root / "images").glob("*") if path.suffix.lower() in IMAGES)
    if not paths:
        raise InputError(f"{root / 'images'}: holds no photograph")
    for path in paths:
        with Image.open(path) as photograph:
            image = shrink(np.asarray(photograph.convert("RGB")), short_side)
        labels = shrink_labels(root / "masks" / f"{path.stem}.png", image.shape[1:])
        yield Sequence(f"{root.name}/{path.stem}", image[None], labels[None], (0,))


def shrink(rgb: np.ndarray, short_side: int) -> Tensor:
    """Turn a picture (H, W, 3) into a tensor (3, h, w) of a short side, never enlarging."""
    image = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)
    scale = min(1.0, short_side / min(image.shape[1:]))
    size = [round(side * scale) for side in image.shape[1:]]
    small = functional.interpolate(image[None], size=size, mode="bilinear", antialias=True)
    return small[0].contiguous()


def shrink_labels(path: Path, size: tuple[int, ...]) -> Tensor:
    """Read a mask and resize it to (h, w) by nearest neighbour."""
    labels = torch.from_numpy(read_mask(path, allow_empty=True, doubt=False))
    return functional.interpolate(labels[None, None], size=tuple(size), mode="nearest-exact")[0, 0]
