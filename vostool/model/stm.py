"""The space-time memory network (journal 3.1 and 4.1; STM, Oh et al. 2019).

Past frames and their masks are encoded as keys and values; the key of the current frame queries
them at each of its positions, and a decoder turns the readout into one mask per object. Objects
are batch entries: they meet only in `aggregate`.

Shapes: B clips, N objects, H x W pixels, h x w = H/16 x W/16 positions, C key and D
value channels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from vostool.model.decoder import Decoder, ResidualBlock
from vostool.model.encoders import Pyramid, ResNetBody, normalize, resnet
from vostool.model.interface import DivisibleMemory, StoredMemory, others
from vostool.model.memory import FrameMemory, MemoryOptions, PreparedMemory
from vostool.model.memory_designs import memory_design
from vostool.model.policy import REACH, ZOOM, Policy
from vostool.model.published.kinds import policy_of
from vostool.model.stm_settings import StmSettings

SHARED_WIDTH = 128  # of the memory encoder that works on the query encoder's features


@dataclass(frozen=True)
class StmFeatures:
    """The features of a frame, independent of masks and memory."""

    key: Tensor  # (B, C, h, w)
    value: Tensor  # (B, D, h, w)
    skips: tuple[Tensor, ...]  # (B, ., 2h, 2w), (B, ., 4h, 4w); output_stride 2: (B, ., 8h, 8w)
    scene: Tensor  # the memory encoder's features of the image alone, at 1/2 or 1/16
    size: tuple[int, int]  # of the image


@dataclass(frozen=True)
class StmMemory:
    """The memory bank, and where the objects were in the latest frame in it."""

    frames: FrameMemory
    location: Tensor | None = None  # (B, N, 2, h, w), object and rest; None: unknown

    def to_tensors(self) -> dict[str, Tensor]:
        """See `StoredMemory.to_tensors`; empty for a design whose memory is some of the frames."""
        return self.frames.to_tensors() if isinstance(self.frames, StoredMemory) else {}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See `StoredMemory.with_tensors`."""
        if not isinstance(self.frames, StoredMemory):
            return self
        return replace(self, frames=self.frames.with_tensors(tensors))

    @property
    def object_axes(self) -> Mapping[str, int] | None:
        """See `DivisibleMemory.object_axes`."""
        return self.frames.object_axes if isinstance(self.frames, DivisibleMemory) else None


class Stm(nn.Module):
    """A `Segmenter`: settings in, log-odds out."""

    name = "stm"
    stride = 16
    compiled_parts: ClassVar = ("encode", "encode_masks", "decode")

    def __init__(
        self,
        settings: StmSettings,
        state: dict[str, Tensor] | None = None,
        *,
        imagenet: bool = False,
        memory_frames: int | None = None,
    ) -> None:
        """Build the network; `state` or `imagenet` initialise both encoders (see `resnet`).

        At most `memory_frames` frames, 2 or more, are remembered at a time.
        """
        super().__init__()
        self.settings = settings
        self.memory_frames = memory_frames
        self.query_stem, self.query_body = encoder(settings, state, imagenet)
        quarter, eighth, top = (64, 128, 256) if self.shallow else (256, 512, 1024)
        self.memory_body: nn.Module
        # one convolution over (mask, background) is the sum of the reference's two
        if settings.values == "own":
            memory_top = top
            self.memory_stem, self.memory_body = encoder(settings, state, imagenet)
            self.mask_stem = nn.Conv2d(2, 64, 7, stride=2, padding=3, bias=False)
        else:
            memory_top = SHARED_WIDTH
            self.memory_stem = nn.Conv2d(top, SHARED_WIDTH, 1)
            self.mask_stem = nn.Conv2d(2, SHARED_WIDTH, 16, stride=16, bias=False)
            self.memory_body = nn.Sequential(
                ResidualBlock(SHARED_WIDTH), ResidualBlock(SHARED_WIDTH)
            )
        self.query_key = nn.Conv2d(top, settings.key_channels, 3, padding=1)
        self.query_value = nn.Conv2d(top, settings.value_channels, 3, padding=1)
        self.memory_value = nn.Conv2d(memory_top, settings.value_channels, 3, padding=1)
        if settings.keys == "own":
            self.memory_key = nn.Conv2d(memory_top, settings.key_channels, 3, padding=1)
        self.decoder = Decoder(
            2 * settings.value_channels,
            (eighth, quarter),
            settings.decoder_channels,
            settings.output_stride,
            settings.location_cue,
            settings.skip_blocks,
        )

    @property
    def policy(self) -> Policy:
        """How the weights are best used."""
        own = self.settings.published is None
        return replace(
            policy_of(self.settings.published),
            zoom=ZOOM if own else 1.0,
            reach=REACH if own else 0.0,
            short_side=self.settings.short_side,
            correction_rate=self.settings.correction_rate,
        )

    @property
    def pretrained(self) -> tuple[str, ...]:
        """Prefixes of the names of the weights that are initialised from ImageNet."""
        query = ("query_stem.", "query_body.")
        return (
            query if self.settings.values == "shared" else (*query, "memory_stem.", "memory_body.")
        )

    @property
    def shallow(self) -> bool:
        """Whether the backbone is made of basic blocks."""
        return self.settings.backbone in ("resnet18", "resnet34")

    def encode(self, image: Tensor) -> StmFeatures:
        """See `Segmenter.encode`."""
        image = normalize(image, self.query_stem.weight.dtype)
        pyramid: Pyramid = self.query_body.pyramid(self.query_stem(image))
        return StmFeatures(
            key=self.query_key(pyramid.sixteenth),
            value=self.query_value(pyramid.sixteenth),
            skips=self.decoder.skips(pyramid),
            scene=self.memory_stem(image if self.settings.values == "own" else pyramid.sixteenth),
            size=(image.shape[2], image.shape[3]),
        )

    def memorize(
        self,
        features: StmFeatures,
        masks: Tensor,
        memory: StmMemory | None = None,
        annotated: bool = False,
    ) -> StmMemory:
        """See `Segmenter.memorize`.

        A single predicted frame, as in the cycle, gives no location cue: it may be far in time from
        the query frame, and its masks are to explain that frame by appearance.
        """
        alone = memory is None and not annotated
        frames = self.empty_memory() if memory is None else memory.frames
        key, value = self.remembered(features, masks)
        if self.settings.keys == "shared":
            value = value.flatten(1, 2).unsqueeze(1)
        located = self.settings.location_cue and not alone
        return StmMemory(
            frames.add(key, value, annotated), self.location(masks) if located else None
        )

    def location(self, masks: Tensor) -> Tensor:
        """Return the share of each position that is an object, and that is not, (B, N, 2, h, w)."""
        objects = functional.avg_pool2d(masks[:, 1:], self.stride).to(self.mask_stem.weight.dtype)
        return torch.stack([objects, 1 - objects], dim=2)

    def remembered(self, features: StmFeatures, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Return the keys (B, 1 or N, C, h, w) and values (B, N, D, h, w) of a masked frame."""
        value, *own = self.encode_masks(features.scene, masks)
        return own[0] if own else features.key.unsqueeze(1), value

    def encode_masks(self, scene: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        """Return what the memory encoder makes of a frame, see `StmFeatures.scene`, and its masks.

        Those are the values and, unless they are shared, the keys.
        """
        objects = masks[:, 1:]  # (B, N, H, W)
        count = objects.shape[1]
        background = self.settings.second_mask_channel == "background"
        second = 1 - objects if background else others(masks)
        channels = torch.stack([objects, second.clamp(0, 1)], dim=2).flatten(0, 1)
        channels = channels.to(self.mask_stem.weight.dtype, memory_format=torch.channels_last)
        masked = self.mask_response(channels) + scene.repeat_interleave(count, dim=0)
        top = self.memory_body(masked)
        value = self.memory_value(top).unflatten(0, (-1, count))
        if self.settings.keys == "shared":
            return (value,)
        return value, self.memory_key(top).unflatten(0, (-1, count))

    def mask_response(self, channels: Tensor) -> Tensor:
        """Return what `mask_stem` makes of masks (BN, 2, H, W).

        Where the masks need a gradient, a convolution as wide as its stride is computed as a
        product: oneDNN takes four times as long for the convolution's gradient.
        """
        side = self.mask_stem.kernel_size[0]
        if not channels.requires_grad or self.mask_stem.stride[0] != side:
            return self.mask_stem(channels)
        parts = channels.unflatten(3, (-1, side)).unflatten(2, (-1, side))
        parts = parts.permute(0, 2, 4, 1, 3, 5).flatten(3)  # (BN, h, w, 2 side^2)
        return (parts @ self.mask_stem.weight.flatten(1).mT).permute(0, 3, 1, 2)

    def empty_memory(self) -> FrameMemory:
        """Return an empty memory of the settings' design.

        In training mode attention is over all positions, and KMN's kernel is centred by a
        soft-argmax; else attention is limited to `top_k`, and KMN uses the argmax.
        """
        options = MemoryOptions(
            similarity=self.settings.similarity,
            capacity=self.memory_frames,
            top=0 if self.training else self.settings.top_k,
            annotated_weight=self.settings.annotated_weight,
            sigma=self.settings.kernel_sigma,
            temperature=self.settings.kernel_temperature if self.training else None,
        )
        return memory_design(self.settings.memory)(options)

    def segment(self, features: StmFeatures, memory: StmMemory) -> Tensor:
        """See `Segmenter.segment`."""
        answer = memory.frames.read(features.key.unsqueeze(1))
        return self.decode(answer, features.value, features.skips, memory.location, features.size)

    def decode(
        self,
        answer: Tensor,
        own: Tensor,
        skips: tuple[Tensor, ...],
        location: Tensor | None,
        size: tuple[int, int],
    ) -> Tensor:
        """Return the logits of what is read of the memory, and of the frame's own value and skips.

        `answer` is that of each group of keys, (B, 1, N D, h, w) or (B, N, D, h, w).
        """
        answer = answer.flatten(1, 2).unflatten(1, (-1, self.settings.value_channels))
        read = torch.cat([answer, own.unsqueeze(1).expand_as(answer)], dim=2).flatten(0, 1)
        read = read.contiguous(memory_format=torch.channels_last)
        located = None if location is None else location.flatten(0, 1)
        logits = self.decoder(read, skips, located, size)
        return logits.unflatten(0, (-1, answer.shape[1])).squeeze(2)

    def prepare_match(
        self, features: StmFeatures, query: StmFeatures
    ) -> Callable[[Tensor], Tensor]:
        """See `MatchingModel.prepare_match`.

        Of shared keys the attention from frame to frame is the same, whatever the masks; so is what
        the query frame's own value adds to what is read.
        """
        memory, asked = self.empty_memory(), query.key.unsqueeze(1)
        if self.training or not isinstance(memory, PreparedMemory):
            return lambda masks: self.segment(query, self.memorize(features, masks))
        shared = self.settings.keys == "shared"
        read = memory.reader(features.key.unsqueeze(1), asked) if shared else None
        fuse = self.decoder.fuse_parts(query.value)

        def logits_of(masks: Tensor) -> Tensor:
            key, value = self.remembered(features, masks)
            if read is None:
                answer = memory.add(key, value, annotated=False).read(asked)
            else:
                answer = read(value.flatten(1, 2).unsqueeze(1))
            answer = answer.flatten(1, 2).unflatten(1, value.shape[1:3]).flatten(0, 1)
            fused = fuse(answer.contiguous(memory_format=torch.channels_last))
            logits = self.decoder.refine(fused, query.skips, size=query.size)
            return logits.unflatten(0, (-1, value.shape[1])).squeeze(2)

        return logits_of


def encoder(
    settings: StmSettings, state: dict[str, Tensor] | None, imagenet: bool
) -> tuple[nn.Conv2d, ResNetBody]:
    """Return an encoder in two parts: its first convolution, and the rest."""
    network = resnet(
        settings.backbone, stride_in_1x1=settings.stride_in_1x1, state=state, imagenet=imagenet
    )
    return network.conv1, ResNetBody(network)
