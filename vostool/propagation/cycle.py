"""The papers' cycle: how well do a frame's masks explain the reference?

Memorise a single frame with its predicted masks, and segment the reference frame from
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
    """Return the reference's masks as predicted from this frame alone, (B, N + 1, H, W); Eq. 2."""
    memory = segmenter.memorize(features, masks)
    return aggregate(segmenter.segment(reference.features, memory))


def cycle_loss(
    segmenter: Segmenter[Features, Memory],
    features: Features,
    masks: Tensor,
    reference: Reference[Features],
    gamma: float = 1.0,
) -> Tensor:
    """Return how badly these masks explain the reference, (B,) (Eq. 7)."""
    return mask_loss(revisit(segmenter, features, masks, reference), reference.masks, gamma)
