"""Soft aggregation: the one place where objects meet (journal 4.1, after STM).

The log-odds of each object are predicted independently. The background is where no object is,
p_0 = prod(1 - p_o); at each pixel the odds of background and objects are
normalised to sum to one, which is a softmax over log-odds.
"""

import torch
from torch import Tensor
from torch.nn import functional

# log-odds of a probability of 1e-7: beyond it float32 rounds 1 - p to 1
LIMIT = 16.118


def aggregate(logits: Tensor) -> Tensor:
    """Turn each object's log-odds into masks that sum to one.

    Shapes: logits (B, N, H, W); result (B, N + 1, H, W), float32, background first.
    With one object the result is p^2 / (p^2 + (1 - p)^2).
    """
    logits = logits.float().clamp(-LIMIT, LIMIT)
    if logits.shape[1] == 1:  # the background's log-odds are the object's with the other sign
        return (2 * torch.cat([-logits, logits], dim=1)).sigmoid()
    absent = -functional.softplus(logits).sum(dim=1, keepdim=True)  # log prod(1 - p)
    background = absent - torch.log(-torch.expm1(absent))
    return torch.cat([background, logits], dim=1).softmax(dim=1)
