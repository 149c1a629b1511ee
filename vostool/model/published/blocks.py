"""The modules that the networks of STCN and XMem are made of.

Shapes: B clips, N objects, BN = B N; H x W pixels, h x w = H/16 x W/16 positions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from vostool.model.decoder import ResidualBlock, enlarge
from vostool.model.encoders import Pyramid, ResNetBody, resnet
from vostool.model.interface import others

KEY_FEATURES, VALUE_FEATURES = 1024, 256  # channels at 1/16 of ResNet-50 and of ResNet-18
WIDTH = 256  # of the decoder at 1/8 and 1/4


class KeyEncoder(nn.Module):
    """ResNet-50 of a normalised image."""

    def __init__(self) -> None:
        super().__init__()
        network = resnet("resnet50")
        self.stem, self.body = network.conv1, ResNetBody(network)

    def forward(self, image: Tensor) -> Pyramid:
        """Return the features of images (B, 3, H, W) at all sizes."""
        pyramid: Pyramid = self.body.pyramid(self.stem(image))
        return pyramid


class AttentionBlock(nn.Module):
    """Channels, then positions, are weighted by their importance (CBAM, Woo et al. 2018)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = channels // reduction
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        self.spatial = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Return x with its channels and positions weighted; same shape."""
        channels = self.mlp(x.mean(dim=(2, 3))) + self.mlp(x.amax(dim=(2, 3)))
        x = x * channels.sigmoid()[:, :, None, None]
        summary = torch.cat([x.amax(dim=1, keepdim=True), x.mean(dim=1, keepdim=True)], dim=1)
        return x * self.spatial(summary).sigmoid()


class Fusion(nn.Module):
    """Features of an object and of the image become one."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.block1 = ResidualBlock(channels, width)
        self.attention = AttentionBlock(width)
        self.block2 = ResidualBlock(width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (BN, width, h, w) of concatenated features (BN, channels, h, w)."""
        x = self.block1(x)
        return self.block2(x + self.attention(x))


class ValueEncoder(nn.Module):
    """ResNet-18 of an image, an object's mask and those of the others.

    The image's part of the first convolution is apart, as it is the same for all objects.
    """

    def __init__(self, value_channels: int) -> None:
        super().__init__()
        network = resnet("resnet18")
        self.stem, self.body = network.conv1, ResNetBody(network)
        self.mask_stem = nn.Conv2d(2, 64, 7, stride=2, padding=3, bias=False)
        self.fuser = Fusion(VALUE_FEATURES + KEY_FEATURES, value_channels)

    def features(self, scene: Tensor, masks: Tensor) -> Tensor:
        """Return the features (BN, 256, h, w) of masks (B, N + 1, H, W) over a stem's response."""
        objects = masks[:, 1:]
        channels = torch.stack([objects, others(masks)], dim=2).flatten(0, 1)
        channels = channels.to(scene.dtype, memory_format=torch.channels_last)
        stem = self.mask_stem(channels) + scene.repeat_interleave(objects.shape[1], dim=0)
        features: Tensor = self.body(stem)
        return features


class UpBlock(nn.Module):
    """One step finer: double the size, add the frame's skip features, refine."""

    def __init__(self, skip: int, coarse: int, width: int) -> None:
        super().__init__()
        self.skip_conv = nn.Conv2d(skip, coarse, 3, padding=1)
        self.out_conv = ResidualBlock(coarse, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """Refine x (BN, coarse, h, w) by a response of `skip_conv` (B, coarse, 2h, 2w)."""
        x = functional.interpolate(x, size=skip.shape[2:], mode="bilinear")
        objects = x.unflatten(0, (skip.shape[0], -1)) + skip.unsqueeze(1)
        refined: Tensor = self.out_conv(objects.flatten(0, 1))
        return refined


class Upsampling(nn.Module):
    """The fine end of the decoder: from features at 1/16 to log-odds."""

    def __init__(self, coarse: int) -> None:
        super().__init__()
        self.up_16_8 = UpBlock(512, coarse, WIDTH)
        self.up_8_4 = UpBlock(256, WIDTH, WIDTH)
        self.pred = nn.Conv2d(WIDTH, 1, 3, padding=1)

    def skips(self, pyramid: Pyramid) -> tuple[Tensor, Tensor]:
        """Return the frame's skip features at 1/8 and 1/4, which all objects share."""
        return self.up_16_8.skip_conv(pyramid.eighth), self.up_8_4.skip_conv(pyramid.quarter)

    def forward(self, x: Tensor, skips: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return features at 1/8, at 1/4, and the log-odds (BN, 1, H/4, W/4)."""
        eighth = self.up_16_8(x, skips[0])
        quarter = self.up_8_4(eighth, skips[1])
        return eighth, quarter, self.pred(quarter.relu())


def full_size(logits: Tensor) -> Tensor:
    """Return log-odds (BN, 1, h, w) at 1/4 enlarged to the image."""
    return enlarge(logits, (4 * logits.shape[2], 4 * logits.shape[3]))
