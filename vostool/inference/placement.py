"""Where frames lie in the network's input: their size there, and the border around them.

Shapes: a frame is H x W pixels, the network's input h x w, its border included.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from vostool.model.borders import NO_PADDING, Padding, pad_with_mean
from vostool.preprocess import Size, image_tensor, object_tensor, soft_masks
from vostool.propagation.frame_loop import Prediction


@dataclass(frozen=True)
class Placement:
    """The size of frames in the network's input, and a border of the mean colour around them."""

    frame: Size
    padding: Padding = NO_PADDING

    @property
    def size(self) -> Size:
        """The height and width of the network's input."""
        left, right, top, bottom = self.padding
        return self.frame[0] + top + bottom, self.frame[1] + left + right

    def image(self, rgb: NDArray[np.uint8], device: torch.device) -> Tensor:
        """Turn a frame (H, W, 3) into the network's image, (1, 3, h, w) in [0, 1]."""
        return pad_with_mean(image_tensor(rgb, self.frame, device), self.padding)

    def objects(
        self, labels: NDArray[np.uint8], ids: Sequence[int], device: torch.device
    ) -> Tensor:
        """Turn a label map (H, W) into one mask per object, (1, len(ids), h, w), 0 or 1."""
        return functional.pad(object_tensor(labels, ids, self.frame, device), self.padding)

    def crop(self, prediction: Prediction[Any]) -> Prediction[Any]:
        """Return a prediction whose masks have no border."""
        if not any(self.padding):
            return prediction
        before, after = prediction.uncorrected, prediction.corrected
        return replace(
            prediction,
            masks=self.padding.crop(prediction.masks),
            uncorrected=None if before is None else self.padding.crop(before),
            corrected=None if after is None else self.padding.crop(after),
        )

    def soft_masks(self, masks: Tensor, size: Size) -> NDArray[np.float32]:
        """Turn masks (1, N + 1, h, w) into probabilities of a size, (N + 1, H, W)."""
        return soft_masks(self.padding.crop(masks), size)
