"""Distillation: train a memory encoder toward the memory values of a teacher network.

Shapes: T frames of B clips; values (B, N, D, h, w) of N objects.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vostool.errors import WeightsError
from vostool.model.checkpoint import load_stm
from vostool.model.stm import Stm
from vostool.model.weights import find_weights
from vostool.train.clips import Clip
from vostool.train.recipe import Recipe

MEMORY_ENCODER = ("memory_stem.", "mask_stem.", "memory_body.", "memory_value.")


def distillation_loss(network: Stm, teacher: Stm, clip: Clip) -> Tensor:
    """Return how far the memory values of each clip are from the teacher's, (B,).

    The mean squared difference, relative to the variance of the teacher's. Only the weights that
    make the values, those of the memory encoder, get a gradient.
    """
    images, masks = clip.images.flatten(0, 1), clip.masks.flatten(0, 1)  # (T B, ., H, W)
    with torch.no_grad():
        _, target = teacher.remembered(teacher.encode(images), masks)
    with gradients_only_for(network, MEMORY_ENCODER):
        _, values = network.remembered(network.encode(images), masks)
    apart = (values - target).square().mean(dim=(1, 2, 3, 4)) / target.var()
    return apart.unflatten(0, clip.images.shape[:2]).mean(dim=0)


@contextmanager
def gradients_only_for(network: nn.Module, prefixes: tuple[str, ...]) -> Iterator[None]:
    """Let what is computed in the block have gradients only for weights of these names."""
    others = [
        weight
        for name, weight in network.named_parameters()
        if weight.requires_grad and not name.startswith(prefixes)
    ]
    try:
        for weight in others:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in others:
            weight.requires_grad_(True)


def load_teacher(recipe: Recipe, device: torch.device) -> Stm | None:
    """Load the network that a recipe names for phases of distillation.

    Raises WeightsError if it remembers other values than the network to be trained.
    """
    if recipe.teacher is None:
        return None
    teacher = load_stm(find_weights(str(recipe.teacher)))
    if teacher.settings.value_channels != recipe.network.value_channels:
        raise WeightsError(
            f"{recipe.teacher}: {teacher.settings.value_channels} value channels; "
            f"the recipe's network has {recipe.network.value_channels}"
        )
    return teacher.requires_grad_(False).to(device)
