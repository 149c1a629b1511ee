"""The optimiser of a run: which weights learn, at which rates, and its moments in a checkpoint."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from vostool.errors import UsageError
from vostool.train.recipe import Recipe


def make_optimizer(
    network: nn.Module, pretrained: tuple[str, ...], recipe: Recipe
) -> torch.optim.Optimizer:
    """Return the recipe's optimiser of a network, whose frozen weights no longer require gradients.

    `pretrained` are the beginnings of the names of weights that learn at the encoders' rate.
    Raises UsageError if the recipe freezes weights that the network lacks, or all of them.
    """
    names = [name for name, _ in network.named_parameters()]
    for start in recipe.freeze:
        if not any(name.startswith(start) for name in names):
            raise UsageError(f"freeze: the network has no weights whose names begin with {start!r}")
    encoders: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in network.named_parameters():
        if name.startswith(tuple(recipe.freeze)):
            parameter.requires_grad_(False)
        else:
            (encoders if name.startswith(pretrained) else others).append(parameter)
    if not encoders and not others:
        raise UsageError("freeze: nothing is left to train")
    groups = [
        {"params": others, "lr": recipe.learning_rate, "peak": recipe.learning_rate},
        {"params": encoders, "lr": recipe.learning_rate, "peak": recipe.encoder_learning_rate},
    ]
    make = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer]
    return make(groups, weight_decay=recipe.weight_decay)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Return the learning rate as a share of its peak.

    It warms up linearly, then stays or decays along a cosine to 1 %.
    """
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    if recipe.schedule == "constant":
        return 1.0
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Restore the moments of each weight; the settings of an optimiser are its recipe's.

    Raises ValueError for moments that are not of the shape of their weight.
    """
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state["state"]})
    names = {"step", "exp_avg", "exp_avg_sq"}
    weights = {weight for group in optimizer.param_groups for weight in group["params"]}
    for weight, moments in optimizer.state.items():
        if weight not in weights or moments.keys() != names:
            raise ValueError("moments of the optimiser are missing")
        for name, value in moments.items():
            if value.shape != (() if name == "step" else weight.shape):
                raise ValueError(f"{name} of the optimiser is of another shape than its weight")
