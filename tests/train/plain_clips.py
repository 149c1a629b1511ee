"""Clips by the plain formula: whole frames converted and resampled, layers laid over whole clips.

What `vostool.train.clips` computes of no more than is seen is compared with this.
"""

import math
from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor
from torch.nn import functional

from vostool.datasets.sequences import AnnotatedSequence
from vostool.train.clips import (
    CAMERA,
    MIN_OBJECT_AREA,
    OBJECT,
    Clip,
    ClipPlan,
    choose_frames,
    clamp,
    trajectory,
)
from vostool.train.photometric_augmentation import add_noise
from vostool.train.warping import affine, translation


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
