"""XMem (Cheng and Schwing 2022): a sensory, a working and a long-term memory.

The network is STCN's with two changes. Keys have a shrinkage, which sharpens the similarity of a
memory position, and a selection, which weights the channels of a query (`LongTermMemory`). Every
object has a hidden state, the sensory memory, which the decoder reads; it is updated by the decoder
on every frame that is not memorised, and by the memorised value on every one that is.

Shapes as in `vostool.model.published.blocks`; C key, D value and S hidden channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Self

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional

from vostool.model.encoders import normalize
from vostool.model.policy import Policy
from vostool.model.published.blocks import (
    ATTENTION,
    KEY_FEATURES,
    WIDTH,
    Fusion,
    KeyEncoder,
    Upsampling,
    ValueEncoder,
    Weights,
    convert_key_encoder,
    convert_value_encoder,
    full_size,
)
from vostool.model.published.kinds import KINDS, known_kind
from vostool.model.published.layout import Layout, renamed, within
from vostool.model.published.long_term import LongTermMemory, LongTermOptions, Query
from vostool.model.stored import stored_tensor

HIDDEN_UPDATE = "decoder.hidden_update"


class XmemSettings(BaseModel):
    """The architecture of the network, and how its memory works."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key_channels: int = Field(default=64, ge=1)
    value_channels: int = Field(default=512, ge=16)
    hidden_channels: int = Field(default=64, ge=0, description="of the state of an object; 0: none")
    top_k: int = Field(
        default=30, ge=0, description="memory positions that each position attends to; 0: all"
    )
    prototypes: int = Field(
        default=128, ge=1, description="positions of those frames that go into long-term memory"
    )
    long_term: int = Field(
        default=10_000, ge=1, le=100_000, description="positions in the long-term memory, at most"
    )
    published: Annotated[str, AfterValidator(known_kind)] = "xmem"


@dataclass(frozen=True)
class XmemFeatures:
    """The features of a frame, independent of masks and memory."""

    key: Tensor  # (B, C, h, w)
    shrinkage: Tensor  # (B, 1, h, w), 1 or more
    selection: Tensor  # (B, C, h, w), 0 to 1
    top: Tensor  # (B, 1024, h, w), the encoder's coarsest
    skips: tuple[Tensor, Tensor]  # (B, ., 2h, 2w), (B, ., 4h, 4w)
    scene: Tensor  # (B, 64, 8h, 8w), the value encoder's response to the image alone

    @property
    def query(self) -> Query:
        """What the memory is asked."""
        return Query(self.key, self.shrinkage, self.selection)


@dataclass(frozen=True)
class Asked:
    """A memory after a frame was segmented from it and before that is memorised."""

    features: XmemFeatures  # of the frame
    bank: LongTermMemory  # with its use counted
    hidden: Tensor  # by the decoder's update


@dataclass(frozen=True)
class XmemMemory:
    """The memory bank, the state of each object, and how long ago a frame was memorised.

    A frame is segmented from a memory, then added to it, and both take the decoder: the latest
    answer is kept beside, which saves the second time. It changes no result.
    """

    bank: LongTermMemory
    hidden: Tensor  # (B N, S, h, w), float32
    waited: int = 0  # frames since the last one in the bank
    # one at most, and none with gradients, whose graph it would hold
    latest: list[Asked] = field(default_factory=list, init=False, compare=False, repr=False)

    def answered(self, features: XmemFeatures) -> Asked | None:
        """Return what the latest answer did to this memory, if it was about this frame."""
        if torch.is_grad_enabled():
            return None
        return next((each for each in self.latest if each.features is features), None)

    def to_tensors(self) -> dict[str, Tensor]:
        """See `StoredMemory.to_tensors`."""
        own = {"hidden": self.hidden, "waited": torch.tensor(self.waited)}
        return {**own, **self.bank.to_tensors()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See `StoredMemory.with_tensors`; the state of frames of another size is resized."""
        hidden = stored_tensor(tensors, "hidden", self.hidden, free=(2, 3))
        size = self.hidden.shape[2:]
        if hidden.shape[2:] != size:
            hidden = functional.interpolate(hidden, size=size, mode="bilinear")
        waited = int(stored_tensor(tensors, "waited", torch.tensor(0)))
        if waited < 0:
            raise ValueError(f"waited: expected 0 or more, found {waited}")
        return replace(
            self, bank=self.bank.with_tensors(tensors), hidden=hidden.contiguous(), waited=waited
        )

    @property
    def object_axes(self) -> dict[str, int]:
        """See `DivisibleMemory.object_axes`."""
        return {"hidden": 0, "value": 2}


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

    def forward(self, decoded: "Decoded", hidden: Tensor) -> Tensor:
        """Return the next state (BN, S, h, w)."""
        fine = torch.cat([decoded.quarter, decoded.logits], dim=1)
        x = (
            self.g16_conv(decoded.sixteenth)
            + self.g8_conv(functional.avg_pool2d(decoded.eighth, 2))
            + self.g4_conv(functional.avg_pool2d(fine, 4))
        )
        state: Tensor = self.recurrence(x, hidden)
        return state


@dataclass(frozen=True)
class Decoded:
    """What the decoder makes of a frame, (BN, ., ., .)."""

    sixteenth: Tensor
    eighth: Tensor
    quarter: Tensor
    logits: Tensor  # (BN, 1, 4h, 4w)


class Xmem(nn.Module):
    """A recurrent `Segmenter`: settings in, log-odds out.

    It is handed every frame, and memorises one in `memory_every`, and those it is told to keep.
    At most `memory_frames` of them are in its working memory, half of them after each
    consolidation; when frames are memorised again, what the long-term memory had of others is
    lost.
    """

    name = "xmem"
    stride = 16

    def __init__(self, settings: XmemSettings, memory_frames: int | None = None) -> None:
        """Build the network, with random weights."""
        super().__init__()
        self.settings = settings
        self.memory_frames = memory_frames
        self.memory_every = 5
        width, hidden = settings.value_channels, settings.hidden_channels
        self.key_encoder = KeyEncoder()
        self.key = nn.Conv2d(KEY_FEATURES, settings.key_channels, 3, padding=1)
        self.shrinkage = nn.Conv2d(KEY_FEATURES, 1, 3, padding=1)
        self.selection = nn.Conv2d(KEY_FEATURES, settings.key_channels, 3, padding=1)
        self.value_encoder = ValueEncoder(width)
        self.fuser = Fusion(KEY_FEATURES + width + hidden, width)
        self.upsampling = Upsampling(width)
        if hidden:
            self.hidden_update = HiddenUpdate(width, hidden)
            self.reinforce = Recurrence(width, hidden)

    @property
    def policy(self) -> Policy:
        """How the weights are best used."""
        return KINDS[self.settings.published].policy

    def encode(self, image: Tensor) -> XmemFeatures:
        """See `Segmenter.encode`."""
        image = normalize(image, self.key.weight.dtype)
        pyramid = self.key_encoder(image)
        top = pyramid.sixteenth
        return XmemFeatures(
            key=self.key(top).float(),
            shrinkage=self.shrinkage(top).float().square() + 1,
            selection=self.selection(top).float().sigmoid(),
            top=top,
            skips=self.upsampling.skips(pyramid),
            scene=self.value_encoder.stem(image),
        )

    def memorize(
        self,
        features: XmemFeatures,
        masks: Tensor,
        memory: XmemMemory | None = None,
        annotated: bool = False,
        keep: bool = False,
    ) -> XmemMemory:
        """See `RecurrentModel.memorize`; the state does not depend on the masks."""
        if memory is None:
            return self.added(features, masks, self.empty_memory(features, masks.shape[1] - 1))
        waited = memory.waited + 1
        if annotated:  # seen, not predicted: nothing was asked of the memory
            return self.added(features, masks, memory)
        asked = memory.answered(features)
        if keep or waited >= self.memory_every:
            bank = memory.bank.read(features.query)[1] if asked is None else asked.bank
            return self.added(features, masks, replace(memory, bank=bank))
        if asked is None:
            asked = self.ask(features, memory)[1]
        return XmemMemory(asked.bank, asked.hidden, waited)

    def added(self, features: XmemFeatures, masks: Tensor, memory: XmemMemory) -> XmemMemory:
        """Return a memory with a frame in its bank, and the state updated by its value."""
        count = masks.shape[1] - 1
        found = self.value_encoder.features(features.scene, masks)
        top = features.top.repeat_interleave(count, dim=0)
        value = self.value_encoder.fuser(torch.cat([top, found], dim=1))  # (BN, D, h, w)
        hidden = memory.hidden
        if self.settings.hidden_channels:
            hidden = self.reinforce(value, hidden)
        bank = memory.bank.add(features.query, value.unflatten(0, (-1, count)).flatten(1, 2))
        return XmemMemory(bank, hidden)

    def empty_memory(self, features: XmemFeatures, objects: int) -> XmemMemory:
        """Return a memory without frames, for so many objects."""
        batch, _, height, width = features.key.shape
        options = LongTermOptions(
            top=self.settings.top_k,
            frames=self.memory_frames,
            prototypes=self.settings.prototypes,
            elements=self.settings.long_term,
        )
        shape = (batch * objects, self.settings.hidden_channels, height, width)
        return XmemMemory(LongTermMemory(options), features.key.new_zeros(shape))

    def segment(self, features: XmemFeatures, memory: XmemMemory) -> Tensor:
        """See `Segmenter.segment`."""
        logits, asked = self.ask(features, memory)
        if not torch.is_grad_enabled():
            memory.latest[:] = [asked]
        return full_size(logits).unflatten(0, (len(features.key), -1)).squeeze(2)

    def ask(self, features: XmemFeatures, memory: XmemMemory) -> tuple[Tensor, Asked]:
        """Return the log-odds (BN, 1, H/4, W/4) of a frame, and what asking does to the memory."""
        answer, used = memory.bank.read(features.query)
        decoded = self.decode(features, answer, memory.hidden)
        hidden = memory.hidden
        if self.settings.hidden_channels:
            hidden = self.hidden_update(decoded, hidden)
        return decoded.logits, Asked(features, used, hidden)

    def decode(self, features: XmemFeatures, answer: Tensor, hidden: Tensor) -> Decoded:
        """Return what the decoder makes of a readout (B, N D, h, w) and a state."""
        answer = answer.unflatten(1, (-1, self.settings.value_channels)).flatten(0, 1)
        top = features.top.repeat_interleave(len(answer) // len(features.top), dim=0)
        read = torch.cat([top, answer.to(top.dtype), hidden.to(top.dtype)], dim=1)
        coarse = self.fuser(read.contiguous(memory_format=torch.channels_last))
        return Decoded(coarse, *self.upsampling(coarse, features.skips))


def convert_xmem(layout: Layout) -> tuple[XmemSettings, Weights]:
    """Return settings and weights of a file of XMem; raises WeightsError.

    One without `decoder.hidden_update` has no state (XMem-no-sensory).
    """
    hidden = f"{HIDDEN_UPDATE}.transform.weight"
    settings = XmemSettings(
        key_channels=layout.width("key_proj.key_proj.weight"),
        value_channels=layout.width("value_encoder.fuser.block2.conv2.weight"),
        hidden_channels=layout.width(hidden) // 3 if hidden in layout else 0,
    )
    with torch.device("meta"):
        network = Xmem(settings)
    value_encoder = convert_value_encoder(layout, network.value_encoder, biased=False)
    fuser = layout.layers(network.fuser, renamed(ATTENTION, "decoder.fuser."))
    weights = {
        **within("key_encoder", convert_key_encoder(layout, network.key_encoder)),
        **within("key", layout.layer("key_proj.key_proj", network.key.weight)),
        **within("shrinkage", layout.layer("key_proj.d_proj", network.shrinkage.weight)),
        **within("selection", layout.layer("key_proj.e_proj", network.selection.weight)),
        **within("value_encoder", value_encoder),
        **within("fuser", fuser),
        **within("upsampling", layout.layers(network.upsampling, "decoder.{}".format)),
    }
    if settings.hidden_channels:
        weights |= {
            **within("hidden_update", layout.layers(network.hidden_update, hidden_name)),
            **within(
                "reinforce",
                layout.layers(network.reinforce, "value_encoder.hidden_reinforce.{}".format),
            ),
        }
    return settings, weights


def hidden_name(name: str) -> str:
    """Return the makers' name of a layer of the decoder's update."""
    return f"{HIDDEN_UPDATE}.{name.removeprefix('recurrence.')}"
