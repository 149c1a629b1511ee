"""What STCN and XMem have in common (Cheng et al. 2021; Cheng and Schwing 2022).

Keys come from a ResNet-50 of the image, once for all objects; values from a ResNet-18 of image and
mask, fused with the features of the former; a decoder refines by the image's features.

Shapes as in `vostool.model.published.blocks`; C key and D value channels.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Generic, TypeVar

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from vostool.model.encoders import normalize
from vostool.model.policy import Policy
from vostool.model.published.blocks import KEY_FEATURES, KeyEncoder, Upsampling, ValueEncoder
from vostool.model.published.kinds import KINDS, known_kind
from vostool.model.published.layout import Layout, renamed, within

Weights = dict[str, Tensor]


class SharedKeySettings(BaseModel):
    """The architecture of the network, and how it reads its memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_channels: int = Field(default=64, ge=1)
    value_channels: int = Field(default=512, ge=16)
    top_k: int = Field(
        default=0, ge=0, description="memory positions that each position attends to; 0: all"
    )
    published: Annotated[str, AfterValidator(known_kind)]


@dataclass(frozen=True)
class FrameFeatures:
    """The features of a frame, independent of masks and memory."""

    key: Tensor  # (B, C, h, w)
    top: Tensor  # (B, 1024, h, w), the encoder's coarsest
    skips: tuple[Tensor, Tensor]  # (B, ., 2h, 2w), (B, ., 4h, 4w)
    scene: Tensor  # (B, 64, 8h, 8w), the value encoder's response to the image alone


Settings = TypeVar("Settings", bound=SharedKeySettings)
Features = TypeVar("Features", bound=FrameFeatures)


class SharedKeyNetwork(nn.Module, Generic[Settings, Features]):
    """The base of a `Segmenter` whose objects share the keys of a frame."""

    stride = 16
    compiled_parts: ClassVar = ("encode", "value", "decode")
    image_first: ClassVar[bool]  # in the concatenation from which a value is made

    def __init__(self, settings: Settings, memory_frames: int | None = None) -> None:
        """Build encoders and decoder, with random weights."""
        super().__init__()
        self.settings, self.memory_frames = settings, memory_frames
        self.key_encoder = KeyEncoder()
        self.key = projection(settings.key_channels)
        self.value_encoder = ValueEncoder(settings.value_channels)
        self.upsampling = Upsampling(settings.value_channels)

    @property
    def policy(self) -> Policy:
        """How the weights are best used."""
        return KINDS[self.settings.published].policy

    def encode(self, image: Tensor) -> Features:
        """See `Segmenter.encode`."""
        image = normalize(image, self.key.weight.dtype)
        pyramid = self.key_encoder(image)
        scene = self.value_encoder.stem(image)
        return self.features(pyramid.sixteenth, self.upsampling.skips(pyramid), scene)

    def features(self, top: Tensor, skips: tuple[Tensor, Tensor], scene: Tensor) -> Features:
        """Return the features of a frame, see `FrameFeatures`."""
        raise NotImplementedError

    def value(self, features: FrameFeatures, masks: Tensor) -> Tensor:
        """Return the values (BN, D, h, w) of a frame with masks (B, N + 1, H, W)."""
        found = self.value_encoder.features(features.scene, masks)
        top = features.top.repeat_interleave(masks.shape[1] - 1, dim=0)
        parts = (top, found) if self.image_first else (found, top)
        value: Tensor = self.value_encoder.fuser(torch.cat(parts, dim=1))
        return value


def projection(channels: int) -> nn.Conv2d:
    """Return a layer from the coarsest features of the image to so many channels."""
    return nn.Conv2d(KEY_FEATURES, channels, 3, padding=1)


FUSION = {  # names of layers that begin so
    "block1": "block1",
    "attention.mlp.0": "attention.ChannelGate.mlp.1",
    "attention.mlp.2": "attention.ChannelGate.mlp.3",
    "attention.spatial": "attention.SpatialGate.spatial.conv",
    "block2": "block2",
}


def convert_shared(
    layout: Layout, network: SharedKeyNetwork[Settings, Features], *, biased: bool
) -> Weights:
    """Return the weights of what both networks have; raises WeightsError.

    `biased`: the convolutions of the value encoder have biases.
    """
    value_encoder = convert_value_encoder(layout, network.value_encoder, biased=biased)
    return {
        **within("key_encoder", convert_key_encoder(layout, network.key_encoder)),
        **within("key", layout.layer("key_proj.key_proj", network.key.weight)),
        **within("value_encoder", value_encoder),
        **within("upsampling", layout.layers(network.upsampling, "decoder.{}".format)),
    }


def convert_key_encoder(layout: Layout, module: KeyEncoder) -> Weights:
    """Return the weights of a key encoder; raises WeightsError."""
    names = {"layer1": "res2", "layer2": "layer2", "layer3": "layer3"}
    stages = {ours: f"key_encoder.{theirs}" for ours, theirs in names.items()}
    stem = layout.folded("key_encoder.conv1", "key_encoder.bn1", (64, 3, 7, 7))
    return {
        "stem.weight": stem[0],
        "stem.bias": stem[1],
        **within("body", layout.body(module.body, stages)),
    }


def convert_value_encoder(layout: Layout, module: ValueEncoder, *, biased: bool) -> Weights:
    """Return the weights of a value encoder; `biased`: its convolutions have biases.

    A file for one object lacks the fifth channel, that of the other objects. Raises WeightsError.
    """
    name = "value_encoder.conv1"
    channels = 4 if layout.shape(f"{name}.weight")[1:2] == (4,) else 5
    norm = "value_encoder.bn1"
    weight, bias = layout.folded(name, norm, (64, channels, 7, 7), biased=biased)
    weight = functional.pad(weight, (0, 0, 0, 0, 0, 5 - channels))
    stages = {f"layer{number}": f"value_encoder.layer{number}" for number in (1, 2, 3)}
    fuser = layout.layers(module.fuser, renamed(FUSION, "value_encoder.fuser."))
    return {
        "stem.weight": weight[:, :3].contiguous(),
        "stem.bias": bias,
        "mask_stem.weight": weight[:, 3:].contiguous(),
        **within("body", layout.body(module.body, stages, biased=biased)),
        **within("fuser", fuser),
    }
