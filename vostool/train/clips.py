"""Sequences to training clips: sampling, motion, pasting and colour.

A clip is a few frames seen through one random view (crop, zoom, turn, flip). A
photograph becomes a clip when its view drifts from frame to frame. An object of another
sequence may be pasted over either and moves on its own: as one more object to follow,
from the first frame or later, or as something that gets in the way. Its outline is known
exactly, so that clips of single objects give clips of several.

All is tensor arithmetic on one device. Randomness comes from the generator given, so that
a clip is a function of its seed.

Shapes: T frames, N objects, H x W pixels of the clip.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor
from torch.nn import functional

from vostool.datasets.sequences import AnnotatedSequence

MIN_OBJECT_AREA = 60  # pixels of the clip that an object must show when it enters


@dataclass(frozen=True)
class Clip:
    """What the network trains on; also several clips side by side, B at dim 1."""

    images: Tensor  # (T, 3, H, W) in [0, 1]
    masks: Tensor  # (T, N + 1, H, W), 0 or 1, background first
    known: Tensor  # (T,) bool: whether the masks of the frame are the truth

    def to(self, device: torch.device) -> "Clip":
        """Return the clip on a device."""
        return Clip(self.images.to(device), self.masks.to(device), self.known.to(device))


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
    pictures, labels = sequence.pick(chosen)
    own = plan.objects - plan.late_object
    ids = [int(id_) for id_ in labels[0].unique() if id_]
    if not ids or min(len(ids), own) + len(donors) < plan.objects:
        return None
    random.shuffle(ids)
    ids = ids[:own]
    maps = view(labels[0] == ids[0], sequence.length == 1, plan, random)
    images = warp(pictures.float() / 255, maps, plan.size, "bilinear")
    labels = warp(labels[:, None].float(), maps, plan.size, "nearest")[:, 0]
    objects = torch.stack([labels == id_ for id_ in ids], dim=1)  # (T, n, H, W)
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


def view(target: Tensor, drifts: bool, plan: ClipPlan, random: Random) -> Tensor:
    """Draw the map from clip pixels to source pixels of each frame, (T, 3, 3).

    The view lies around `target` (H, W), the object on the first frame.
    """
    height, width = target.shape
    size = plan.size
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
    base = translation(*centre) @ still
    clip_middle = translation(-size[1] / 2, -size[0] / 2)
    drift = [torch.eye(3)] * plan.frames
    if drifts:
        drift = trajectory(CAMERA, size, plan.frames, random)
    return torch.stack([base @ moved @ clip_middle for moved in drift]).to(target.device)


def paste(
    images: Tensor, objects: Tensor, donor: AnnotatedSequence, plan: ClipPlan, random: Random
) -> tuple[Tensor, Tensor]:
    """Lay an object of another sequence over a clip, on a path of its own.

    Shapes: images (T, 3, H, W); objects (T, n, H, W) bool, one more if one is missing.
    """
    layer = pasted_layer(donor, plan, random, images.device)
    if layer is None:
        return images, objects
    alpha = layer[:, 3:]
    missing = plan.objects - objects.shape[1]
    if plan.late_object and missing == 1:
        alpha = alpha * (torch.arange(len(alpha), device=alpha.device) > 0).view(-1, 1, 1, 1)
    images = images * (1 - alpha) + layer[:, :3] * alpha
    covers = alpha > 0.5
    objects = objects & ~covers
    return images, torch.cat([objects, covers], dim=1) if missing else objects


def pasted_layer(
    donor: AnnotatedSequence, plan: ClipPlan, random: Random, device: torch.device
) -> Tensor | None:
    """Cut an object out of a sequence and move it: colour and opacity, (T, 4, H, W)."""
    still = ClipPlan(plan.size, plan.frames, max_interval=plan.max_interval)
    pictures, labels = donor.pick(choose_frames(donor, still, random))
    ids = [int(id_) for id_ in labels[0].unique() if id_]
    if not ids:
        return None
    shapes = labels == random.choice(ids)  # (T, h, w)
    rows, columns = shapes[0].nonzero(as_tuple=True)
    top, bottom = int(rows.min()), int(rows.max()) + 1
    left, right = int(columns.min()), int(columns.max()) + 1
    extent = max(bottom - top, right - left)
    size = plan.size
    zoom = min(size) * math.exp(random.uniform(math.log(0.2), math.log(0.8))) / extent
    source = translation((left + right) / 2, (top + bottom) / 2)
    source = source @ affine(0, 0, 1 / zoom, random.choice((-1, 1)))
    place = translation(-random.uniform(0.1, 0.9) * size[1], -random.uniform(0.1, 0.9) * size[0])
    path = trajectory(OBJECT, size, plan.frames, random)
    maps = torch.stack([source @ moved @ place for moved in path])
    cut = torch.cat([pictures.float() / 255, shapes[:, None].float()], dim=1)
    return warp(cut.to(device), maps.to(device), size, "bilinear", "zeros")


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


def add_noise(images: Tensor, most: float, random: Random) -> Tensor:
    """Add Gaussian noise to a clip, of a standard deviation up to `most`."""
    if most == 0:
        return images
    generator = torch.Generator(images.device).manual_seed(random.getrandbits(62))
    noise = torch.randn(images.shape, generator=generator, device=images.device)
    return (images + random.uniform(0, most) * noise).clamp(0, 1)


def clamp(value: float, low: float, high: float) -> float:
    """Return the value within its limits; the middle where these are crossed."""
    return min(max(value, low), high) if low <= high else (low + high) / 2
