"""STCN (Cheng, Tai and Tang 2021): one affinity of keys for all objects, values of each.

Shapes as in `vostool.model.published.shared_keys`.
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import AfterValidator, Field
from torch import Tensor

from vostool.model.decoder import ResidualBlock
from vostool.model.memory import FrameMemory, MemoryOptions, StackedMemory
from vostool.model.published.blocks import full_size
from vostool.model.published.kinds import known_kind
from vostool.model.published.layout import Layout, within
from vostool.model.published.shared_keys import (
    FrameFeatures,
    SharedKeyNetwork,
    SharedKeySettings,
    Weights,
    convert_shared,
    projection,
)


class StcnSettings(SharedKeySettings):
    """The architecture of the network, and how it reads its memory."""

    top_k: int = Field(
        default=20, ge=0, description="memory positions that each position attends to; 0: all"
    )
    published: Annotated[str, AfterValidator(known_kind)] = "stcn"


@dataclass(frozen=True)
class StcnFeatures(FrameFeatures):
    """The features of a frame, independent of masks and memory."""

    thin: Tensor  # (B, D, h, w), the coarsest in fewer channels, for the decoder


class Stcn(SharedKeyNetwork[StcnSettings, StcnFeatures]):
    """A `Segmenter`: settings in, log-odds out."""

    name = "stcn"
    image_first = False

    def __init__(self, settings: StcnSettings, memory_frames: int | None = None) -> None:
        """Build the network, with random weights."""
        super().__init__(settings, memory_frames)
        width = settings.value_channels
        self.thin = projection(width)
        self.compress = ResidualBlock(2 * width, width)

    def features(self, top: Tensor, skips: tuple[Tensor, Tensor], scene: Tensor) -> StcnFeatures:
        """See `SharedKeyNetwork.features`."""
        return StcnFeatures(self.key(top), top, skips, scene, self.thin(top))

    def memorize(
        self,
        features: StcnFeatures,
        masks: Tensor,
        memory: FrameMemory | None = None,
        annotated: bool = False,
    ) -> FrameMemory:
        """See `Segmenter.memorize`."""
        count = masks.shape[1] - 1
        value = self.value(features, masks).unflatten(0, (-1, count)).flatten(1, 2)
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
        return self.decode(features, memory.read(features.key.unsqueeze(1)).flatten(1, 2))

    def decode(self, features: StcnFeatures, answer: Tensor) -> Tensor:
        """Return the logits of a frame of what is read of the memory, (B, N D, h, w)."""
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
    weights = {
        **convert_shared(layout, network, biased=True),
        **within("thin", layout.layer("key_comp", network.thin.weight)),
        **within("compress", layout.layers(network.compress, "decoder.compress.{}".format)),
    }
    return settings, weights
