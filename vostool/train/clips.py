"""Sequences to training clips: sampling, motion, pasting and colour.

A clip is a few frames seen through one random view (crop, zoom, turn, flip). A
photograph becomes a clip when its view drifts from frame to frame. An object of another
sequence may be pasted over either and moves on its own: as one more object to follow,
from the first frame or later, or as something that gets in the way. Its outline is known
exactly, so that clips of single objects give clips of several.

All is tensor arithmetic on one device. Randomness comes from the generator given, so that
a clip is a function of its seed. Of the frames only the part that the view shows is converted
and resampled, and of the clip only the part that a pasted object covers is composed.

Shapes: T frames, N objects, H x W pixels of the clip, h x w of the source.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from vostool.datasets.sequences import AnnotatedSequence, InMemory
from vostool.train.photometric_augmentation import add_noise, blur, colour
from vostool.train.warping import Outline, affine, outlines, shown_part, tilt, translation, warp

MIN_OBJECT_AREA = 60  # pixels of the clip that an object must show when it enters


@dataclass(frozen=True)
class Clip:
    """What the network trains on; also several clips side by side, B at dim 1."""

    images: Tensor  # (T, 3, H, W) in [0, 1]
    masks: Tensor  # (T, N + 1, H, W), 0 or 1, background first
    known: Tensor  # (T,) bool: whether the masks of the frame are the truth

    def to(self, device: torch.device) -> "Clip":
        """Return the clip on a device; a GPU copies one that is pinned beside other work."""
        parts, beside = (self.images, self.masks, self.known), device.type == "cuda"
        return Clip(*(part.to(device, non_blocking=beside) for part in parts))

    def pin_memory(self) -> "Clip":
        """Return the clip in memory that a GPU can read by itself; `DataLoader` asks for it."""
        return Clip(self.images.pin_memory(), self.masks.pin_memory(), self.known.pin_memory())


@dataclass(frozen=True)
class ClipPlan:
    """What kind of clip to draw."""

    size: tuple[int, int]  # height, width
    frames: int = 3
    objects: int = 1
    late_object: bool = False  # the last object, a pasted one, enters at the second frame
    max_interval: int = 10  # most frames from one to the next
    backwards: bool = True  # the frames may run backwards
    unknown: bool = False  # frames without labels may follow the first
    noise: float = 0.0  # standard deviation of Gaussian noise, at the most
    motion_blur: float = 0.0  # length in pixels, at the most
    perspective: float = 0.0  # of photographs: share of depth at the edges, at the most


@dataclass(frozen=True)
class Motion:
    """The range of a random affine map: turns in degrees, the rest relative to 1."""

    turn: float
    shear: float
    scale: float
    shift: float


CAMERA = Motion(turn=8, shear=4, scale=0.10, shift=0.10)
OBJECT = Motion(turn=20, shear=8, scale=0.20, shift=0.30)


def make_clip(
    sequence: AnnotatedSequence, donors: Sequence[AnnotatedSequence], plan: ClipPlan, random: Random
) -> Clip | None:
    """Draw a clip, or None if the draw shows fewer objects than planned.

    An object of each donor is pasted in: as an object where the sequence has too few, or
    where one is to be late, as a distraction otherwise.
    """
    chosen = choose_frames(sequence, plan, random)
    pictures, labels = frames_of(sequence, chosen)
    own = plan.objects - plan.late_object
    found = outlines(sequence, chosen[0], labels[0])
    ids = list(found)
    if not ids or min(len(ids), own) + len(donors) < plan.objects:
        return None
    random.shuffle(ids)
    ids = ids[:own]
    height, width = labels[0].shape
    maps = view(found[ids[0]], (height, width), sequence.length == 1, plan, random)
    images = warp(pictures, maps, plan.size, "bilinear").div_(255)
    ids_there = warp([each[None] for each in labels], maps, plan.size, "nearest")[:, 0]
    objects = torch.stack([ids_there == id_ for id_ in ids], dim=1)  # (T, n, H, W)
    for donor in donors:
        images, objects = paste(images, objects, donor, plan, random)
    if objects.shape[1] < plan.objects:
        return None
    entries = [plan.late_object and place == plan.objects - 1 for place in range(plan.objects)]
    if (
        min(int(objects[int(late), place].sum()) for place, late in enumerate(entries))
        < MIN_OBJECT_AREA
    ):
        return None
    masks = torch.cat([~objects.any(dim=1, keepdim=True), objects], dim=1)
    known = torch.tensor([frame in sequence.annotated for frame in chosen], device=masks.device)
    images = colour(images, random, jitter=sequence.length == 1)
    images = blur(images, plan.motion_blur, random)
    return Clip(add_noise(images, plan.noise, random), masks.float(), known)


def choose_frames(sequence: AnnotatedSequence, plan: ClipPlan, random: Random) -> list[int]:
    """Draw an annotated frame and others, all later or all earlier, at random intervals.

    The others are annotated too unless the plan allows unknown ones, or there are too few.
    Where annotated frames are rarer than the longest interval, it is from one to the next.
    """
    known, count = sequence.annotated, plan.frames
    pool = range(sequence.length) if plan.unknown or len(known) < count else known
    starts = known
    if not plan.backwards:
        starts = tuple(frame for frame in known if frame in pool[: 1 - count]) or known
    start = random.choice(starts)
    ways = [[frame for frame in pool if frame > start]]
    if plan.backwards:
        ways.append([frame for frame in reversed(pool) if frame < start])
    long = [way for way in ways if len(way) >= count - 1]
    if not long:  # a photograph, or the middle of a very short clip
        return [start] * count
    ahead, chosen = random.choice(long), [start]
    for left in reversed(range(count - 1)):  # and that many are to follow
        open_ = ahead[: len(ahead) - left]
        near = [frame for frame in open_ if abs(frame - chosen[-1]) <= plan.max_interval]
        chosen.append(random.choice(near or open_[:1]))
        ahead = ahead[ahead.index(chosen[-1]) + 1 :]
    return chosen


def frames_of(
    sequence: AnnotatedSequence, chosen: Sequence[int]
) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return images (3, h, w) and labels (h, w) of some frames; of one in memory no copies."""
    if isinstance(sequence, InMemory):
        return [sequence.images[i] for i in chosen], [sequence.labels[i] for i in chosen]
    images, labels = sequence.pick(chosen)
    return images.unbind(), labels.unbind()


def view(
    target: Outline, source: tuple[int, int], drifts: bool, plan: ClipPlan, random: Random
) -> Tensor:
    """Draw the map from clip pixels to source pixels of each frame, (T, 3, 3), on the CPU.

    The view lies around `target`, the object on the first frame; frames are `source`, (h, w).
    """
    height, width = source
    size = plan.size
    zoom = max(size[0] / height, size[1] / width) * math.exp(random.uniform(-0.1, 0.4))
    reach = (size[1] / zoom / 2, size[0] / zoom / 2)
    centre = tuple(
        clamp(middle + random.uniform(-0.6, 0.6) * half, half, full - half)
        for middle, half, full in zip(target.centre, reach, (width, height), strict=True)
    )
    mirror = random.choice((-1, 1))
    still = affine(random.uniform(-10, 10), random.uniform(-6, 6), 1 / zoom, mirror)
    base = translation(*centre) @ still
    clip_middle = translation(-size[1] / 2, -size[0] / 2)
    drift = [torch.eye(3)] * plan.frames
    if drifts:
        drift = trajectory(CAMERA, size, plan.frames, random)
        if plan.perspective > 0:
            tilts = tilting(plan.perspective, size, plan.frames, random)
            drift = [moved @ tilted for moved, tilted in zip(drift, tilts, strict=True)]
    return torch.stack([base @ moved @ clip_middle for moved in drift])


def paste(
    images: Tensor, objects: Tensor, donor: AnnotatedSequence, plan: ClipPlan, random: Random
) -> tuple[Tensor, Tensor]:
    """Lay an object of another sequence over a clip, on a path of its own.

    Shapes: images (T, 3, H, W); objects (T, n, H, W) bool, one more if one is missing.
    """
    pasted = pasted_layer(donor, plan, random, images.device)
    if pasted is None:
        return images, objects
    layer, place = pasted
    alpha = layer[:, 3:]
    missing = plan.objects - objects.shape[1]
    if plan.late_object and missing == 1:
        alpha = alpha * (torch.arange(len(alpha), device=alpha.device) > 0).view(-1, 1, 1, 1)
    images, objects = images.clone(), objects.clone()
    images[place] = images[place] * (1 - alpha) + layer[:, :3] * alpha
    covers = alpha > 0.5
    objects[place] &= ~covers
    if not missing:
        return images, objects
    added = torch.zeros_like(objects[:, :1])
    added[place] = covers
    return images, torch.cat([objects, added], dim=1)


Place = tuple[slice, slice, slice, slice]  # of all frames and channels, some rows and columns


def pasted_layer(
    donor: AnnotatedSequence, plan: ClipPlan, random: Random, device: torch.device
) -> tuple[Tensor, Place] | None:
    """Cut an object out of a sequence and move it: colour and opacity, (T, 4, ., .).

    It comes with the part of the clip that it covers.
    """
    still = ClipPlan(plan.size, plan.frames, max_interval=plan.max_interval)
    chosen = choose_frames(donor, still, random)
    pictures, labels = frames_of(donor, chosen)
    shown = [outlines(donor, *each) for each in zip(chosen, labels, strict=True)]
    if not shown[0]:
        return None
    id_ = random.choice(list(shown[0]))
    first = shown[0][id_]
    size = plan.size
    extent = max(first.bottom - first.top, first.right - first.left)
    zoom = min(size) * math.exp(random.uniform(math.log(0.2), math.log(0.8))) / extent
    source = translation((first.left + first.right) / 2, (first.top + first.bottom) / 2)
    source = source @ affine(0, 0, 1 / zoom, random.choice((-1, 1)))
    place = translation(-random.uniform(0.1, 0.9) * size[1], -random.uniform(0.1, 0.9) * size[0])
    path = trajectory(OBJECT, size, plan.frames, random)
    maps = torch.stack([source @ moved @ place for moved in path])
    # all around the object is transparent, whatever its colour: a rim of one pixel is enough
    rows, columns = Outline.around(each[id_] for each in shown if id_ in each).with_rim(1)
    shapes = torch.stack([each[None, rows, columns] == id_ for each in labels])
    colours = torch.stack([each[:, rows, columns] for each in pictures])
    cut = torch.cat([colours.float() / 255, shapes.float()], dim=1)
    maps = translation(-columns.start, -rows.start) @ maps
    down, right = shown_part(maps, cut.shape[2:], size)
    maps = maps @ translation(right.start, down.start)
    part = (down.stop - down.start, right.stop - right.start)
    layer = warp(cut.to(device), maps, part, "bilinear", "zeros")
    return layer, (slice(None), slice(None), down, right)


def trajectory(motion: Motion, size: tuple[int, int], frames: int, random: Random) -> list[Tensor]:
    """Draw a smooth path: from one random affine map towards another, with some shake."""
    ends = [[random.uniform(-1, 1) for _ in range(5)] for _ in range(2)]
    path = []
    for index in range(frames):
        along = index / max(1, frames - 1)
        turn, shear, scale, right, down = (
            (1 - along) * a + along * b + random.uniform(-0.1, 0.1)
            for a, b in zip(*ends, strict=True)
        )
        moved = affine(motion.turn * turn, motion.shear * shear, math.exp(motion.scale * scale), 1)
        shift = translation(motion.shift * size[1] * right, motion.shift * size[0] * down)
        path.append(shift @ moved)
    return path


def tilting(most: float, size: tuple[int, int], frames: int, random: Random) -> list[Tensor]:
    """Draw a smooth change of perspective: from one random tilt towards another."""
    begin, end = ([random.uniform(-most, most) for _ in range(2)] for _ in range(2))
    shares = [index / max(1, frames - 1) for index in range(frames)]
    along = [
        [(1 - share) * a + share * b for a, b in zip(begin, end, strict=True)] for share in shares
    ]
    return [tilt(right, down, size) for right, down in along]


def clamp(value: float, low: float, high: float) -> float:
    """Return the value within its limits; the middle where these are crossed."""
    return min(max(value, low), high) if low <= high else (low + high) / 2
