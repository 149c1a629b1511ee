"""The interface between a model and the rest of the program.

A segmenter encodes a frame once (`encode`), adds it with its masks to a memory bank
(`memorize`), and segments the remembered objects in another frame (`segment`).
Encoding is separate from matching because the cycle and the correction match one frame
many times.

Shapes: B clips side by side (1 at inference), N objects, H x W pixels.
    image   (B, 3, H, W)      RGB in [0, 1]; H and W multiples of `stride`
    masks   (B, N + 1, H, W)  probabilities in [0, 1], background first, sum 1
    logits  (B, N, H, W)      independent log-odds of each object, float32;
                              `aggregate` turns them into masks
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, runtime_checkable

from torch import Tensor

from vostool.model.policy import Policy

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
        """Return the features of an image, which depend on neither masks nor memory."""

    def memorize(
        self,
        features: Features,
        masks: Tensor,
        memory: Memory | None = None,
        annotated: bool = False,
    ) -> Memory:
        """Return `memory` (or an empty one) with this frame added.

        The objects may be a subset of those in the frame; the background channel
        is where no object at all is. `annotated` says that the masks are the truth,
        which a memory that is full should keep.
        """

    def segment(self, features: Features, memory: Memory) -> Tensor:
        """Return the logits (B, N, H, W) of the remembered objects in this frame."""


@runtime_checkable
class LimitedMemory(Protocol):
    """A model whose memory bank holds frames, at most `memory_frames` of them.

    Optional: when the device runs out of memory, the limit of such a model is lowered. Of the
    memorised frames, its memory bank depends only on the first one, the latest `memory_frames`
    that were annotated and the latest `memory_frames` that were not.
    """

    memory_frames: int | None  # 2 or more; None: all


@runtime_checkable
class StoredMemory(Protocol):
    """A memory that cannot be rebuilt from frames, and that can be written to a file.

    Optional, for recurrent models.
    The two methods are each other's inverse, bit for bit.
    """

    def to_tensors(self) -> dict[str, Tensor]:
        """Return its state as tensors by name."""

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """Return a memory like this one with these tensors, from any device, as its state.

        Raises ValueError for tensors that do not fit it.
        """


@runtime_checkable
class DivisibleMemory(StoredMemory, Protocol):
    """A stored memory whose objects can be distributed anew over the calls of the model.

    Optional: it is carried over when the device runs out of memory. `with_tensors` is then called
    on a memory of the latest frames, made within lower limits: where frames are smaller or fewer
    there, it takes what fits.
    """

    @property
    def object_axes(self) -> Mapping[str, int] | None:
        """Return the axis of a tensor along which the objects of a clip lie, in equal parts.

        Tensors without one are the same for all objects. None: it cannot be divided after all.
        """


@runtime_checkable
class RecurrentModel(Protocol):
    """A model that is to be handed every frame, and keeps one in `memory_every` of them itself.

    Optional: its memory holds a state beside frames, which every frame changes.
    """

    memory_every: int  # 1 or more

    def memorize(
        self,
        features: Any,
        masks: Tensor,
        memory: Any | None = None,
        annotated: bool = False,
        keep: bool = False,
    ) -> Any:
        """See `Segmenter.memorize`. `keep` says that the frame is to be one of those kept.

        It is so for a frame of which some objects are annotated, or whose masks were corrected or
        disturbed: they are to affect the frames that follow.
        """


@runtime_checkable
class MatchingModel(Protocol):
    """A model that computes once what many matches of the same two frames have in common.

    Optional, for the correction: each of its steps predicts the reference from one frame alone.
    """

    def prepare_match(self, features: Any, query: Any) -> Callable[[Tensor], Tensor]:
        """Return the function from masks of a frame to the logits of the query frame.

        That is `segment(query, memorize(features, masks))`.
        """


@runtime_checkable
class CompilableModel(Protocol):
    """A model some of whose methods can be compiled. Optional.

    Their work depends on nothing but the size of the frame and the number of objects, and they
    take and return tensors, or tuples and dataclasses of them.
    """

    compiled_parts: ClassVar[tuple[str, ...]]  # the names of these methods


@runtime_checkable
class AdvisedModel(Protocol):
    """A model that says how it is best used, where the user does not. Optional."""

    @property
    def policy(self) -> Policy:
        """Return the sizes, frames and precision that suit it."""


def others(masks: Tensor) -> Tensor:
    """Return for each object of masks (B, N + 1, H, W) where all other ones are, (B, N, H, W).

    Also those that are not among the N: the background is where no object at all is.
    """
    return 1 - masks[:, :1] - masks[:, 1:]


def prepare_match(
    segmenter: Segmenter[Features, Any], features: Features, query: Features
) -> Callable[[Tensor], Tensor]:
    """Return the function from masks of a frame to the logits of the query frame from it alone."""
    if isinstance(segmenter, MatchingModel):
        return segmenter.prepare_match(features, query)
    return lambda masks: segmenter.segment(query, segmenter.memorize(features, masks))


def memory_limit(segmenter: Segmenter[Any, Any]) -> int | None:
    """Return how many frames a model remembers at most; None if that is not limited."""
    return segmenter.memory_frames if isinstance(segmenter, LimitedMemory) else None


class Adapter(ABC, Generic[Memory]):
    """A base class for a `Segmenter` that takes whole images: implement two methods.

    The features of a frame are the image itself, which is encoded again at every match.
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
    """An annotated frame: the ground truth of a clip."""

    features: Features
    masks: Tensor  # (B, N + 1, H, W), 0 or 1
