"""The losses of the papers (journal Eqs. 4-6 and 11), pure.

Follows the reference implementation where the printed equations differ: the cross-entropy is a
mean with a minus sign, over all objects at once, and only over the hardest pixels of each frame.

Shapes: masks (B, N + 1, H, W), probabilities that sum to one, background first;
truth the same, 0 or 1; the losses (B,), one per clip.
"""

import torch
from torch import Tensor
from torch.nn import functional

HARDEST = 0.4  # the share of pixels that count in the cross-entropy (journal 4.1)


def mask_loss(masks: Tensor, truth: Tensor, gamma: float = 1.0) -> Tensor:
    """Eq. 4: L = L_IOU + gamma L_CE, one value per clip."""
    return soft_iou_loss(masks, truth) + gamma * cross_entropy(masks, truth)


def soft_iou_loss(masks: Tensor, truth: Tensor) -> Tensor:
    """Eq. 5: 1 - sum(min) / sum(max), the mean over the objects that are in the truth."""
    masks, truth = masks[:, 1:], truth[:, 1:]
    shared = torch.minimum(masks, truth).sum(dim=(2, 3))
    either = torch.maximum(masks, truth).sum(dim=(2, 3))
    present = truth.amax(dim=(2, 3)) > 0  # (B, N)
    loss = (1 - shared / either.clamp(min=1)) * present
    return loss.sum(dim=1) / present.sum(dim=1).clamp(min=1)


def cross_entropy(masks: Tensor, truth: Tensor, hardest: float = HARDEST) -> Tensor:
    """Eq. 6, normalised: the mean over the hardest pixels of -log(mask of the true object)."""
    # far below the smallest probability of the aggregation: the worst pixels need a gradient too
    likelihood = (masks * truth).sum(dim=1).clamp(min=1e-30)  # (B, H, W)
    pixels = -likelihood.log().flatten(1)
    count = max(1, int(hardest * pixels.shape[1]))
    return pixels.topk(count, dim=1, sorted=False).values.mean(dim=1)


def roughness(objects: Tensor) -> Tensor:
    """Eq. 11: the squared slope of the masks by Sobel, mean over pixels, sum over objects, (B,).

    Shapes: objects (B, N, H, W), without the background. The border is
    padded by replication.
    """
    down = objects.new_tensor([[-1, -2, -1], [0, 0, 0], [1, 2, 1]])
    sobel = torch.stack([down, down.T]).unsqueeze(1)  # (2, 1, 3, 3)
    padded = functional.pad(objects, (1, 1, 1, 1), mode="replicate").flatten(0, 1).unsqueeze(1)
    slopes = functional.conv2d(padded, sobel).unflatten(0, objects.shape[:2])  # (B, N, 2, H, W)
    return slopes.square().sum(dim=(1, 2)).mean(dim=(1, 2))
