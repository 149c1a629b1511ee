"""STCN (Cheng, Tai and Tang 2021): one affinity of keys for all objects, values of each.

Shapes as in `vostool.model.published.blocks`; C key and D value channels.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor, nn

from vostool.model.decoder import ResidualBlock
from vostool.model.encoders import normalize
from vostool.model.memory import FrameMemory, MemoryOptions, StackedMemory
from vostool.model.policy import Policy
from vostool.model.published.blocks import (
    KEY_FEATURES,
    KeyEncoder,
    Upsampling,
    ValueEncoder,
    Weights,
    convert_key_encoder,
    convert_value_encoder,
    full_size,
)
from vostool.model.published.kinds import KINDS, known_kind
from vostool.model.published.layout import Layout, within


class StcnSettings(BaseModel):
    """The architecture of the network, and how it reads its memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_channels: int = Field(default=64, ge=1)
    value_channels: int = Field(default=512, ge=16)
    top_k: int = Field(
        default=20, ge=0, description="memory positions that each position attends to; 0: all"
    )
    published: Annotated[str, AfterValidator(known_kind)] = "stcn"


@dataclass(frozen=True)
class StcnFeatures:
    """The features of a frame, independent of masks and memory."""

    key: Tensor  # (B, C, h, w)
    top: Tensor  # (B, 1024, h, w), the encoder's coarsest
    thin: Tensor  # (B, D, h, w), the same in fewer channels, for the decoder
    skips: tuple[Tensor, Tensor]  # (B, ., 2h, 2w), (B, ., 4h, 4w)
    scene: Tensor  # (B, 64, 8h, 8w), the value encoder's response to the image alone


class Stcn(nn.Module):
    """A `Segmenter`: settings in, log-odds out."""

    name = "stcn"
    stride = 16

    def __init__(self, settings: StcnSettings, memory_frames: int | None = None) -> None:
        """Build the network, with random weights."""
        super().__init__()
        self.settings, self.memory_frames = settings, memory_frames
        width = settings.value_channels
        self.key_encoder = KeyEncoder()
        self.key = nn.Conv2d(KEY_FEATURES, settings.key_channels, 3, padding=1)
        self.thin = nn.Conv2d(KEY_FEATURES, width, 3, padding=1)
        self.value_encoder = ValueEncoder(width)
        self.compress = ResidualBlock(2 * width, width)
        self.upsampling = Upsampling(width)

    @property
    def policy(self) -> Policy:
        """How the weights are best used."""
        return KINDS[self.settings.published].policy

    def encode(self, image: Tensor) -> StcnFeatures:
        """See `Segmenter.encode`."""
        image = normalize(image, self.key.weight.dtype)
        pyramid = self.key_encoder(image)
        return StcnFeatures(
            key=self.key(pyramid.sixteenth),
            top=pyramid.sixteenth,
            thin=self.thin(pyramid.sixteenth),
            skips=self.upsampling.skips(pyramid),
            scene=self.value_encoder.stem(image),
        )

    def memorize(
        self,
        features: StcnFeatures,
        masks: Tensor,
        memory: FrameMemory | None = None,
        annotated: bool = False,
    ) -> FrameMemory:
        """See `Segmenter.memorize`."""
        count = masks.shape[1] - 1
        found = self.value_encoder.features(features.scene, masks)
        top = features.top.repeat_interleave(count, dim=0)
        value = self.value_encoder.fuser(torch.cat([found, top], dim=1))
        value = value.unflatten(0, (-1, count)).flatten(1, 2)  # (B, N D, h, w)
        frames = self.empty_memory() if memory is None else memory
        return frames.add(features.key.unsqueeze(1), value.unsqueeze(1), annotated)

    def empty_memory(self) -> FrameMemory:
        """Return a memory without frames."""
        return StackedMemory(
            MemoryOptions(
                similarity="l2",
                capacity=self.memory_frames,
                top=self.settings.top_k,
                top_alone=True,
            )
        )

    def segment(self, features: StcnFeatures, memory: FrameMemory) -> Tensor:
        """See `Segmenter.segment`."""
        answer = memory.read(features.key.unsqueeze(1)).flatten(1, 2)  # (B, N D, h, w)
        answer = answer.unflatten(1, (-1, self.settings.value_channels))  # (B, N, D, h, w)
        thin = features.thin.unsqueeze(1).expand_as(answer)
        read = torch.cat([answer, thin], dim=2).flatten(0, 1)
        x = self.compress(read.contiguous(memory_format=torch.channels_last))
        logits = full_size(self.upsampling(x, features.skips)[2])
        return logits.unflatten(0, (-1, answer.shape[1])).squeeze(2)


def convert_stcn(layout: Layout) -> tuple[StcnSettings, Weights]:
    """Return settings and weights of a file of STCN; raises WeightsError."""
    settings = StcnSettings(
        key_channels=layout.width("key_proj.key_proj.weight"),
        value_channels=layout.width("key_comp.weight"),
    )
    with torch.device("meta"):
        network = Stcn(settings)
    value_encoder = convert_value_encoder(layout, network.value_encoder, biased=True)
    weights = {
        **within("key_encoder", convert_key_encoder(layout, network.key_encoder)),
        **within("key", layout.layer("key_proj.key_proj", network.key.weight)),
        **within("thin", layout.layer("key_comp", network.thin.weight)),
        **within("value_encoder", value_encoder),
        **within("compress", layout.layers(network.compress, "decoder.compress.{}".format)),
        **within("upsampling", layout.layers(network.upsampling, "decoder.{}".format)),
    }
    return settings, weights
