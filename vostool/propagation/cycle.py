"""The papers' cycle: how well do a frame's masks explain the reference?

Memorise a single frame with its predicted masks, and segment the reference frame from
that memory (journal Eq. 2). The loss of that backward prediction trains the weights (Eq. 3),
and is what `vostool.propagation.correction` descends.

Shapes: masks (B, N + 1, H, W), background first.
"""

from collections.abc import Callable

from torch import Tensor

from vostool.model.aggregate import aggregate
from vostool.model.interface import Features, Memory, Reference, Segmenter, prepare_match
from vostool.propagation.losses import mask_loss


def way_back(
    segmenter: Segmenter[Features, Memory], features: Features, reference: Reference[Features]
) -> Callable[[Tensor], Tensor]:
    """Return the function from a frame's masks to the reference's, predicted from it alone; Eq. 2.

    What does not depend on the masks is computed once.
    """
    logits_of = prepare_match(segmenter, features, reference.features)
    return lambda masks: aggregate(logits_of(masks))


def revisit(
    segmenter: Segmenter[Features, Memory],
    features: Features,
    masks: Tensor,
    reference: Reference[Features],
) -> Tensor:
    """Return the reference's masks as predicted from this frame alone, (B, N + 1, H, W); Eq. 2."""
    return way_back(segmenter, features, reference)(masks)


def cycle_loss(
    segmenter: Segmenter[Features, Memory],
    features: Features,
    masks: Tensor,
    reference: Reference[Features],
    gamma: float = 1.0,
) -> Tensor:
    """Return how badly these masks explain the reference, (B,) (Eq. 7)."""
    return mask_loss(revisit(segmenter, features, masks, reference), reference.masks, gamma)
