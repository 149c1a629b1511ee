"""XMem (Cheng and Schwing 2022): a sensory, a working and a long-term memory.

The network is STCN's with two changes. Keys have a shrinkage, which sharpens the similarity of a
memory position, and a selection, which weights the channels of a query (`LongTermMemory`). Every
object has a hidden state, the sensory memory, which the decoder reads; it is updated by the decoder
on every frame that is not memorised, and by the memorised value on every one that is.

Shapes as in `vostool.model.published.shared_keys`; S channels of the state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Self

import torch
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn import functional

from vostool.model.published.blocks import KEY_FEATURES, Fusion, full_size
from vostool.model.published.kinds import known_kind
from vostool.model.published.layout import Layout, renamed, within
from vostool.model.published.long_term import LongTermMemory, LongTermOptions, Query
from vostool.model.published.sensory import Decoded, HiddenUpdate, Recurrence
from vostool.model.published.shared_keys import (
    FUSION,
    FrameFeatures,
    SharedKeyNetwork,
    SharedKeySettings,
    Weights,
    convert_shared,
    projection,
)
from vostool.model.stored import stored_tensor

HIDDEN_UPDATE = "decoder.hidden_update"


class XmemSettings(SharedKeySettings):
    """The architecture of the network, and how its memory works."""

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
class XmemFeatures(FrameFeatures):
    """The features of a frame, independent of masks and memory."""

    shrinkage: Tensor  # (B, 1, h, w), 1 or more
    selection: Tensor  # (B, C, h, w), 0 to 1

    @property
    def query(self) -> Query:
        """What the memory is asked."""
        return Query(self.key, self.shrinkage, self.selection)


@dataclass(frozen=True)
class MemoryUpdate:
    """A memory after a frame was segmented from it and before that is memorised."""

    features: XmemFeatures  # of the frame
    bank: LongTermMemory  # with its use counted
    hidden: Tensor  # by the decoder's update


@dataclass(frozen=True)
class XmemMemory:
    """The memory bank, the state of each object, and how long ago a frame was kept.

    A frame is segmented from a memory, then added to it, and both take the decoder: the latest
    update is cached, which saves the second time. It changes no result.
    """

    bank: LongTermMemory
    hidden: Tensor  # (B N, S, h, w), float32
    since_kept: int = 0  # frames since the last one in the bank
    # one at most, and none with gradients, whose graph it would hold
    cache: list[MemoryUpdate] = field(default_factory=list, init=False, compare=False, repr=False)

    def cached_update(self, features: XmemFeatures) -> MemoryUpdate | None:
        """Return the latest update of this memory, if it was by this frame."""
        if torch.is_grad_enabled():
            return None
        return next((each for each in self.cache if each.features is features), None)

    def to_tensors(self) -> dict[str, Tensor]:
        """See `StoredMemory.to_tensors`."""
        own = {"hidden": self.hidden, "since_kept": torch.tensor(self.since_kept)}
        return {**own, **self.bank.to_tensors()}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See `StoredMemory.with_tensors`; the state of frames of another size is resized."""
        hidden = stored_tensor(tensors, "hidden", self.hidden, free=(2, 3))
        size = self.hidden.shape[2:]
        if hidden.shape[2:] != size:
            hidden = functional.interpolate(hidden, size=size, mode="bilinear")
        since_kept = int(stored_tensor(tensors, "since_kept", torch.tensor(0)))
        if since_kept < 0:
            raise ValueError(f"since_kept: expected 0 or more, found {since_kept}")
        bank = self.bank.with_tensors(tensors)
        return replace(self, bank=bank, hidden=hidden.contiguous(), since_kept=since_kept)

    @property
    def object_axes(self) -> dict[str, int]:
        """See `DivisibleMemory.object_axes`."""
        return {"hidden": 0, "value": 2}


class Xmem(SharedKeyNetwork[XmemSettings, XmemFeatures]):
    """A recurrent `Segmenter`: settings in, log-odds out.

    It is handed every frame, and memorises one in `memory_every`, and those it is told to keep.
    At most `memory_frames` of them are in its working memory, half of them after each
    consolidation; when frames are memorised again, what the long-term memory had of others is
    lost.
    """

    name = "xmem"
    image_first = True

    def __init__(self, settings: XmemSettings, memory_frames: int | None = None) -> None:
        """Build the network, with random weights."""
        super().__init__(settings, memory_frames)
        self.memory_every = 5
        width, hidden = settings.value_channels, settings.hidden_channels
        self.shrinkage = projection(1)
        self.selection = projection(settings.key_channels)
        self.fuser = Fusion(KEY_FEATURES + width + hidden, width)
        if hidden:
            self.hidden_update = HiddenUpdate(width, hidden)
            self.reinforce = Recurrence(width, hidden)

    def features(self, top: Tensor, skips: tuple[Tensor, Tensor], scene: Tensor) -> XmemFeatures:
        """See `SharedKeyNetwork.features`."""
        return XmemFeatures(
            key=self.key(top).float(),
            top=top,
            skips=skips,
            scene=scene,
            shrinkage=self.shrinkage(top).float().square() + 1,
            selection=self.selection(top).float().sigmoid(),
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
        since_kept = memory.since_kept + 1
        if annotated:  # given, not predicted: nothing was read from the memory
            return self.added(features, masks, memory)
        update = memory.cached_update(features)
        if keep or since_kept >= self.memory_every:
            bank = memory.bank.read(features.query)[1] if update is None else update.bank
            return self.added(features, masks, replace(memory, bank=bank))
        if update is None:
            update = self.decoded(features, memory)[1]
        return XmemMemory(update.bank, update.hidden, since_kept)

    def added(self, features: XmemFeatures, masks: Tensor, memory: XmemMemory) -> XmemMemory:
        """Return a memory with a frame in its bank, and the state updated by its value."""
        value, hidden = self.value(features, masks), memory.hidden
        if self.settings.hidden_channels:
            hidden = self.reinforce(value, hidden)
        values = value.unflatten(0, (-1, masks.shape[1] - 1)).flatten(1, 2)
        return XmemMemory(memory.bank.add(features.query, values), hidden)

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
        logits, update = self.decoded(features, memory)
        if not torch.is_grad_enabled():
            memory.cache[:] = [update]
        return full_size(logits).unflatten(0, (len(features.key), -1)).squeeze(2)

    def decoded(self, features: XmemFeatures, memory: XmemMemory) -> tuple[Tensor, MemoryUpdate]:
        """Return the log-odds (BN, 1, H/4, W/4) of a frame, and its update of the memory."""
        answer, used = memory.bank.read(features.query)
        decoded = self.decode(features, answer, memory.hidden)
        hidden = memory.hidden
        if self.settings.hidden_channels:
            hidden = self.hidden_update(decoded, hidden)
        return decoded.logits, MemoryUpdate(features, used, hidden)

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
    fuser = layout.layers(network.fuser, renamed(FUSION, "decoder.fuser."))
    weights = {
        **convert_shared(layout, network, biased=False),
        **within("shrinkage", layout.layer("key_proj.d_proj", network.shrinkage.weight)),
        **within("selection", layout.layer("key_proj.e_proj", network.selection.weight)),
        **within("fuser", fuser),
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
