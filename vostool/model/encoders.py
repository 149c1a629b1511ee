"""The image encoders: ResNets from conv1 to layer3.

Batch norm is frozen (its statistics are never updated), which makes it an affine map: it is
folded into the convolution before it, for training as for inference. It then costs nothing and
does not depend on the batch size.

Shapes: features at 1/2, 1/4, 1/8 and 1/16 of the image; C = 64, 64, 128, 256 channels for
ResNet-18 and -34, 64, 256, 512, 1024 for ResNet-50 and -101.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vostool.errors import WeightsError
from vostool.model.resnet import Bottleneck, ResNet

MEAN = (0.485, 0.456, 0.406)  # of ImageNet's pixels, in [0, 1]
DEVIATION = (0.229, 0.224, 0.225)
STEM_CHANNELS = 64  # of every backbone


def normalize(image: Tensor, dtype: torch.dtype) -> Tensor:
    """Return images (B, 3, H, W) in [0, 1], normalised by ImageNet's statistics; channels_last."""
    # by numbers: a tensor of them would be copied to a GPU, which has to wait for it
    channels = zip(image.unbind(dim=1), MEAN, DEVIATION, strict=True)
    normal = torch.stack([(each - mean) / deviation for each, mean, deviation in channels], dim=1)
    return normal.to(dtype, memory_format=torch.channels_last)


class Pyramid(NamedTuple):
    """Features of one image, fine to coarse."""

    half: Tensor  # the response of the stem, before its relu
    quarter: Tensor
    eighth: Tensor
    sixteenth: Tensor


class ResNetBody(nn.Module):
    """A ResNet without its first convolution and its last stage: stem response to pyramid."""

    def __init__(self, resnet: ResNet) -> None:
        super().__init__()
        self.layer1 = resnet.layer1
        self.layer2 = resnet.layer2
        self.layer3 = resnet.layer3

    def forward(self, stem: Tensor) -> Tensor:
        """Return the coarsest features of a stem response (B, 64, H / 2, W / 2)."""
        return self.pyramid(stem).sixteenth

    def quarter(self, stem: Tensor) -> Tensor:
        """Return the finest features alone of a stem response."""
        # max and relu commute: the relu comes second, on a quarter of the positions
        pooled = nn.functional.max_pool2d(stem, kernel_size=3, stride=2, padding=1)
        return self.layer1(pooled.relu())

    def pyramid(self, stem: Tensor) -> Pyramid:
        """Return the features of a stem response at all sizes."""
        quarter = self.quarter(stem)
        eighth = self.layer2(quarter)
        return Pyramid(stem, quarter, eighth, self.layer3(eighth))


def resnet(
    backbone: str,
    *,
    stride_in_1x1: bool = False,
    state: dict[str, Tensor] | None = None,
    imagenet: bool = False,
) -> ResNet:
    """Return a ResNet with its batch norm folded into the convolutions.

    `state` holds weights in torchvision's key names, of these layers and perhaps of others;
    `imagenet` has torchvision download its own; without either, they are random.
    `stride_in_1x1` is the original (v1) placement of the strides in ResNet-50 and -101.
    Raises WeightsError if `state` is not that of such a network.
    """
    network = ResNet(backbone)
    if imagenet:
        import torchvision  # at its place: it takes as long to import as PyTorch does

        state = torchvision.models.get_model(backbone, weights="DEFAULT").state_dict()
    if state is not None:
        missing = network.load_state_dict(state, strict=False).missing_keys
        lacking = [key for key in missing if "tracked" not in key]
        if lacking:
            raise WeightsError(f"encoder weights for {backbone} lack {lacking[0]!r} and others")
    if stride_in_1x1:
        for layer in (network.layer2, network.layer3):
            if isinstance(first := layer[0], Bottleneck):
                first.conv1.stride, first.conv2.stride = (2, 2), (1, 1)
    fold_batch_norm(network.eval())
    return network


def fold_batch_norm(module: nn.Module) -> None:
    """Fold each batch norm into the convolution that stands before it, in place."""
    previous: tuple[str, nn.Conv2d] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and previous is not None:
            setattr(module, previous[0], folded(previous[1], child))
            setattr(module, name, nn.Identity())
        fold_batch_norm(child)
        previous = (name, child) if isinstance(child, nn.Conv2d) else None


def folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return a convolution with the batch norm behind it folded in, which gives it a bias."""
    if convolution.weight.is_meta:  # no values yet: computing without them takes a second
        bias = torch.empty_like(norm.bias)
        convolution.bias = nn.Parameter(bias)
        return convolution
    # the bias that the fusion adds is trained too
    return fuse_conv_bn_eval(convolution, norm).requires_grad_(True)
