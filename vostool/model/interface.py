"""What the rest of the program knows of a model.

A segmenter looks at a frame once (`encode`), remembers it with its masks
(`memorize`), and finds the remembered objects in another frame (`segment`).
Looking is apart from matching so that whoever matches one frame many times (the
cycle, the correction) looks at it once.

Shapes: B clips side by side (1 at inference), N objects, H x W pixels.
    image   (B, 3, H, W)      RGB in [0, 1]; H and W multiples of `stride`
    masks   (B, N + 1, H, W)  probabilities in [0, 1], background first, sum 1
    logits  (B, N, H, W)      log-odds of each object by itself, float32;
                              `aggregate` turns them into masks
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar, runtime_checkable

from torch import Tensor

Features = TypeVar("Features")
Memory = TypeVar("Memory")


class Segmenter(Protocol[Features, Memory]):
    """Any model that can remember masked frames and segment a new one from them.

    All three methods are differentiable, keep no state, and never change what they
    are given: features and memories are values.
    """

    @property
    def stride(self) -> int:
        """Frames are resized to a multiple of this, in pixels."""

    def encode(self, image: Tensor) -> Features:
        """Return what the model sees in this image, whatever the masks and the memory."""

    def memorize(
        self,
        features: Features,
        masks: Tensor,
        memory: Memory | None = None,
        annotated: bool = False,
    ) -> Memory:
        """Return `memory` (or an empty one) with this frame added.

        The objects may be some of those that the frame holds; the background channel
        is where none of all objects is. `annotated` says that the masks are the truth,
        which a memory that is full should keep.
        """

    def segment(self, features: Features, memory: Memory) -> Tensor:
        """Return the logits (B, N, H, W) of the remembered objects in this frame."""


@runtime_checkable
class LimitedMemory(Protocol):
    """A model whose memory is made of frames, of which it keeps no more than it is told.

    Optional: where memory runs out, such a model is set to remember fewer. Of the frames that
    were memorized, its memory depends on no others than the first one, the latest
    `memory_frames` that were annotated and the latest `memory_frames` that were not.
    """

    memory_frames: int | None  # 2 or more; None: all


@runtime_checkable
class StoredMemory(Protocol):
    """A memory that is more than some remembered frames, and that can be written to a file.

    Optional, for recurrent models: what such a memory carries cannot be found again from frames.
    The two methods are each other's inverse, bit for bit.
    """

    def to_tensors(self) -> dict[str, Tensor]:
        """Return all that it carries, by names of its own."""

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Return a memory like this one that carries these tensors, from any device, instead."""


def memory_limit(segmenter: Segmenter[Any, Any]) -> int | None:
    """Return how many frames a model remembers at most; None if that is not limited."""
    return segmenter.memory_frames if isinstance(segmenter, LimitedMemory) else None


class Adapter(ABC, Generic[Memory]):
    """A `Segmenter` made of a model that takes images whole: two methods are to be written.

    What it sees in a frame is the image itself, which it looks at anew whenever it is matched.
    """

    stride = 16

    def encode(self, image: Tensor) -> Tensor:
        """Return the image as it is."""
        return image

    @abstractmethod
    def memorize(
        self,
        features: Tensor,
        masks: Tensor,
        memory: Memory | None = None,
        annotated: bool = False,
    ) -> Memory:
        """Return `memory` with this image and its masks added, see `Segmenter.memorize`."""

    @abstractmethod
    def segment(self, features: Tensor, memory: Memory) -> Tensor:
        """Return the logits (B, N, H, W) of the remembered objects in this image."""


@dataclass(frozen=True)
class Reference(Generic[Features]):
    """An annotated frame, the one thing known for certain of a clip."""

    features: Features
    masks: Tensor  # (B, N + 1, H, W), 0 or 1
