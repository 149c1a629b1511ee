"""XMem's sensory memory: a state of each object, and what updates it (XMem, 3.4).

Shapes as in `vostool.model.published.blocks`; S channels of the state.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vostool.model.published.blocks import WIDTH


@dataclass(frozen=True)
class Decoded:
    """What the decoder makes of a frame, (BN, ., ., .)."""

    sixteenth: Tensor
    eighth: Tensor
    quarter: Tensor
    logits: Tensor  # (BN, 1, 4h, 4w)


class Recurrence(nn.Module):
    """A gated recurrent unit whose forget gate acts on the state alone, after the convolution."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.transform = nn.Conv2d(channels + hidden, 3 * hidden, 3, padding=1)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Return the next state of a state (BN, S, h, w) in float32, by features (BN, ., h, w)."""
        gates = self.transform(torch.cat([x, hidden.to(x.dtype)], dim=1)).float()
        forget, update, new = gates.chunk(3, dim=1)
        forget, update = forget.sigmoid(), update.sigmoid()
        # contiguous as it is once it was saved and read again, which makes the sums the same
        return (forget * hidden * (1 - update) + update * new.tanh()).contiguous()


class HiddenUpdate(nn.Module):
    """The decoder's update of the state, by its features at all sizes and its log-odds."""

    def __init__(self, coarse: int, hidden: int) -> None:
        super().__init__()
        self.g16_conv = nn.Conv2d(coarse, WIDTH, 1)
        self.g8_conv = nn.Conv2d(WIDTH, WIDTH, 1)
        self.g4_conv = nn.Conv2d(WIDTH + 1, WIDTH, 1)
        self.recurrence = Recurrence(WIDTH, hidden)

    def forward(self, decoded: Decoded, hidden: Tensor) -> Tensor:
        """Return the next state (BN, S, h, w)."""
        fine = torch.cat([decoded.quarter, decoded.logits], dim=1)
        x = (
            self.g16_conv(decoded.sixteenth)
            + self.g8_conv(functional.avg_pool2d(decoded.eighth, 2))
            + self.g4_conv(functional.avg_pool2d(fine, 4))
        )
        state: Tensor = self.recurrence(x, hidden)
        return state
