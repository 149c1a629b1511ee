"""A clip through the network: the loss of what it predicts of each frame (journal Eqs. 3, 4)."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vostool.model.interface import Reference, Segmenter
from vostool.propagation.cycle import cycle_loss
from vostool.propagation.frame_loop import propagate
from vostool.propagation.frames import Annotation, Prediction
from vostool.propagation.losses import mask_loss
from vostool.propagation.references import EVERY_FRAME, References
from vostool.train.clips import Clip


def unroll(
    network: Segmenter[Any, Any],
    clip: Clip,
    *,
    late: bool,
    cycle: bool,
    gamma: float,
    references: References = EVERY_FRAME,
) -> Tensor:
    """Return the loss of each clip, (B,): forward (Eq. 4) and, with `cycle`, back (Eq. 3).

    A frame whose masks are unknown contributes only to the cycle loss. The cycle leaves out a
    frame that does not show every object, which cannot explain the reference, and clips
    with a `late` object, which their reference does not show. `references` are the frames
    remembered.
    """
    frames = forward(network, clip, late, references)
    reference = Reference(next(frames).features, clip.masks[0])
    total = torch.zeros(clip.images.shape[1], device=clip.images.device)
    for prediction, masks, known in zip(frames, clip.masks[1:], clip.known[1:], strict=True):
        total = total + known * mask_loss(prediction.masks, masks, gamma)
        if cycle and not late:
            visible = torch.where(known.view(-1, 1, 1, 1), masks, prediction.masks.detach()) > 0.5
            shown = visible[:, 1:].flatten(2).any(dim=2).all(dim=1)  # (B,)
            back = cycle_loss(network, prediction.features, prediction.masks, reference, gamma)
            total = total + shown * back
    return total / (len(clip.images) - 1)


def forward(
    network: Segmenter[Any, Any], clip: Clip, late: bool, references: References = EVERY_FRAME
) -> Iterator[Prediction[Any]]:
    """Propagate the masks of the objects' first frames through clips."""
    ids = tuple(range(1, clip.masks.shape[2]))
    truth = {0: Annotation(ids, clip.masks[0][:, 1:])}
    if late:
        truth = {
            0: Annotation(ids[:-1], clip.masks[0][:, 1:-1]),
            1: Annotation(ids[-1:], clip.masks[1][:, -1:]),
        }
    return propagate(clip.images, truth, network, references)
