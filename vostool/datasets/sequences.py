"""Data sets on disk to sequences.

A sequence is a clip or a photograph with masks. It is asked for a few frames at a time, so
that it may lie on disk or in memory alike: `InMemory` holds any of the others as bytes at a
small size, on the device, and decoding is never in the way of training; a set too large for
that is read as it is needed.

Layouts:
    clips        ROOT/videos/<clip>.mp4, or ROOT/JPEGImages/[480p/]<clip>/<frame>.jpg, beside
                 ROOT/Annotations/[480p/]<clip>/<frame>.png; masks may be sparse. DAVIS,
                 YouTube-VOS and many others are of this form.
    photographs  ROOT/images/<name>.jpg beside ROOT/masks/<name>.png; or, if `binary`, masks
                 of one object that may be grey at its edges (as DUTS, ECSSD, ...)
    coco         ROOT/<split>.json beside ROOT/<split>/<file>.jpg, through pycocotools; or, as COCO
                 is published, ROOT/annotations/instances_<split>.json

Shapes: T frames of H x W pixels; images (T, 3, H, W) and labels (T, H, W), both uint8.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vostool.datasets.coco import Picture, read_coco
from vostool.datasets.layout import clip_names, clip_source, masks_root
from vostool.errors import InputError, MaskError
from vostool.media.folder import list_files, list_images
from vostool.media.image import read_image
from vostool.media.labels import MAX_OBJECTS
from vostool.media.masks import read_mask
from vostool.media.video import read_frames

IMAGES = (".jpg", ".jpeg", ".png")
MIN_COCO_AREA = 900  # pixels; COCO marks objects down to a few


class AnnotatedSequence(Protocol):
    """Frames with masks: several of a clip, one of a photograph."""

    @property
    def name(self) -> str:
        """Its name in the data set."""

    @property
    def length(self) -> int:
        """The number of frames; 1 for a photograph."""

    @property
    def annotated(self) -> tuple[int, ...]:
        """The frames whose labels are known, ascending."""

    def pick(self, frames: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return images and labels of some frames; labels are 0 where they are not known."""


@dataclass(frozen=True)
class InMemory:
    """A sequence whose frames are held as tensors."""

    name: str
    images: Tensor  # (T, 3, H, W)
    labels: Tensor  # (T, H, W)
    annotated: tuple[int, ...]
    # of objects by frame and id, as far as they were asked for
    outlines: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def length(self) -> int:
        """See `AnnotatedSequence`."""
        return len(self.images)

    def pick(self, frames: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See `AnnotatedSequence`."""
        chosen = list(frames)
        return self.images[chosen], self.labels[chosen]


@dataclass(frozen=True)
class ClipFolder:
    """A clip whose frames are image files, read when they are asked for."""

    name: str
    frames: tuple[Path, ...]
    masks: dict[str, Path]  # by the frame's stem
    short_side: int

    @property
    def length(self) -> int:
        """See `AnnotatedSequence`."""
        return len(self.frames)

    @property
    def annotated(self) -> tuple[int, ...]:
        """See `AnnotatedSequence`."""
        return tuple(i for i, frame in enumerate(self.frames) if frame.stem in self.masks)

    def pick(self, frames: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See `AnnotatedSequence`."""
        pairs = [
            load_pair(self.frames[i], self.masks.get(self.frames[i].stem), self.short_side)
            for i in frames
        ]
        for i, (image, _) in zip(frames, pairs, strict=True):
            if image.shape != pairs[0][0].shape:
                raise InputError(f"{self.frames[i]}: not of the size of the clip's other frames")
        return torch.stack([image for image, _ in pairs]), torch.stack([mask for _, mask in pairs])


@dataclass(frozen=True)
class Photograph:
    """A picture with its mask, read when it is asked for."""

    name: str
    image: Path
    mask: Path
    short_side: int
    binary: bool = False  # the mask is one object, and may be grey at its edges
    length: int = 1
    annotated: tuple[int, ...] = (0,)

    def pick(self, frames: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See `AnnotatedSequence`."""
        if self.binary:
            rgb = read_image(self.image)
            white = read_image(self.mask).max(axis=2) >= 128
            if white.shape != rgb.shape[:2]:
                raise MaskError(
                    "{}: mask is {}x{}, its picture {}x{}".format(
                        self.mask, *white.shape[::-1], *rgb.shape[1::-1]
                    )
                )
            image = shrink(rgb, self.short_side)
            labels = shrink_labels(white.astype(np.uint8), image.shape[1:])
        else:
            image, labels = load_pair(self.image, self.mask, self.short_side)
        return repeat(image, labels, len(frames))


@dataclass(frozen=True)
class CocoPhotograph:
    """A picture of COCO with its larger objects, drawn when it is asked for."""

    name: str
    image: Path
    picture: Picture = field(repr=False)
    short_side: int
    length: int = 1
    annotated: tuple[int, ...] = (0,)

    def pick(self, frames: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See `AnnotatedSequence`."""
        rgb = read_image(self.image)
        if rgb.shape[:2] != (self.picture.height, self.picture.width):
            raise InputError(
                "{}: picture is {}x{}, the COCO file says {}x{}".format(
                    self.image, *rgb.shape[1::-1], self.picture.width, self.picture.height
                )
            )
        image = shrink(rgb, self.short_side)
        return repeat(image, shrink_labels(self.picture.draw(), image.shape[1:]), len(frames))


def keep(sequence: AnnotatedSequence, device: torch.device) -> InMemory:
    """Hold a sequence in a device's memory."""
    if isinstance(sequence, InMemory):
        images, labels = sequence.images, sequence.labels
    else:
        images, labels = sequence.pick(range(sequence.length))
    return InMemory(sequence.name, images.to(device), labels.to(device), sequence.annotated)


def load_clips(
    root: Path, short_side: int, split: Path | None = None
) -> Iterator[AnnotatedSequence]:
    """Read the clips of a set one by one; a video is decoded at once, a folder is not."""
    for name in clip_names(root, split):
        source = clip_source(root, name)
        masks = {path.stem: path for path in list_files(masks_root(root) / name, (".png",))}
        if source.is_dir():
            frames = tuple(list_images(source))
            refuse_strays(masks, {frame.stem for frame in frames}, source)
            yield ClipFolder(name, frames, masks, short_side)
        else:
            yield load_video(name, source, masks, short_side)


def load_video(name: str, source: Path, masks: dict[str, Path], short_side: int) -> InMemory:
    """Decode a video with the masks of some frames, named 00000, 00001, ..."""
    images: list[Tensor] = []
    labels: list[Tensor] = []
    annotated: list[int] = []
    names: set[str] = set()
    for frame in read_frames(source):
        names.add(frame.name)
        images.append(shrink(frame.rgb, short_side))
        mask = masks.get(frame.name)
        if mask is not None:
            annotated.append(frame.index)
        labels.append(load_labels(mask, images[-1].shape[1:], frame.rgb.shape))
    refuse_strays(masks, names, source)
    return InMemory(name, torch.stack(images), torch.stack(labels), tuple(annotated))


def refuse_strays(masks: dict[str, Path], frames: set[str], source: Path) -> None:
    """Raise InputError for a mask of no frame: it would be lost."""
    strays = sorted(masks.keys() - frames)
    if strays:
        raise InputError(f"{masks[strays[0]]}: mask of a frame that {source} has not")


def load_photographs(root: Path, short_side: int, binary: bool = False) -> Iterator[Photograph]:
    """List photographs with their masks; raises InputError if there are none."""
    folder = root / "images"
    paths = sorted(list_files(folder, IMAGES)) if folder.is_dir() else []
    if not paths:
        raise InputError(f"{folder}: holds no photograph")
    for path in paths:
        mask = root / "masks" / f"{path.stem}.png"
        yield Photograph(f"{root.name}/{path.stem}", path, mask, short_side, binary)


def load_coco(root: Path, split: Path | None, short_side: int) -> Iterator[CocoPhotograph]:
    """List the pictures of a COCO file that show an object large enough, not in a crowd."""
    if split is None or not (root / split).is_file():
        raise InputError(f"{root}: expected split to name a COCO file, found {split}")
    empty = True
    for picture in read_coco(root / split, MIN_COCO_AREA, MAX_OBJECTS):
        empty = False
        path = root / split.stem.removeprefix("instances_") / picture.file_name
        yield CocoPhotograph(f"coco/{picture.id}", path, picture, short_side)
    if empty:
        raise InputError(f"{root / split}: holds no object of {MIN_COCO_AREA} pixels or more")


def load_pair(image: Path, mask: Path | None, short_side: int) -> tuple[Tensor, Tensor]:
    """Read a picture (3, h, w) and its labels (h, w), resized to a short side in pixels."""
    rgb = read_image(image)
    small = shrink(rgb, short_side)
    return small, load_labels(mask, small.shape[1:], rgb.shape)


def load_labels(path: Path | None, size: tuple[int, ...], whole: tuple[int, ...]) -> Tensor:
    """Read a mask at a size (h, w); all background if there is none.

    Raises MaskError if the file is not of the size of its frame, `whole` (H, W, ...).
    """
    if path is None:
        return torch.zeros(size, dtype=torch.uint8)
    height, width = whole[:2]
    return shrink_labels(read_mask(path, width, height, allow_empty=True, strict=False), size)


def shrink(rgb: np.ndarray, short_side: int) -> Tensor:
    """Turn a picture (H, W, 3) into a tensor (3, h, w) of a short side, never enlarging."""
    image = torch.from_numpy(rgb).permute(2, 0, 1)
    scale = min(1.0, short_side / min(image.shape[1:]))
    size = [round(side * scale) for side in image.shape[1:]]
    small = functional.interpolate(image[None], size=size, mode="bilinear", antialias=True)
    return small[0].contiguous()


def shrink_labels(labels: np.ndarray, size: tuple[int, ...]) -> Tensor:
    """Resize a label map to (h, w) by nearest neighbour."""
    whole = torch.from_numpy(labels)[None, None]
    return functional.interpolate(whole, size=tuple(size), mode="nearest-exact")[0, 0]


def repeat(image: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Show one picture several times."""
    return image.expand(count, -1, -1, -1), labels.expand(count, -1, -1)
