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

    The short side is as asked, both are rounded to the nearest multiple of `stride`; the
    aspect ratio bends by a few per cent at the most, which needs no padding.
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

    A pixel of the small mask is set where the object covers half of it; where an object is
    too thin for that anywhere, half of the most that it covers.
    """
    one_hot = torch.from_numpy(np.stack([labels == id_ for id_ in ids]))[None].float()
    small = resize(one_hot, size)
    return (small >= 0.5 * small.amax(dim=(2, 3), keepdim=True)).float().to(device)


def label_map(masks: Tensor, ids: Sequence[int], size: Size) -> NDArray[np.uint8]:
    """Turn masks (1, N + 1, h, w) into a label map (H, W) of the most probable ids.

    The probabilities are enlarged, not the labels: outlines stay smooth.
    """
    large = functional.interpolate(masks, size=size, mode="bilinear")
    channel = large.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
    return np.array([0, *ids], dtype=np.uint8)[channel]


def resize(images: Tensor, size: Size) -> Tensor:
    """Resize (B, C, H, W) by antialiased bilinear interpolation."""
    return functional.interpolate(images, size=size, mode="bilinear", antialias=True)
