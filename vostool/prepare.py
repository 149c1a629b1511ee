"""Between pictures and tensors: how a frame and its mask become what the network reads, and back.

Shapes: a frame is H x W pixels, the network works at h x w.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]  # height, width


def working_size(height: int, width: int, short_side: int, stride: int) -> Size:
    """Return the height and width at which the network sees a frame.

    The short side is as asked, both are rounded to the nearest multiple of `stride`, at
    240 pixels a change of the aspect ratio of 3 per cent or less; so nothing is padded.
    """
    scale = short_side / min(height, width)
    rounded = [max(1, round(side * scale / stride)) * stride for side in (height, width)]
    return rounded[0], rounded[1]


def image_tensor(rgb: NDArray[np.uint8], size: Size, device: torch.device) -> Tensor:
    """Turn a frame (H, W, 3) into the network's image, (1, 3, h, w) in [0, 1]."""
    image = torch.from_numpy(rgb).permute(2, 0, 1)[None]
    if device.type != "cpu":
        image = image.to(device, non_blocking=True).float()  # bytes only resize on the CPU
    return resize(image, size).float() / 255


def object_tensor(
    labels: NDArray[np.uint8], ids: Sequence[int], size: Size, device: torch.device
) -> Tensor:
    """Turn a label map (H, W) into one mask per object, (1, len(ids), h, w), 0 or 1.

    A pixel of the small mask belongs to the object that covers most of it, if that is half;
    where an object is too thin for that anywhere, half of the most that it covers.
    """
    whole = torch.from_numpy(labels)[None, None]
    # one by one: all objects at the full size of a large video would take gigabytes
    covers = torch.cat([resize((whole == id_).float(), size) for id_ in ids], dim=1)
    enough = covers >= 0.5 * covers.amax(dim=(2, 3), keepdim=True)
    share = torch.where(enough, covers, 0)
    most = share.argmax(dim=1, keepdim=True)
    chosen = torch.zeros_like(share).scatter_(1, most, 1.0)
    return (chosen * enough).to(device)


def label_map(masks: Tensor, ids: Sequence[int], size: Size) -> NDArray[np.uint8]:
    """Turn masks (1, N + 1, h, w) into a label map (H, W) of the most probable ids.

    The probabilities are enlarged, not the labels: outlines stay smooth.
    """
    highest = functional.interpolate(masks[:, :1], size=size, mode="bilinear")
    labels = torch.zeros_like(highest, dtype=torch.uint8)
    for channel, id_ in enumerate(ids, start=1):
        mask = functional.interpolate(masks[:, channel : channel + 1], size=size, mode="bilinear")
        labels.masked_fill_(mask > highest, id_)
        highest = torch.maximum(highest, mask)
    return labels[0, 0].cpu().numpy()


def resize(images: Tensor, size: Size) -> Tensor:
    """Resize (B, C, H, W) by antialiased bilinear interpolation."""
    return functional.interpolate(images, size=size, mode="bilinear", antialias=True)
