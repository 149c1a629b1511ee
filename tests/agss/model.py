"""A recurrent network of the shape of AGSS-VOS (Lin, Qi and Jia, ICCV 2019).

All objects share one look at a frame, at the image and wherever any of them was on the
previous frame, beside what the same look saw on the first frame. Each object then draws
an attention map of its own, from the image and where it alone was, and the shared
features, seen through it, become its mask. So the costly part is paid once, not once
an object. Memory is what a recurrent network carries along: the first frame's features
and the previous frame's masks.

Written anew, and smaller: a ResNet-18 to 1/16 for their ResNet-50 to 1/32, one logit for two.
Theirs warps the previous masks along the optical flow; here they stay where they were, so
that no other network is needed and the gradient comes back to a mask pixel by pixel. In the
cycle the previous masks are those of a frame far away in time, from which they are to be
found again anyway.

Shapes: B clips, N objects, H x W pixels; channels at 1/4, 1/8 and 1/16 are 64, 128, 256.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from vostool.errors import UsageError, WeightsError
from vostool.model.checkpoint import write_half
from vostool.model.decoder import Refine, ResidualBlock
from vostool.model.encoders import Pyramid, ResNetBody, normalize, resnet
from vostool.model.interface import Adapter

QUARTER, EIGHTH, SIXTEENTH = 64, 128, 256  # channels of ResNet-18
SHARED, FINE = 96, 48  # channels of the decoder at 1/8 and 1/4
PRIOR = 3.0  # log-odds of an attention that nothing has been learned for: near the previous mask


@dataclass(frozen=True)
class Trail:
    """What is carried from frame to frame; a value."""

    reference: Tensor  # (B, 256, H / 16, W / 16), the shared look at the first frame
    previous: Tensor  # (B, N, H, W), the objects' masks on the latest frame


class WideConv(nn.Module):
    """A k x k convolution as the sum of its two ways in strips: sees far at little cost.

    From Peng et al., CVPR 2017; an object that moved since the first frame is still in sight.
    """

    def __init__(self, channels: int, out: int, kernel: int = 7) -> None:
        super().__init__()
        reach = kernel // 2

        def tall(channels: int) -> nn.Conv2d:
            return nn.Conv2d(channels, out, (kernel, 1), padding=(reach, 0))

        def wide(channels: int) -> nn.Conv2d:
            return nn.Conv2d(channels, out, (1, kernel), padding=(0, reach))

        orders = ((tall, wide), (wide, tall))
        self.ways = nn.ModuleList(
            nn.Sequential(first(channels), then(out)) for first, then in orders
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, out, h, w) of x (B, channels, h, w)."""
        return self.ways[0](x) + self.ways[1](x)


class AgssVos(nn.Module, Adapter[Trail]):
    """A `Segmenter`; all but its first convolution sees masks, so `encode` hands on the image."""

    def __init__(self, state: dict[str, Tensor] | None = None) -> None:
        """Build the network; `state` starts its encoder (see `resnet`)."""
        super().__init__()
        network = resnet("resnet18", state=state)
        self.stem, self.body = network.conv1, ResNetBody(network)
        self.mask_stem = nn.Conv2d(1, 64, 7, stride=2, padding=3)
        self.fuse = WideConv(2 * SIXTEENTH, EIGHTH)
        self.block = ResidualBlock(EIGHTH)
        self.skip_eighth = nn.Conv2d(EIGHTH, SHARED, 3, padding=1)
        self.refine_eighth = Refine(EIGHTH, SHARED)
        self.attention = nn.Sequential(
            nn.Conv2d(QUARTER + 1, QUARTER, 3, stride=2, padding=1),  # the mask itself as well
            nn.ReLU(),
            nn.Conv2d(QUARTER, QUARTER, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(QUARTER, SHARED, 3, padding=1),
        )
        self.skip_quarter = nn.Conv2d(QUARTER, FINE, 3, padding=1)
        self.refine_quarter = Refine(SHARED, FINE)
        self.head = nn.Conv2d(FINE, 1, 3, padding=1)

    def memorize(
        self,
        features: Tensor,
        masks: Tensor,
        memory: Trail | None = None,
        annotated: bool = False,
    ) -> Trail:
        """See `Segmenter.memorize`: the first frame is the reference, and stays it.

        A frame remembered alone, as in the cycle, is reference and previous frame in one.
        """
        objects = masks[:, 1:]
        if memory is not None:
            return replace(memory, previous=objects)
        look = self.look(self.see(features), objects.amax(dim=1, keepdim=True))
        return Trail(look.sixteenth, objects)

    def segment(self, features: Tensor, memory: Trail) -> Tensor:
        """See `Segmenter.segment`."""
        objects, prediction = memory.previous, self.see(features)
        look = self.look(prediction, objects.amax(dim=1, keepdim=True))
        x = self.block(self.fuse(torch.cat([look.sixteenth, memory.reference], dim=1)))
        shared = self.refine_eighth(x, self.skip_eighth(look.eighth))  # (B, 96, H/8, W/8)
        attention = self.attend(prediction, objects, look)  # (B, N, 96, H/8, W/8)
        own = (shared.unsqueeze(1) * attention).flatten(0, 1)
        fine = self.refine_quarter(own, self.skip_quarter(look.quarter))
        logits = self.head(fine.relu())  # (B N, 1, H/4, W/4)
        logits = functional.interpolate(logits.float(), size=features.shape[2:], mode="bilinear")
        return logits.unflatten(0, (-1, objects.shape[1])).squeeze(2)

    def see(self, image: Tensor) -> Tensor:
        """Return the first convolution's response to an image, (B, 64, H/2, W/2)."""
        return self.stem(normalize(image, self.stem.weight.dtype))

    def masked(self, prediction: Tensor, masks: Tensor) -> Tensor:
        """Add the response to masks (B, 1, H, W) to that to their image."""
        return prediction + self.mask_stem(masks.to(self.mask_stem.weight.dtype))

    def look(self, prediction: Tensor, anything: Tensor) -> Pyramid:
        """Return the shared features of a frame and the masks of all its objects at once."""
        return self.body.pyramid(self.masked(prediction, anything))

    def attend(self, prediction: Tensor, objects: Tensor, look: Pyramid) -> Tensor:
        """Return the attention maps (B, N, 96, H/8, W/8), in (0, 1), of objects (B, N, H, W)."""
        count = objects.shape[1]
        each = objects.flatten(0, 1).unsqueeze(1)  # (B N, 1, H, W)
        quarter = look.quarter  # of all objects: of the only one, if there is one
        if count > 1:
            quarter = self.body.quarter(
                self.masked(prediction.repeat_interleave(count, dim=0), each)
            )
        small = functional.interpolate(each.to(quarter.dtype), quarter.shape[2:], mode="area")
        drawn = self.attention(torch.cat([quarter, small], dim=1))
        near = functional.avg_pool2d(small, kernel_size=6, stride=2, padding=2)
        return (drawn + PRIOR * (2 * near - 1)).sigmoid().unflatten(0, (-1, count))


def load(weights: Path | None) -> AgssVos:
    """Load the network: what the entry point names.

    Raises UsageError without weights, as none come with the package, and WeightsError if the
    file holds others.
    """
    if weights is None:
        raise UsageError("--model agss: comes without weights; expected --weights FILE")
    network = AgssVos()
    try:
        state = {name: value.float() for name, value in load_file(weights).items()}
        network.load_state_dict(state)
    except (RuntimeError, OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{weights}: no weights of agss: {reason}") from error
    return network.to(memory_format=torch.channels_last).eval()


def save(network: AgssVos, path: Path) -> None:
    """Write weights, 16 bits each; atomic."""
    write_half(path, network.state_dict())
