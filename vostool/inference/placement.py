"""Where frames lie in the network's input: what of them, their size there, and the border around.

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

from vostool.inference.region import Region
from vostool.model.borders import NO_PADDING, Padding, pad_masks, pad_with_mean
from vostool.preprocess import (
    Size,
    object_tensor,
    place_objects,
    resize,
    resized_frame,
    soft_masks,
    unit_range,
)
from vostool.propagation.frames import Prediction


@dataclass(frozen=True)
class Placement:
    """The size of frames in the network's input, and a border of the mean colour around them.

    With a region it is that part of the frame that has this size.
    """

    frame: Size
    padding: Padding = NO_PADDING
    region: Region | None = None  # None: the whole frame

    @property
    def size(self) -> Size:
        """The height and width of the network's input."""
        left, right, top, bottom = self.padding
        return self.frame[0] + top + bottom, self.frame[1] + left + right

    def image(self, rgb: NDArray[np.uint8], device: torch.device) -> Tensor:
        """Turn a frame (H, W, 3) into the network's image, (1, 3, h, w) in [0, 1]."""
        return self.image_of(self.resized(rgb, device))

    def resized(self, rgb: NDArray[np.uint8], device: torch.device) -> Tensor:
        """Return a frame (H, W, 3) at its size in the input, as `image_of` takes it.

        This is what a thread beside the network's can do, see `resized_frame`.
        """
        return resized_frame(self._visible(rgb), self.frame, device)

    def image_of(self, resized: Tensor) -> Tensor:
        """Turn a resized frame into the network's image."""
        return pad_with_mean(unit_range(resized), self.padding)

    def objects(
        self, labels: NDArray[np.uint8], ids: Sequence[int], device: torch.device
    ) -> Tensor:
        """Turn a label map (H, W) into one mask per object, (1, len(ids), h, w), 0 or 1."""
        objects = object_tensor(self._visible(labels), ids, self.frame, device)
        return functional.pad(objects, self.padding)

    def image_from(self, image: Tensor, before: "Placement | None" = None) -> Tensor:
        """Return the network's image (1, 3, h', w') of placement `before` in this placement.

        Its border is cut off, what is inside resized, and this one's border added; an image of
        this very placement is returned as it is. Both are of the same region. Where `before` is not
        known, an image of the same size is taken for one of this placement, any other for one
        without a border.
        """
        if self._holds(image, before):
            return image
        return pad_with_mean(self._resized(image, before), self.padding)

    def masks_from(self, masks: Tensor, before: "Placement | None" = None) -> Tensor:
        """Return masks (1, N + 1, h, w) of another placement in this one, as `image_from`."""
        if self._holds(masks, before):
            return masks
        return pad_masks(self._resized(masks, before), self.padding)

    def objects_from(self, objects: Tensor, before: "Placement | None" = None) -> Tensor:
        """Return the same of masks (1, N, h, w) without background, all of them 0 or 1."""
        return functional.pad(place_objects(self._resized(objects, before)), self.padding)

    def _holds(self, pixels: Tensor, before: "Placement | None") -> bool:
        return before == self if before is not None else pixels.shape[2:] == self.size

    def _resized(self, pixels: Tensor, before: "Placement | None") -> Tensor:
        inside = pixels if before is None else before.padding.crop(pixels)
        return inside if inside.shape[2:] == self.frame else resize(inside, self.frame)

    def whole(self, prediction: Prediction[Any]) -> Prediction[Any]:
        """Return a prediction whose masks are of the whole frame, without a border."""
        if self.region is None and not any(self.padding):
            return prediction
        masks: dict[str, Any] = {
            name: self.whole_masks(found)
            for name in ("masks", "uncorrected", "corrected", "staying")
            if (found := getattr(prediction, name)) is not None
        }
        return replace(prediction, **masks)

    def whole_masks(self, masks: Tensor) -> Tensor:
        """Return masks (1, N + 1, h, w) as those of the whole frame, without a border."""
        inside = self.padding.crop(masks)
        return inside if self.region is None else self.region.whole(inside)

    def from_whole(self, masks: Tensor) -> Tensor:
        """Return masks (1, N + 1, ...) of the whole frame, of any size, as the network has them."""
        inside = masks if self.region is None else self.region.inside(masks)
        if inside.shape[2:] != self.frame:
            inside = resize(inside, self.frame)
        return pad_masks(inside, self.padding)

    def soft_masks(self, masks: Tensor, size: Size) -> NDArray[np.float32]:
        """Turn masks (1, N + 1, h, w) into probabilities of a size, (N + 1, H, W)."""
        return soft_masks(self.whole_masks(masks), size)

    def _visible(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return what of a frame or a label map (H, W, ...) the network sees."""
        return pixels if self.region is None else self.region.crop(pixels)
