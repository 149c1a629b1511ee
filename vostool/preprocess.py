"""Frames and masks to the network's tensors, and back.

Shapes: a frame is H x W pixels, the network's input h x w.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]  # height, width

# Long frames are scaled further down: to at most as many pixels as one of 4:1 has, since
# memory and time grow with the square of the pixels. Few frames are longer than 32:9.
LONGEST = 4
ALWAYS_AFFORDABLE = 256**2  # pixels that are affordable at any shape
CACHED = 2**18  # pixels of a mask that are enlarged at a time on a CPU: 1 MiB of float32


def working_size(height: int, width: int, short_side: int, stride: int) -> Size:
    """Return the height and width of the network's input for a frame.

    The short side is as asked, both are rounded to the nearest multiple of `stride`, at
    240 pixels a change of the aspect ratio of 3 per cent or less; so nothing is padded.
    Frames longer than 4:1 are scaled further down: to no more than `most_pixels`, or one
    stride for the short side.
    """
    most = most_pixels(short_side)
    scale = min(short_side / min(height, width), (most / (height * width)) ** 0.5)
    rounded = [max(1, round(side * scale / stride)) * stride for side in (height, width)]
    if is_capped(height, width, short_side):  # rounding up a thin side must not add to the pixels
        longer = int(width > height)
        limit = max(1, most // (rounded[1 - longer] * stride)) * stride
        rounded[longer] = min(rounded[longer], limit)
    return rounded[0], rounded[1]


def size_in_box(height: int, width: int, box: Size) -> Size:
    """Return the height and width of a frame scaled to fit into a box, as large as possible."""
    scale = min(box[0] / height, box[1] / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def most_pixels(short_side: int) -> int:
    """Return the most pixels that the network's input may have."""
    return max(LONGEST * short_side**2, ALWAYS_AFFORDABLE)


def is_capped(height: int, width: int, short_side: int) -> bool:
    """Return whether a frame is too long for the requested short side."""
    long_side = short_side * max(height, width) / min(height, width)
    return long_side * short_side > most_pixels(short_side)


def resized_frame(rgb: NDArray[np.uint8], size: Size, device: torch.device) -> Tensor:
    """Return a frame (H, W, 3) at another size, (1, 3, h, w), as `unit_range` takes it.

    On a CPU they are bytes, which PyTorch resizes in the calling thread alone. Calculations in
    floating point would start a team of OpenMP threads for that thread, beside the network's.
    """
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    if device.type != "cpu":
        image = image.to(device, non_blocking=True).float()  # bytes only resize on the CPU
    return resize(image, size)


def unit_range(pixels: Tensor) -> Tensor:
    """Return pixels of 0 to 255 in [0, 1], float32."""
    return pixels.float() / 255


def object_tensor(
    labels: NDArray[np.uint8], ids: Sequence[int], size: Size, device: torch.device
) -> Tensor:
    """Turn a label map (H, W) into one mask per object, (1, len(ids), h, w), 0 or 1.

    A pixel of the small mask belongs to the object that covers most of it, if that is half;
    where an object is too thin for that anywhere, half of the most that it covers.
    """
    whole = torch.tensor(labels)[None, None]  # copied: as read from a file they are not writable
    # one by one: all objects at the full size of a large video would take gigabytes
    covers = torch.cat([resize((whole == id_).float(), size) for id_ in ids], dim=1)
    return place_objects(covers).to(device)


def place_objects(covers: Tensor) -> Tensor:
    """Return masks (B, N, h, w), 0 or 1, from how much of each pixel every object covers."""
    enough = (covers >= 0.5 * covers.amax(dim=(2, 3), keepdim=True)) & (covers > 0)
    share = torch.where(enough, covers, 0)
    most = share.argmax(dim=1, keepdim=True)
    chosen = torch.zeros_like(share).scatter_(1, most, 1.0)
    return chosen * enough


def label_map(masks: Tensor, ids: Sequence[int], size: Size) -> NDArray[np.uint8]:
    """Turn masks (1, N + 1, h, w) into a label map (H, W) of the most probable ids.

    The probabilities are enlarged, not the labels: outlines stay smooth. An object is
    enlarged only around where it beats the background, as it can win nowhere else, and the
    background only around all objects.
    """
    labels = np.zeros(size, np.uint8)
    background, objects = masks[0, 0], masks[0, 1:]
    rows, columns = axes_between(masks, size)
    boxes = boxes_around(objects > background, rows, columns)
    shown = [(id_, mask, box) for id_, mask, box in zip(ids, objects, boxes, strict=True) if box]
    if not shown:
        return labels
    across = hull(box[1] for _, _, box in shown)
    for down in bands(hull(box[0] for _, _, box in shown), across, masks.device):
        highest = upsample(background, rows.part(down), columns.part(across))
        found = torch.zeros_like(highest, dtype=torch.uint8)
        for id_, mask, box in shown:
            part = shared(box[0], down), shared(box[1], across)
            if part[0].start < part[0].stop:
                large = upsample(mask, rows.part(part[0]), columns.part(part[1]))
                place = within(part[0], down), within(part[1], across)
                found[place].masked_fill_(large > highest[place], id_)
                torch.maximum(highest[place], large, out=highest[place])
        labels[down, across] = found.cpu().numpy()
    return labels


def soft_masks(masks: Tensor, size: Size) -> NDArray[np.float32]:
    """Enlarge masks (1, N + 1, h, w) to (N + 1, H, W); most probable is what `label_map` has."""
    small = masks[0].float()
    rows, columns = axes_between(masks, size)
    enlarged = small.new_zeros(len(small), *size)
    boxes = boxes_around(small != 0, rows, columns)
    for mask, large, box in zip(small, enlarged, boxes, strict=True):
        if box is not None:
            for down in bands(*box, mask.device):
                large[down, box[1]] = upsample(mask, rows.part(down), columns.part(box[1]))
    return enlarged.cpu().numpy()


def bands(down: slice, across: slice, device: torch.device) -> Iterator[slice]:
    """Yield rows, from those of `down`, which fit into a CPU's cache together; else all."""
    height = max(1, CACHED // (across.stop - across.start))
    if device.type != "cpu":
        height = down.stop - down.start
    for start in range(down.start, down.stop, height):
        yield slice(start, min(start + height, down.stop))


def hull(parts: Iterable[slice]) -> slice:
    """Return the smallest stretch that holds all of some."""
    starts, stops = zip(*((part.start, part.stop) for part in parts), strict=True)
    return slice(min(starts), max(stops))


def shared(one: slice, other: slice) -> slice:
    """Return what two stretches share; it ends before it starts if that is nothing."""
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def within(part: slice, whole: slice) -> slice:
    """Return where a stretch lies in another one, which holds it."""
    return slice(part.start - whole.start, part.stop - whole.start)


@dataclass(frozen=True)
class BilinearAxis:
    """Between which small positions each large one lies, along one side, bilinearly."""

    before: Tensor  # (L,), from 0, ascending
    behind: Tensor  # (L,), the next one, if there is any
    share: Tensor  # (L,), of the one behind, from 0 to 1
    places: NDArray[np.int64]  # `before` in RAM, so that no object needs a device synchronisation

    def part(self, place: slice) -> Self:
        """Return the same for some of the large positions."""
        parts = (self.before[place], self.behind[place], self.share[place], self.places[place])
        return type(self)(*parts)

    def around(self, there: NDArray[np.bool_]) -> slice:
        """Return the large positions that depend on any of these small ones (l,), as one slice."""
        first, last = np.flatnonzero(there)[[0, -1]]
        start = int(np.searchsorted(self.places, first - 1))  # from where it is the one behind
        return slice(start, int(np.searchsorted(self.places, last, side="right")))


@lru_cache(maxsize=8)  # the same for every frame, and its way to a GPU would have that wait
def axis_between(small: int, large: int, device: torch.device) -> BilinearAxis:
    """Return how a side of `small` pixels becomes one of `large`."""
    middles = np.arange(large, dtype=np.float32) + 0.5
    exact = (middles * np.float32(small / large) - 0.5).clip(0, small - 1)
    places = exact.astype(np.int64)
    before, share = (torch.from_numpy(each).to(device) for each in (places, exact - places))
    return BilinearAxis(before, (before + 1).clamp(max=small - 1), share.float(), places)


def axes_between(masks: Tensor, size: Size) -> tuple[BilinearAxis, BilinearAxis]:
    """Return how masks (1, N, h, w) are enlarged to a size, along rows and columns."""
    height, width = (
        axis_between(*sides, masks.device) for sides in zip(masks.shape[2:], size, strict=True)
    )
    return height, width


def boxes_around(
    there: Tensor, rows: BilinearAxis, columns: BilinearAxis
) -> list[tuple[slice, slice] | None]:
    """Return the large rows and columns that depend on what is there (N, h, w); None: none do."""
    in_either = torch.cat([there.any(dim=2), there.any(dim=1)], dim=1).cpu().numpy()  # at once
    in_rows, in_columns = np.split(in_either, [there.shape[1]], axis=1)
    boxes = (
        (rows.around(down), columns.around(across)) if down.any() else None
        for down, across in zip(in_rows, in_columns, strict=True)
    )
    # of a frame that is smaller than the masks, some of these count for nothing
    return [box if box and all(part.start < part.stop for part in box) else None for box in boxes]


def upsample(mask: Tensor, rows: BilinearAxis, columns: BilinearAxis) -> Tensor:
    """Enlarge a mask (h, w) to rows by columns, or a part of it."""
    top, bottom = int(rows.places[0]), int(rows.places[-1]) + 2
    mask = mask[top:bottom]
    left, right = (mask.index_select(1, each) for each in (columns.before, columns.behind))
    wide = torch.lerp(left, right, columns.share)
    above, below = (wide.index_select(0, each - top) for each in (rows.before, rows.behind))
    return torch.lerp(above, below, rows.share[:, None])


def resize(images: Tensor, size: Size) -> Tensor:
    """Resize (B, C, H, W) by antialiased bilinear interpolation."""
    return functional.interpolate(images, size=size, mode="bilinear", antialias=True)
