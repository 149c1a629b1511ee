"""Borders around frames, where the makers of a network pad or letterbox them.

Shapes as in `vostool.model.interface`, but H and W may be any.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from vostool.model.encoders import MEAN
from vostool.model.interface import Segmenter, prepare_match


class Padding(NamedTuple):
    """Pixels around a frame."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def crop(self, images: Tensor) -> Tensor:
        """Return images (B, C, H, W) without these pixels."""
        height, width = images.shape[2:]
        return images[:, :, self.top : height - self.bottom, self.left : width - self.right]


NO_PADDING = Padding()


def padding_to(size: tuple[int, int], full: tuple[int, int]) -> Padding:
    """Return the border that makes a frame of a size, height and width, as large as another.

    Half of it is on either side, and an odd pixel at the right or the bottom.
    """
    down, across = full[0] - size[0], full[1] - size[1]
    return Padding(across // 2, across - across // 2, down // 2, down - down // 2)


def to_multiples(size: tuple[int, int], stride: int) -> Padding:
    """Return the border up to the next multiples of a stride."""
    return padding_to(size, (-(-size[0] // stride) * stride, -(-size[1] // stride) * stride))


def to_proportions(size: tuple[int, int], box: tuple[int, int]) -> Padding:
    """Return the border that gives a frame the proportions of a box."""
    (height, width), (tall, wide) = size, box
    return padding_to(
        size, (max(height, round(width * tall / wide)), max(width, round(height * wide / tall)))
    )


def pad_with_mean(image: Tensor, padding: Padding) -> Tensor:
    """Return an image (B, 3, H, W) in [0, 1] with a border of ImageNet's mean colour.

    Normalisation turns that into 0.
    """
    if not any(padding):
        return image
    bordered = functional.pad(image, padding)
    inside = functional.pad(torch.ones_like(image[:, :1]), padding) > 0
    return torch.where(inside, bordered, image.new_tensor(MEAN).view(3, 1, 1))


def pad_masks(masks: Tensor, padding: Padding) -> Tensor:
    """Return masks (B, N + 1, H, W) with a border of background."""
    if not any(padding):
        return masks
    background = functional.pad(masks[:, :1], padding, value=1.0)
    return torch.cat([background, functional.pad(masks[:, 1:], padding)], dim=1)


class BorderedFeatures(NamedTuple):
    """The features of a frame with its border."""

    features: Any
    padding: Padding


class Bordered:
    """A `Segmenter` of frames of any size, by one that is handed them with a border.

    A frame gets its border when it is encoded, and log-odds lose it. What is memorised is
    background in the border, as with STM; STCN memorises what it predicts there, so that for it the
    border is a part of the frames that are segmented.
    """

    stride = 1

    def __init__(self, segmenter: Segmenter[Any, Any], box: tuple[int, int] | None = None) -> None:
        """Take the model; frames get the proportions of a box, or multiples of its stride."""
        self._segmenter, self._box = segmenter, box

    def encode(self, image: Tensor) -> BorderedFeatures:
        """See `Segmenter.encode`; the border is black."""
        size = image.shape[2], image.shape[3]
        if self._box is None:
            padding = to_multiples(size, self._segmenter.stride)
        else:
            padding = to_proportions(size, self._box)
        return BorderedFeatures(self._segmenter.encode(functional.pad(image, padding)), padding)

    def memorize(
        self,
        features: BorderedFeatures,
        masks: Tensor,
        memory: Any | None = None,
        annotated: bool = False,
        **keep: bool,
    ) -> Any:
        """See `RecurrentModel.memorize`; the border is background."""
        inner, padding = features
        padded = pad_masks(masks, padding)
        return self._segmenter.memorize(inner, padded, memory, annotated, **keep)

    def segment(self, features: BorderedFeatures, memory: Any) -> Tensor:
        """See `Segmenter.segment`."""
        return features.padding.crop(self._segmenter.segment(features.features, memory))

    def prepare_match(
        self, features: BorderedFeatures, query: BorderedFeatures
    ) -> Callable[[Tensor], Tensor]:
        """See `MatchingModel.prepare_match`."""
        logits_of = prepare_match(self._segmenter, features.features, query.features)
        return lambda masks: query.padding.crop(logits_of(pad_masks(masks, features.padding)))
