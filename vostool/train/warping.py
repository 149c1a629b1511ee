"""Projective maps, and the resampling of only the visible part of frames.

A map is a (3, 3) matrix from pixels of the clip to pixels of the source, both counted from the
outer edge of the first pixel.

Shapes: T frames, C channels, H x W pixels of the clip, h x w of the source.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor
from torch.nn import functional

from vostool.datasets.sequences import AnnotatedSequence, InMemory

RIM = 2  # pixels around what is sampled, for the neighbours that bilinear sampling reads


@dataclass(frozen=True)
class Outline:
    """Where an object lies in a frame, pixels."""

    centre: tuple[float, float]  # the mean of its pixels' columns and rows
    top: int
    bottom: int  # one past the last row
    left: int
    right: int  # one past the last column

    @classmethod
    def of(cls, inside: Tensor) -> Self:
        """Return the outline of a mask (h, w) that is not empty."""
        columns, rows = inside.sum(dim=0), inside.sum(dim=1)
        ends, middle = [], []
        for line in (columns, rows):
            places = line.nonzero().flatten()
            ends += [int(places[0]), int(places[-1]) + 1]
            middle.append(int((line[places] * places).sum()) / int(line.sum()))
        left, right, top, bottom = ends
        return cls((middle[0], middle[1]), top, bottom, left, right)

    @classmethod
    def around(cls, several: Iterable[Self]) -> Self:
        """Return what spans several outlines, with the centre of the first."""
        each = list(several)
        return cls(
            each[0].centre,
            min(one.top for one in each),
            max(one.bottom for one in each),
            min(one.left for one in each),
            max(one.right for one in each),
        )

    def with_rim(self, rim: int) -> tuple[slice, slice]:
        """Return its rows and columns with some more all around; those past an end are cut off."""
        return (
            slice(max(0, self.top - rim), self.bottom + rim),
            slice(max(0, self.left - rim), self.right + rim),
        )


def outlines(sequence: AnnotatedSequence, frame: int, labels: Tensor) -> dict[int, Outline]:
    """Return the outlines of the objects of a frame by id, ascending; held for one in memory."""
    held = sequence.outlines if isinstance(sequence, InMemory) else {}
    if frame not in held:
        areas = torch.bincount(labels.flatten(), minlength=1)
        ids = [id_ for id_ in areas.nonzero().flatten().tolist() if id_]
        held[frame] = {id_: Outline.of(labels == id_) for id_ in ids}
    found: dict[int, Outline] = held[frame]
    return found


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
    images: Tensor | Sequence[Tensor],
    maps: Tensor,
    size: tuple[int, int],
    mode: str,
    padding: str = "reflection",
) -> Tensor:
    """Resample T images (C, h, w) at maps (T, 3, 3) of the pixels of a clip, (T, C, H, W) float.

    Beyond its border an image goes on as its mirror image, labels with it; with "zeros" it is 0.
    """
    first = images[0]
    rows, columns = needed_part(maps, first.shape[1:], size)
    maps = translation(-columns.start, -rows.start) @ maps
    if all(image.data_ptr() == first.data_ptr() for image in images):  # one picture, repeated
        part = first[None, :, rows, columns].float().expand(len(images), -1, -1, -1)
    else:
        part = torch.stack([image[:, rows, columns] for image in images]).float()
    still = bool((maps == maps[0]).all())
    if still:  # frames under one map are as good as channels, and quicker
        part, maps = part.flatten(0, 1)[None], maps[:1]
    grid = sampling_grid(maps, part.shape[2:], size).to(part.device)
    warped = functional.grid_sample(part, grid, mode, padding, align_corners=False)
    return warped[0].unflatten(0, (len(images), -1)) if still else warped


def sampling_grid(maps: Tensor, source: Iterable[int], size: tuple[int, int]) -> Tensor:
    """Return where each pixel of a clip lies in the source, (T, H, W, 2) in [-1, 1] within it.

    As `affine_grid` would, without a matrix product per pixel.
    """
    height, width = source
    scale = torch.tensor([[2 / width], [2 / height]])
    matrix = torch.cat([maps[:, :2] * scale - maps[:, 2:], maps[:, 2:]], dim=1)  # (T, 3, 3)
    down, right = (torch.arange(side) + 0.5 for side in size)
    across = matrix[:, :, 0, None] * right + matrix[:, :, 2, None]  # (T, 3, W)
    along = matrix[:, :, 1, None] * down  # (T, 3, H)
    grid = torch.empty(len(maps), *size, 2)
    for axis in range(2):
        torch.add(across[:, axis, None, :], along[:, axis, :, None], out=grid[..., axis])
    if not is_affine(maps):
        grid /= (across[:, 2, None, :] + along[:, 2, :, None])[..., None]
    return grid


def is_affine(maps: Tensor) -> bool:
    """Return whether maps (T, 3, 3) keep parallel lines parallel."""
    return bool((maps[:, 2] == torch.tensor([0.0, 0.0, 1.0])).all())


def tilt(right: float, down: float, size: tuple[int, int]) -> Tensor:
    """Return a perspective map of a clip, its middle at 0, by shares of depth at its edges."""
    matrix = torch.eye(3)
    matrix[2, 0], matrix[2, 1] = 2 * right / size[1], 2 * down / size[0]
    return matrix


def corners(height: float, width: float) -> Tensor:
    """Return the corners of a rectangle as columns, (3, 4)."""
    return torch.tensor([[0, width, 0, width], [0, 0, height, height], [1.0, 1, 1, 1]])


def needed_part(maps: Tensor, source: Iterable[int], size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of the source that a clip shows, mirrored ones too."""
    reached = maps @ corners(*size)  # (T, 3, 4)
    reached = reached / reached[:, 2:]
    height, width = source
    return span(reached[:, 1], height), span(reached[:, 0], width)


def span(reached: Tensor, length: int) -> slice:
    """Return the part of a line of pixels, mirrored at both ends, that some positions span."""
    low, high = math.floor(reached.min()) - RIM, math.ceil(reached.max()) + RIM
    before, after = max(0, -low), max(0, high - length)  # pixels beyond the ends
    if before and after:
        return slice(0, length)
    start, stop = max(0, min(low, length - after)), min(length, max(high, before))
    # what lies wholly beyond an end, or far beyond it, may be mirrored more than once
    return slice(start, stop) if start < stop and before + after <= length else slice(0, length)


def shown_part(maps: Tensor, source: Iterable[int], size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of a clip that show a part of the source, at least one each."""
    reached = torch.linalg.inv(maps) @ corners(*source)
    found = []
    for line, side in ((reached[:, 1], size[0]), (reached[:, 0], size[1])):
        start = min(max(0, math.floor(line.min()) - RIM), side - 1)
        found.append(slice(start, max(start + 1, min(side, math.ceil(line.max()) + RIM))))
    return found[0], found[1]
