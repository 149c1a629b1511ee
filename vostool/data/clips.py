"""Sequences to training clips: sampling, motion, pasting and colour.

A clip is a few frames seen through one random view (crop, zoom, turn, flip). A
photograph becomes a clip when its view drifts from frame to frame. An object of a
photograph may be pasted over either and moves on its own: as one more object to
follow, or as something that gets in the way.

All is tensor arithmetic on the device that holds the sequences. Randomness comes from
the generator given, so that a clip is a function of its seed.

Shapes: T frames, N objects, H x W pixels of the clip.
"""

import math
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from torch.nn import functional

from vostool.data.sequences import Sequence

SMALLEST = 60  # pixels of the clip that an object must show on the first frame


@dataclass(frozen=True)
class Clip:
    """What the network trains on."""

    images: Tensor  # (T, 3, H, W) in [0, 1]
    masks: Tensor  # (T, N + 1, H, W), 0 or 1, background first


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
    sequence: Sequence,
    donor: Sequence | None,
    count: int,
    size: tuple[int, int],
    frames: int,
    max_interval: int,
    random: Random,
) -> Clip | None:
    """Draw a clip with `count` objects, or None if the draw shows fewer.

    `donor` is a photograph whose object is pasted in: as an object where the sequence has
    too few, as a distraction otherwise.
    """
    chosen = choose_frames(sequence, frames, max_interval, random)
    labels = sequence.labels[chosen]
    ids = [int(id_) for id_ in labels[0].unique() if id_]
    if not ids or len(ids) + (donor is not None) < count:
        return None
    random.shuffle(ids)
    ids = ids[:count]
    views = view(sequence, labels[0] == ids[0], size, frames, random)
    images = warp(sequence.images[chosen].float() / 255, views, size, "bilinear")
    labels = warp(labels[:, None].float(), views, size, "nearest")[:, 0]
    objects = torch.stack([labels == id_ for id_ in ids], dim=1)  # (T, n, H, W)
    if donor is not None:
        images, objects = paste(images, objects, donor, len(ids) < count, random)
    if objects[0].flatten(1).sum(dim=1).min() < SMALLEST:
        return None
    masks = torch.cat([~objects.any(dim=1, keepdim=True), objects], dim=1)
    return Clip(colour(images, random, jitter=len(sequence.images) == 1), masks.float())


def choose_frames(sequence: Sequence, frames: int, max_interval: int, random: Random) -> list[int]:
    """Draw annotated frames, one after another or one before another, at random intervals."""
    known = sequence.annotated
    if len(known) < frames:
        return [random.choice(known)] * frames
    widest = min(max_interval, (len(known) - 1) // (frames - 1))
    steps = [random.randint(1, max(1, widest)) for _ in range(frames - 1)]
    first = random.randint(0, len(known) - 1 - sum(steps))
    places = [first + sum(steps[:count]) for count in range(frames)]
    chosen = [known[place] for place in places]
    return chosen[::-1] if random.random() < 0.5 else chosen


def view(
    sequence: Sequence, target: Tensor, size: tuple[int, int], frames: int, random: Random
) -> Tensor:
    """Draw the map from clip pixels to source pixels of each frame, (T, 3, 3)."""
    height, width = target.shape
    zoom = max(size[0] / height, size[1] / width) * math.exp(random.uniform(-0.1, 0.4))
    rows, columns = target.nonzero(as_tuple=True)
    around = (columns.float().mean().item(), rows.float().mean().item())
    reach = (size[1] / zoom / 2, size[0] / zoom / 2)
    centre = tuple(
        clamp(middle + random.uniform(-0.6, 0.6) * half, half, full - half)
        for middle, half, full in zip(around, reach, (width, height), strict=True)
    )
    mirror = random.choice((-1, 1))
    still = affine(random.uniform(-10, 10), random.uniform(-6, 6), 1 / zoom, mirror)
    clip_middle = translation(-size[1] / 2, -size[0] / 2)
    base = translation(*centre) @ still
    if len(sequence.images) > 1:
        drift = [torch.eye(3)] * frames
    else:
        drift = trajectory(CAMERA, size, frames, random)
    maps = torch.stack([base @ moved @ clip_middle for moved in drift])
    return maps.to(target.device)


def paste(
    images: Tensor, objects: Tensor, donor: Sequence, as_object: bool, random: Random
) -> tuple[Tensor, Tensor]:
    """Lay an object of a photograph over a clip, on a path of its own.

    Shapes: images (T, 3, H, W); objects (T, n, H, W) bool, one more if `as_object`.
    """
    size = (images.shape[2], images.shape[3])
    ids = [int(id_) for id_ in donor.labels[0].unique() if id_]
    if not ids:
        return images, objects
    shape = donor.labels[0] == random.choice(ids)
    rows, columns = shape.nonzero(as_tuple=True)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left, right = int(columns.min()), int(columns.max()) + 1
    extent = max(bottom - top, right - left)
    zoom = min(size) * math.exp(random.uniform(math.log(0.2), math.log(0.8))) / extent
    path = trajectory(OBJECT, size, len(images), random)
    place = translation(-random.uniform(0.1, 0.9) * size[1], -random.uniform(0.1, 0.9) * size[0])
    still = affine(0, 0, 1 / zoom, random.choice((-1, 1)))
    maps = torch.stack(
        [
            translation((left + right) / 2, (top + bottom) / 2) @ still @ moved @ place
            for moved in path
        ]
    ).to(images.device)
    source = torch.cat([donor.images[0].float() / 255, shape[None].float()])
    layer = warp(source.expand(len(images), -1, -1, -1), maps, size, "bilinear", "zeros")
    alpha = layer[:, 3:]
    images = images * (1 - alpha) + layer[:, :3] * alpha
    covers = alpha > 0.5
    objects = objects & ~covers
    return images, torch.cat([objects, covers], dim=1) if as_object else objects


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
        path.append(
            translation(motion.shift * size[1] * right, motion.shift * size[0] * down) @ moved
        )
    return path


def affine(turn: float, shear: float, scale: float, mirror: int) -> Tensor:
    """Return a linear map as a (3, 3) matrix; turn and shear in degrees."""
    angle, slope = math.radians(turn), math.tan(math.radians(shear))
    rotation = torch.tensor(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    linear = scale * rotation @ torch.tensor([[1.0, slope], [0.0, 1.0]])
    matrix = torch.eye(3)
    matrix[:2, :2] = linear @ torch.diag(torch.tensor([float(mirror), 1.0]))
    return matrix


def translation(right: float, down: float) -> Tensor:
    """Return a shift in pixels as a (3, 3) matrix."""
    return torch.tensor([[1.0, 0.0, right], [0.0, 1.0, down], [0.0, 0.0, 1.0]])


def warp(
    images: Tensor, maps: Tensor, size: tuple[int, int], mode: str, padding: str = "reflection"
) -> Tensor:
    """Resample images (T, C, h, w) at maps (T, 3, 3) of the pixels of a clip, (T, C, H, W).

    Beyond its border an image goes on as its mirror image, labels with it.
    """
    height, width = images.shape[2:]
    # grid_sample wants [-1, 1] from border to border, and so does the grid it is given
    outer = torch.tensor([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1.0]])
    inner = torch.tensor([[size[1] / 2, 0, size[1] / 2], [0, size[0] / 2, size[0] / 2], [0, 0, 1]])
    theta = (outer.to(maps) @ maps @ inner.to(maps))[:, :2]
    grid = functional.affine_grid(theta, [len(images), 1, *size], align_corners=False)
    return functional.grid_sample(images, grid, mode, padding, align_corners=False)


def colour(images: Tensor, random: Random, jitter: bool) -> Tensor:
    """Change brightness, contrast and saturation of a clip; a little per frame if `jitter`."""
    shared = [random.uniform(-0.2, 0.2) for _ in range(3)]
    grey_clip = random.random() < 0.05
    frames = []
    for image in images:
        own = [random.uniform(-0.06, 0.06) if jitter else 0.0 for _ in range(3)]
        brightness, contrast, saturation = (1 + a + b for a, b in zip(shared, own, strict=True))
        grey = image.mean(dim=0, keepdim=True)
        image = grey + (image - grey) * (0.0 if grey_clip else saturation)
        mean = image.mean()
        frames.append((mean * brightness + (image - mean) * contrast).clamp(0, 1))
    return torch.stack(frames)


def clamp(value: float, low: float, high: float) -> float:
    """Return the value within its limits; the middle where these are crossed."""
    return min(max(value, low), high) if low <= high else (low + high) / 2
