"""The state of a training run: how it begins, what is kept of it, and how it is taken up again.

A run is one folder: its checkpoint, its weights, its log and its recipe.
"""

import copy
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Generic, Protocol, TypeVar

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vostool.claims import refuse_to_replace
from vostool.errors import InputError, UsageError, WeightsError
from vostool.files import atomic_write, first_line
from vostool.inference.options import ModelOptions
from vostool.model.checkpoint import begin_from, read_settings, save_checkpoint
from vostool.model.interface import Segmenter
from vostool.model.stm import Stm
from vostool.model.weights import find_weights
from vostool.train.metrics_log import LOG
from vostool.train.recipe import Recipe

CHECKPOINT, WEIGHTS = "checkpoint.pt", "weights.safetensors"
# what of a recipe may change while its run goes on: where things lie and how often it speaks
CHANGEABLE_ON_RESUME = ("data_root", "teacher", "log_every", "save_every", "validate_every")
INIT_ONLY = ("start", "begin")  # of no use once it has begun


class Trainable(Segmenter[Any, Any], Protocol):
    """A segmenter with weights: what a step of training takes."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """See `torch.nn.Module`."""

    def state_dict(self) -> dict[str, Any]:
        """See `torch.nn.Module`."""

    def load_state_dict(self, state: dict[str, Any], /) -> object:
        """See `torch.nn.Module`."""


Network = TypeVar("Network", bound=Trainable)


@dataclass
class Run(Generic[Network]):
    """The state of a training run: all that a checkpoint must hold."""

    recipe: Recipe
    network: Network
    average: Network  # of the network over the last steps; what is validated and shipped
    optimizer: torch.optim.Optimizer
    step: int = 0
    losses: list[float] = field(default_factory=list)  # of the steps since the last that was logged
    scores: dict[str, float] = field(default_factory=dict)  # held-out J&F by step
    data: dict[str, int] = field(default_factory=dict)  # clips and photographs of each data set

    def save(self, path: Path) -> None:
        """Write the state; atomic. Raises OutputError."""
        state = {
            "recipe": self.recipe.model_dump(mode="json"),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "losses": self.losses,
            "scores": self.scores,
            "data": self.data,
        }
        with atomic_write(path, RuntimeError) as part:
            torch.save(state, part)

    def load(self, state: dict[str, Any], path: Path) -> None:
        """Take up what `read_checkpoint` has read from a path.

        Raises WeightsError if it is of another network.
        """
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[-1].strip()
            raise WeightsError(f"{path}: no checkpoint of such a network: {reason}") from error
        self.step, self.losses = state["step"], list(state["losses"])
        self.scores, self.data = state["scores"], state["data"]


def read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Read what `Run.save` wrote; its recipe is a `Recipe` again.

    Raises InputError if it is not there, WeightsError if it is no such thing.
    """
    if not path.exists():
        raise InputError(f"{path}: expected a run to resume, found none")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    # what a damaged file makes of the reader
    except (
        AttributeError,
        EOFError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        UnpicklingError,
        struct.error,
    ) as error:
        raise WeightsError(
            f"{path}: cannot be read as a checkpoint: {first_line(error)}"
        ) from error
    if not isinstance(state, dict) or not {each.name for each in fields(Run)} <= state.keys():
        raise WeightsError(f"{path}: not the checkpoint of a run, or of another version's")
    try:
        recipe = Recipe.model_validate(state["recipe"])
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise WeightsError(f"{path}: of a recipe with another {key} than there is here") from error
    return {**state, "recipe": recipe}


def continued(old: Recipe, new: Recipe, step: int, folder: Path) -> Recipe:
    """Return the recipe with which a run of `old` that has taken `step` steps goes on.

    `new` may differ in `CHANGEABLE_ON_RESUME` entries, and in how many steps its last phase has;
    it need not say what the run began from. Raises UsageError if it differs in anything else.
    """
    free = {*CHANGEABLE_ON_RESUME, *INIT_ONLY, "phases"}
    if "network" not in new.model_fields_set:
        free.add("network")
    before, now = old.model_dump(exclude=free), new.model_dump(exclude=free)
    changed = [name for name in before if before[name] != now[name]]
    lasts = [recipe.phases[-1].model_copy(update={"steps": 1}) for recipe in (old, new)]
    if (old.phases[:-1], lasts[0]) != (new.phases[:-1], lasts[1]):
        changed.append("phases")
    if changed:
        raise UsageError(
            f"{folder}: its run has another {', '.join(changed)} than the recipe; "
            "a changed recipe wants a folder of its own"
        )
    if new.steps < step:
        raise UsageError(f"{folder}: its run has taken {step} steps, the recipe has {new.steps}")
    return old.model_copy(
        update={name: getattr(new, name) for name in (*CHANGEABLE_ON_RESUME, "phases")}
    )


def start_run(recipe: Recipe, device: torch.device) -> Run[Stm]:
    """Build network, average and optimiser as they are before the first step.

    A recipe that says nothing of its network has that of the weights it begins from.
    """
    torch.manual_seed(recipe.seed)
    if recipe.begin is not None and "network" not in recipe.model_fields_set:
        settings = read_settings(find_weights(str(recipe.begin)))
        recipe = recipe.model_copy(update={"network": settings})
    return run_with(first_network(recipe), recipe, device)


def resume_run(recipe: Recipe, checkpoint: Path, device: torch.device) -> Run[Stm]:
    """Build network, average and optimiser as a checkpoint has them.

    Raises what `read_checkpoint`, `continued` and `Run.load` do.
    """
    state = read_checkpoint(checkpoint, device)
    recipe = continued(state["recipe"], recipe, state["step"], checkpoint.parent)
    run = run_with(Stm(recipe.network), recipe, device)
    run.load(state, checkpoint)
    return run


def run_with(network: Stm, recipe: Recipe, device: torch.device) -> Run[Stm]:
    """Return a run of a network, before its first step."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    average = copy.deepcopy(network).requires_grad_(False).eval()
    average.memory_frames = ModelOptions().memory_frames  # it is validated as `eval` would
    return Run(recipe, network, average, make_optimizer(network, network.pretrained, recipe))


def make_optimizer(
    network: nn.Module, pretrained: tuple[str, ...], recipe: Recipe
) -> torch.optim.Optimizer:
    """Return the recipe's optimiser of a network, whose frozen weights no longer want gradients.

    `pretrained` are the beginnings of the names of weights that learn at the encoders' rate.
    """
    encoders: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in network.named_parameters():
        if name.startswith(tuple(recipe.freeze)):
            parameter.requires_grad_(False)
        else:
            (encoders if name.startswith(pretrained) else others).append(parameter)
    groups = [
        {"params": others, "lr": recipe.learning_rate, "peak": recipe.learning_rate},
        {"params": encoders, "lr": recipe.learning_rate, "peak": recipe.encoder_learning_rate},
    ]
    make = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[recipe.optimizer]
    return make(groups, weight_decay=recipe.weight_decay)


def first_network(recipe: Recipe) -> Stm:
    """Build the network with the weights that the recipe begins from."""
    if recipe.begin is not None:
        return begin_from(find_weights(str(recipe.begin)), recipe.network)
    if recipe.start is None:
        return Stm(recipe.network)
    if recipe.start == "imagenet":
        try:
            return Stm(recipe.network, imagenet=True)
        except OSError as error:
            raise WeightsError(
                f"ImageNet weights of {recipe.network.backbone}: cannot be downloaded ({error}); "
                "have a file instead: --set start=FILE.safetensors"
            ) from error
    try:
        state = load_file(recipe.start)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{recipe.start}: cannot be read as encoder weights") from error
    return Stm(recipe.network, state)


def export(run: Run[Stm], path: Path) -> None:
    """Write the averaged weights in 16 bits, with settings, recipe, data and scores."""
    card = {
        "recipe": run.recipe.model_dump(mode="json"),
        "data": run.data,
        "step": run.step,
        "held_out": run.recipe.hold_out,
        "held_out_j_and_f": run.scores,
    }
    save_checkpoint(path, run.average, card)


def export_run(folder: Path, path: Path) -> Path:
    """Write the averaged weights of a run as its last checkpoint has them.

    They are the latest, not those that did best on the clips held out. Raises what `Run.load`
    does, and OutputError if they cannot be written.
    """
    checkpoint = folder / CHECKPOINT
    state = read_checkpoint(checkpoint, torch.device("cpu"))
    recipe: Recipe = state["recipe"]
    run = run_with(Stm(recipe.network), recipe, torch.device("cpu"))
    run.load(state, checkpoint)
    export(run, path)
    return path


def claim(folder: Path) -> None:
    """See that a folder holds nothing of a run; raises OutputError."""
    refuse_to_replace(
        (folder / name for name in (CHECKPOINT, WEIGHTS, LOG)),
        "the folder holds a run: --resume it with its own recipe, remove it, or choose another "
        "folder",
    )
