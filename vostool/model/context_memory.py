"""A memory of constant size: the mean context of all frames (GCM, Li, Shen and Shan 2020).

Shapes are those of `vostool.model.memory`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from vostool.model.memory import MemoryOptions, positions
from vostool.model.stored import stored_tensor


@dataclass(frozen=True)
class ContextMemory:
    """Keep one matrix of key by value channels, the mean over all frames (GCM).

    A frame's context is K^T V, its keys normalised over the frame; a query reads it by its
    softmax-normalised channels. Its size is constant, so that no frame is dropped.
    """

    readout: ClassVar[str] = "context"

    options: MemoryOptions = field(default_factory=MemoryOptions)
    context: Tensor | None = None  # (B, G, C, D)
    frames: int = 0

    def add(self, key: Tensor, value: Tensor, annotated: bool) -> Self:
        """Return this memory with one more frame in the mean."""
        # the mean of many frames needs more than autocast's 16 bits
        with torch.autocast(key.device.type, enabled=False):
            weights = positions(key).float().softmax(dim=2)  # (B, G, h w, C)
            new = weights.transpose(2, 3) @ positions(value).float()
        count = self.frames + 1
        context = new if self.context is None else self.context + (new - self.context) / count
        return replace(self, context=context, frames=count)

    def read(self, query: Tensor) -> Tensor:
        """Return the rows of the mean context, weighted by the softmax of the query's channels."""
        if self.context is None:
            raise ValueError("nothing is remembered")
        with torch.autocast(query.device.type, enabled=False):
            answer = positions(query).float().softmax(dim=3) @ self.context  # (B, G, h w, D)
        return answer.to(query.dtype).transpose(2, 3).unflatten(3, query.shape[3:])

    def to_tensors(self) -> dict[str, Tensor]:
        """See `StoredMemory.to_tensors`: a mean over all frames cannot be found from a few."""
        context = {} if self.context is None else {"context": self.context}
        return {**context, "frames": torch.tensor(self.frames)}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Self:
        """See `StoredMemory.with_tensors`; it fits frames of any size."""
        context = self.context
        if context is not None:
            context = stored_tensor(tensors, "context", context)
        frames = int(stored_tensor(tensors, "frames", torch.tensor(self.frames)))
        return replace(self, context=context, frames=frames)

    @property
    def object_axes(self) -> dict[str, int]:
        """See `DivisibleMemory.object_axes`."""
        if self.context is None:
            return {}
        return {"context": 1 if self.context.shape[1] > 1 else 3}
