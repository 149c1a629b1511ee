"""Photometric augmentation: colour, motion blur and noise, drawn for a whole clip.

Shapes: images (T, 3, H, W) in [0, 1].
"""

import math
from random import Random

import torch
from torch import Tensor
from torch.nn import functional


def colour(images: Tensor, random: Random, jitter: bool) -> Tensor:
    """Change brightness, contrast and saturation of a clip; a little per frame if `jitter`."""
    changed = torch.empty_like(images)
    shared = [random.uniform(-0.2, 0.2) for _ in range(3)]
    grey_clip = random.random() < 0.05
    for image, frame in zip(images, changed, strict=True):
        own = [random.uniform(-0.06, 0.06) if jitter else 0.0 for _ in range(3)]
        brightness, contrast, saturation = (1 + a + b for a, b in zip(shared, own, strict=True))
        saturation = 0.0 if grey_clip else saturation
        # grey and image have one mean, so that saturation, brightness and contrast are one sum
        grey = image.mean(dim=0, keepdim=True)
        offset = grey.mean() * (brightness - contrast)
        grey.mul_((1 - saturation) * contrast).add_(offset)
        torch.mul(image, saturation * contrast, out=frame).add_(grey).clamp_(0, 1)
    return changed


def blur(images: Tensor, longest: float, random: Random) -> Tensor:
    """Blur a clip along a line of one direction and a length of up to `longest` pixels."""
    if longest == 0:
        return images
    length, angle = random.uniform(0, longest), random.uniform(0, math.pi)
    reach = math.ceil(length / 2) + 1
    across = torch.arange(-reach, reach + 1, dtype=torch.float32)
    kernel = torch.zeros(len(across), len(across))
    for along in torch.linspace(-length / 2, length / 2, 4 * reach).tolist():
        column, row = (
            (1 - (across - along * side(angle)).abs()).clamp(min=0) for side in (math.cos, math.sin)
        )
        kernel += row[:, None] * column  # a point, shared out among the pixels around it
    kernel /= kernel.sum()
    padded = functional.pad(images, [reach] * 4, mode="replicate")
    blurred = torch.zeros_like(images)
    # few points of the kernel are not 0: a sum of shifted clips is many times as fast as conv2d
    for down, right in kernel.nonzero().tolist():
        shifted = padded[..., down : down + images.shape[2], right : right + images.shape[3]]
        blurred.add_(shifted, alpha=float(kernel[down, right]))
    return blurred.clamp_(0, 1)


def add_noise(images: Tensor, most: float, random: Random) -> Tensor:
    """Add Gaussian noise to a clip, of a standard deviation up to `most`."""
    if most == 0:
        return images
    # a GPU would draw other numbers: a clip is the same wherever it is drawn
    generator = torch.Generator().manual_seed(random.getrandbits(62))
    noise = torch.randn(images.shape, generator=generator).to(images.device)
    return (images + random.uniform(0, most) * noise).clamp(0, 1)
