"""The papers' cycle: how well does a frame's mask explain the reference?

Remember a frame with its predicted masks, alone, and segment the reference frame from
that memory (journal Eq. 2). The loss of that backward prediction trains the weights (Eq. 3),
and is what `vostool.propagation.correction` descends.

Shapes: masks (B, N + 1, H, W), background first.
"""

from torch import Tensor

from vostool.model.aggregate import aggregate
from vostool.model.interface import Features, Memory, Reference, Segmenter
from vostool.propagation.losses import mask_loss


def revisit(
    segmenter: Segmenter[Features, Memory],
    features: Features,
    masks: Tensor,
    reference: Reference[Features],
) -> Tensor:
    """Eq. 2: the reference's masks, (B, N + 1, H, W), as this frame alone predicts them."""
    memory = segmenter.memorize(features, masks)
    return aggregate(segmenter.segment(reference.features, memory))


def cycle_loss(
    segmenter: Segmenter[Features, Memory],
    features: Features,
    masks: Tensor,
    reference: Reference[Features],
    gamma: float = 1.0,
) -> Tensor:
    """Eq. 7: how badly these masks explain the reference, (B,)."""
    return mask_loss(revisit(segmenter, features, masks, reference), reference.masks, gamma)
