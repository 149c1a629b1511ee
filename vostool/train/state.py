"""Training state: initialisation, checkpointing, resuming.

A run is one folder: its checkpoint, its weights, its log and its recipe.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Generic, Protocol, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vostool import defaults
from vostool.device import is_out_of_memory
from vostool.errors import InputError, UsageError, WeightsError
from vostool.files import atomic_write
from vostool.files.claims import refuse_to_replace
from vostool.files.documents import problem
from vostool.model.checkpoint import begin_from, build, read_settings, save_checkpoint
from vostool.model.interface import Segmenter
from vostool.model.stm import Stm
from vostool.model.weights import find_weights
from vostool.train.metrics_log import LOG
from vostool.train.optimizer import load_moments, make_optimizer
from vostool.train.recipe import Recipe

CHECKPOINT, WEIGHTS = "checkpoint.pt", "weights.safetensors"
# entries of a recipe that may change on resume: paths, and intervals of logging and saving
CHANGEABLE_ON_RESUME = ("data_root", "teacher", "log_every", "save_every", "validate_every")
INIT_ONLY = ("encoder_weights", "init_weights")  # used only to initialise the run


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
    """The state of a training run: all that a checkpoint holds."""

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

    def load(self, saved: "Checkpoint", path: Path) -> None:
        """Restore what `read_checkpoint` has read from a path.

        Raises WeightsError if it does not match the network.
        """
        with mismatch_as_weights_error(path):
            self.network.load_state_dict(saved.network)
            self.average.load_state_dict(saved.average)
            load_moments(self.optimizer, saved.optimizer)
        self.step, self.losses = saved.step, list(saved.losses)
        self.scores, self.data = dict(saved.scores), dict(saved.data)


@contextmanager
def mismatch_as_weights_error(path: Path) -> Iterator[None]:
    """Turn what loaders raise for a damaged state into a WeightsError that names its file."""
    try:
        yield
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip() if str(error) else type(error).__name__
        raise WeightsError(
            f"{path}: the checkpoint does not match the network: {reason}"
        ) from error


class Checkpoint(BaseModel):
    """What `Run.save` writes, by name; tensors are on the CPU."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    recipe: Recipe
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    optimizer: dict[str, Any]
    step: Annotated[int, Field(strict=True, ge=0)]
    losses: list[float]
    scores: dict[str, float]
    data: dict[str, int]


def read_checkpoint(path: Path) -> Checkpoint:
    """Return what `Run.save` wrote, on the CPU: Adam's step counters are to stay there.

    Raises InputError if it is missing, WeightsError if it is damaged or something else.
    """
    if not path.exists():
        raise InputError(f"{path}: expected a run to resume, found none")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or 'damaged'}") from error
    # a damaged file may raise anything; PyTorch's own words advise to trust its code
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise WeightsError(
            f"{path}: cannot be read as a checkpoint: damaged, or written by another program"
        ) from error
    try:
        return Checkpoint.model_validate(state)
    except ValidationError as error:
        raise WeightsError(f"{path}: not a checkpoint of this version: {problem(error)}") from error


def continued(old: Recipe, new: Recipe, step: int, folder: Path) -> Recipe:
    """Return the recipe with which a run of `old` that has taken `step` steps goes on.

    `new` may differ in `CHANGEABLE_ON_RESUME` entries, and in how many steps its last phase has;
    it need not give the initial weights. Raises UsageError if it differs in anything else.
    """
    free: dict[str, Any] = dict.fromkeys((*CHANGEABLE_ON_RESUME, *INIT_ONLY, "phases"), True)
    # the origin of the weights is not the recipe's to say
    free["network"] = {"published"} if "network" in new.model_fields_set else True
    before, now = old.model_dump(exclude=free), new.model_dump(exclude=free)
    changed = [name for name in before if before[name] != now[name]]
    lasts = [recipe.phases[-1].model_copy(update={"steps": 1}) for recipe in (old, new)]
    if (old.phases[:-1], lasts[0]) != (new.phases[:-1], lasts[1]):
        changed.append("phases")
    if changed:
        raise UsageError(
            f"{folder}: its run has another {', '.join(changed)} than the recipe; "
            "a changed recipe needs a folder of its own"
        )
    if new.steps < step:
        raise UsageError(f"{folder}: its run has taken {step} steps, the recipe has {new.steps}")
    return old.model_copy(
        update={name: getattr(new, name) for name in (*CHANGEABLE_ON_RESUME, "phases")}
    )


def start_run(recipe: Recipe, device: torch.device) -> Run[Stm]:
    """Return a new run, before its first step.

    A recipe without network settings takes those of its initial weights.
    """
    torch.manual_seed(recipe.seed)
    if recipe.init_weights is not None and "network" not in recipe.model_fields_set:
        settings = read_settings(find_weights(str(recipe.init_weights)))
        recipe = recipe.model_copy(update={"network": settings})
    network = first_network(recipe)
    if network.settings != recipe.network:  # it has the origin of its initial weights
        recipe = recipe.model_copy(update={"network": network.settings})
    return run_with(network, recipe, device)


def resume_run(recipe: Recipe, checkpoint: Path, device: torch.device) -> Run[Stm]:
    """Return a run restored from a checkpoint.

    Raises what `read_checkpoint`, `continued` and `Run.load` do.
    """
    saved = read_checkpoint(checkpoint)
    recipe = continued(saved.recipe, recipe, saved.step, checkpoint.parent)
    run = run_with(network_of(saved, checkpoint), recipe, device)
    run.load(saved, checkpoint)
    return run


def network_of(saved: Checkpoint, path: Path) -> Stm:
    """Return the network of what `read_checkpoint` has read from a path; raises WeightsError."""
    with mismatch_as_weights_error(path):
        return build(saved.recipe.network, saved.network)


def run_with(network: Stm, recipe: Recipe, device: torch.device) -> Run[Stm]:
    """Return a run of a network, before its first step."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    average = copy.deepcopy(network).requires_grad_(False).eval()
    # it is validated as `eval` would
    average.memory_frames = network.policy.memory_frames or defaults.MEMORY_FRAMES
    return Run(recipe, network, average, make_optimizer(network, network.pretrained, recipe))


def first_network(recipe: Recipe) -> Stm:
    """Return the network with the recipe's initial weights."""
    if recipe.init_weights is not None:
        return begin_from(find_weights(str(recipe.init_weights)), recipe.network)
    if recipe.encoder_weights is None:
        return Stm(recipe.network)
    if recipe.encoder_weights == "imagenet":
        try:
            return Stm(recipe.network, imagenet=True)
        except OSError as error:
            raise WeightsError(
                f"ImageNet weights of {recipe.network.backbone}: cannot be downloaded ({error}); "
                "use a file instead: --set encoder_weights=FILE.safetensors"
            ) from error
    try:
        state = load_file(recipe.encoder_weights)
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{recipe.encoder_weights}: cannot be read as encoder weights"
        ) from error
    return Stm(recipe.network, state)


def export(run: Run[Stm], path: Path) -> None:
    """Write the averaged weights in 16 bits, with settings, recipe, data and scores.

    Raises WeightsError if one is not finite in 16 bits, OutputError if they cannot be written.
    """
    for name, weight in run.average.state_dict().items():
        if not weight.half().isfinite().all():
            raise WeightsError(
                f"{path}: not written: {name} holds values that are not finite in 16 bits; the run "
                "has diverged: start one with a lower learning_rate"
            )
    card = {
        "recipe": run.recipe.model_dump(mode="json"),
        "data": run.data,
        "step": run.step,
        "held_out": run.recipe.hold_out,
        "held_out_j_and_f": run.scores,
    }
    save_checkpoint(path, run.average, card)


def export_run(folder: Path, path: Path) -> Path:
    """Write the averaged weights of a run's last checkpoint to a new file, and return its path.

    They are the latest, not those with the best score on the held-out clips. Raises what
    `read_checkpoint` and `Run.load` do, and OutputError if the file exists or cannot be written.
    """
    refuse_to_replace([path], "--export writes a new file: name another")
    checkpoint = folder / CHECKPOINT
    saved = read_checkpoint(checkpoint)
    run = run_with(network_of(saved, checkpoint), saved.recipe, torch.device("cpu"))
    run.load(saved, checkpoint)
    export(run, path)
    return path


def claim(folder: Path) -> None:
    """Raise OutputError if a folder holds a run."""
    refuse_to_replace(
        (folder / name for name in (CHECKPOINT, WEIGHTS, LOG)),
        "the folder holds a run: --resume it with its own recipe, remove it, or choose another "
        "folder",
    )
