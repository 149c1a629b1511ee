"""`vostool train`: a recipe in, weights out.

A step draws some clips, propagates the first frame's masks through each with the very
loop that inference uses, and adds up the loss of every predicted frame and, where the
recipe says so, of the cycle back from it (journal Eq. 3).
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from vostool.cycle import cycle_loss
from vostool.data.clips import Clip
from vostool.data.library import Library, draw_batch, load_library
from vostool.data.sequences import InMemory
from vostool.errors import InputError, OutputError, UsageError, VostoolError, WeightsError
from vostool.evaluate.results import ObjectScores, summary
from vostool.files import make_folder
from vostool.log import Log, Report
from vostool.losses import mask_loss
from vostool.metrics import score_frame
from vostool.model.checkpoint import begin_from, load_checkpoint, save_checkpoint
from vostool.model.interface import Reference, Segmenter
from vostool.model.stm import Stm
from vostool.prepare import label_map, object_tensor, resize, working_size
from vostool.processes import ALONE, Processes
from vostool.propagate import Annotation, Prediction, References, propagate
from vostool.recipe import Recipe


class Trainable(Segmenter[Any, Any], Protocol):
    """A segmenter with weights: what a step of training takes."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """See `torch.nn.Module`."""

    def state_dict(self) -> dict[str, Any]:
        """See `torch.nn.Module`."""

    def load_state_dict(self, state: dict[str, Any], /) -> object:
        """See `torch.nn.Module`."""


Network = TypeVar("Network", bound=Trainable)


def unroll(
    network: Segmenter[Any, Any], clip: Clip, *, late: bool, cycle: bool, gamma: float
) -> Tensor:
    """Return the loss of each clip, (B,): forward (Eq. 4) and, with `cycle`, back (Eq. 3).

    A frame whose masks are not known is judged by the cycle alone. The cycle leaves out a
    frame that does not show every object, which cannot explain the reference, and clips
    with a `late` object, which their reference does not show.
    """
    frames = forward(network, clip, late)
    reference = Reference(next(frames).features, clip.masks[0])
    total = torch.zeros(clip.images.shape[1], device=clip.images.device)
    for seen, masks, known in zip(frames, clip.masks[1:], clip.known[1:], strict=True):
        total = total + known * mask_loss(seen.masks, masks, gamma)
        if cycle and not late:
            visible = torch.where(known.view(-1, 1, 1, 1), masks, seen.masks.detach()) > 0.5
            shown = visible[:, 1:].flatten(2).any(dim=2).all(dim=1)  # (B,)
            back = cycle_loss(network, seen.features, seen.masks, reference, gamma)
            total = total + shown * back
    return total / (len(clip.images) - 1)


def imitate(network: Stm, teacher: Stm, clip: Clip) -> Tensor:
    """Return how far what a network remembers of each clip is from what its teacher does, (B,).

    The mean squared difference of the values, relative to their spread. Only the memory encoder
    learns from it.
    """
    images, masks = clip.images.flatten(0, 1), clip.masks.flatten(0, 1)  # (T B, ., H, W)
    with torch.no_grad():
        _, taught = teacher.remembered(teacher.encode(images), masks)
        features = network.encode(images)
    _, learnt = network.remembered(features, masks)
    apart = (learnt - taught).square().mean(dim=(1, 2, 3, 4)) / taught.var()
    return apart.unflatten(0, clip.images.shape[:2]).mean(dim=0)


def forward(network: Segmenter[Any, Any], clip: Clip, late: bool) -> Iterator[Prediction[Any]]:
    """Propagate the masks of the objects' first frames through clips."""
    ids = tuple(range(1, clip.masks.shape[2]))
    truth = {0: Annotation(ids, clip.masks[0][:, 1:])}
    if late:
        truth = {
            0: Annotation(ids[:-1], clip.masks[0][:, 1:-1]),
            1: Annotation(ids[-1:], clip.masks[1][:, -1:]),
        }
    return propagate(clip.images, truth, network, References(every=1))


@torch.no_grad()
def validate(
    network: Segmenter[Any, Any], sequences: Sequence[InMemory], size: int, device: torch.device
) -> float:
    """Return the mean J&F over the objects of whole clips, first and last frame left out."""
    scores = [
        score for sequence in sequences for score in score_sequence(network, sequence, size, device)
    ]
    return summary(scores)["J&F-Mean"] if scores else math.nan


def score_sequence(
    network: Segmenter[Any, Any], sequence: InMemory, size: int, device: torch.device
) -> list[ObjectScores]:
    """Score each object of the first frame on the annotated frames, as `vostool eval` does."""
    truth = sequence.labels.numpy()
    height, width = truth.shape[1:]
    small = working_size(height, width, size, network.stride)
    ids = tuple(int(id_) for id_ in np.unique(truth[0]) if id_)
    given = {0: Annotation(ids, object_tensor(truth[0], ids, small, device))}
    images = (resize(image[None], small).float().to(device) / 255 for image in sequence.images)
    scores: list[list[tuple[float, float]]] = []  # frame by frame, of each object J and F
    for index, seen in enumerate(propagate(images, given, network)):
        if index in sequence.annotated and 0 < index < sequence.length - 1:
            labels = label_map(seen.masks, seen.ids, (height, width))
            scores.append(score_frame(truth[index], labels, ids))
    return [
        ObjectScores(j=[j for j, _ in values], f=[f for _, f in values])
        for values in zip(*scores, strict=True)
    ]


@torch.no_grad()
def picture(network: Segmenter[Any, Any], clip: Clip, late: bool) -> Tensor:
    """Return the first clip with its predictions in red and green, (3, H, T W)."""
    frames = []
    for image, seen in zip(clip.images, forward(network, clip, late), strict=True):
        mask = torch.nn.functional.pad(seen.masks[0, 1:3], (0, 0, 0, 0, 0, 1))[:2]
        tint = torch.cat([mask, torch.zeros_like(mask[:1])])
        frames.append(image[0] * (1 - 0.5 * mask.amax(dim=0)) + 0.5 * tint)
    return torch.cat(frames, dim=2)


@dataclass
class Run(Generic[Network]):
    """The state of a training run: all that a checkpoint must hold."""

    network: Network
    average: Network  # of the network over the last steps; what is validated and shipped
    optimizer: torch.optim.Optimizer
    step: int = 0
    scores: dict[str, float] = field(default_factory=dict)  # held-out J&F by step

    def save(self, path: Path) -> None:
        """Write the state; atomic."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "scores": self.scores,
        }
        part = path.with_name(path.name + ".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path, device: torch.device) -> None:
        """Take up a saved state; raises WeightsError if it is of another network."""
        try:
            state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            peaks = [group["peak"] for group in self.optimizer.param_groups]
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError, OSError, UnpicklingError) as error:
            reason = str(error).splitlines()[0]
            raise WeightsError(f"{path}: no checkpoint of this recipe: {reason}") from error
        for group, peak in zip(self.optimizer.param_groups, peaks, strict=True):
            group["peak"] = peak  # the recipe's, which may have changed
        self.step, self.scores = state["step"], state["scores"]


def start_run(recipe: Recipe, device: torch.device) -> Run[Stm]:
    """Build network, average and optimiser as they are before the first step."""
    torch.manual_seed(recipe.seed)
    network = first_network(recipe)
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.train()
    average = copy.deepcopy(network).requires_grad_(False).eval()
    return Run(network, average, make_optimizer(network, network.pretrained, recipe))


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
        return begin_from(recipe.begin, recipe.network)
    imagenet = recipe.start == "imagenet"
    if imagenet or recipe.start is None:
        return Stm(recipe.network, imagenet=imagenet)
    try:
        state = load_file(recipe.start)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{recipe.start}: cannot be read as encoder weights") from error
    return Stm(recipe.network, state)


def load_teacher(recipe: Recipe, device: torch.device) -> Stm | None:
    """Load the network that a recipe has for phases that imitate one.

    Raises WeightsError if it remembers other values than the network to be trained.
    """
    if recipe.teacher is None:
        return None
    teacher = load_checkpoint(recipe.teacher)
    if teacher.settings.value_channels != recipe.network.value_channels:
        raise WeightsError(
            f"{recipe.teacher}: {teacher.settings.value_channels} value channels; "
            f"the recipe's network has {recipe.network.value_channels}"
        )
    return teacher.requires_grad_(False).to(device)


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


def take_step(
    run: Run[Network],
    recipe: Recipe,
    batch: tuple[Clip, int, bool],
    team: Processes,
    imitation: Callable[[Clip], Tensor] | None = None,
) -> float:
    """Take one step of the optimiser and return its loss, the mean over all clips.

    `batch` is this process's clips, the number of all, and whether they have a late object.
    `imitation` is the loss of each clip in phases that imitate.
    Raises VostoolError if the loss is not a number; the weights are then as they were.
    """
    clip, count, late = batch
    device, half = clip.images.device.type, recipe.precision == "bf16"
    phase = recipe.phase(run.step)
    with torch.autocast(device, dtype=torch.bfloat16, enabled=half):
        if phase.imitate and imitation is not None:
            losses = imitation(clip)
        else:
            losses = unroll(run.network, clip, late=late, cycle=phase.cycle, gamma=recipe.gamma)
    loss = losses.sum() / count
    told = team.total(loss.detach()).item()
    if not math.isfinite(told):
        raise VostoolError(f"the loss is {told} at step {run.step}; the last checkpoint is good")
    for group in run.optimizer.param_groups:
        group["lr"] = group["peak"] * learning_rate(run.step, recipe)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    team.add_up(run.network.parameters())
    if recipe.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(run.network.parameters(), recipe.clip_norm)
    run.optimizer.step()
    run.step += 1
    # a young average must not hold on to its random start
    decay = min(recipe.average, run.step / (run.step + 10))
    with torch.no_grad():
        for mean, now in zip(run.average.parameters(), run.network.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
    return told


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: torch.device,
    resume: bool = False,
    report: Report = lambda entry: None,
    team: Processes = ALONE,
    stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Run a recipe and return the path of the weights, `folder`/weights.safetensors.

    The weights are the averaged ones: those that did best on the clips held out, or without
    such clips the last. `report` is called with each entry of the log, `folder`/log.jsonl;
    `stop` is asked after each step, and ends the run with KeyboardInterrupt once it is saved.
    Raises OutputError if the folder holds a run and `resume` is not set, InputError if it
    holds none to resume, WeightsError if it holds one of another network.
    """
    fewest = recipe.clips or max(1, recipe.objects // (recipe.most if recipe.several else 1))
    if fewest < team.count:
        raise UsageError(f"a step may have {fewest} clips, too few for {team.count} processes")
    checkpoint = folder / "checkpoint.pt"
    claim(checkpoint, resume)
    library = load_library(recipe, device)
    teacher = load_teacher(recipe, device)
    run = start_run(recipe, device)
    make_folder(folder)
    if resume:
        run.load(checkpoint, device)
    if team.first:
        text = recipe.model_dump_json(indent=2) + "\n"
        (folder / "recipe.json").write_text(text, encoding="utf-8")
    with Log(folder, report, team.first) as log:
        course = Course(recipe, folder, library, log, team, device, teacher)
        while run.step < recipe.steps:
            advance(run, course)
            if team.any(stop(), device):
                course.save(run)
                raise KeyboardInterrupt
    weights = folder / "weights.safetensors"
    if team.first and not library.held_out:
        export(run, recipe, weights)
    return weights


@dataclass
class Course:
    """All about a run that is not its state."""

    recipe: Recipe
    folder: Path
    library: Library
    log: Log
    team: Processes
    device: torch.device
    teacher: Stm | None = None
    losses: list[float] = field(default_factory=list)  # since the last entry of the log
    since: float = field(default_factory=time.perf_counter)

    def save(self, run: Run[Stm]) -> None:
        """Write the checkpoint."""
        if self.team.first:
            run.save(self.folder / "checkpoint.pt")

    def tell(self, step: int) -> None:
        """Log the mean loss and time of the steps since the last time."""
        count, now = len(self.losses), time.perf_counter()
        self.log.write(
            step,
            loss=sum(self.losses) / count,
            rate=learning_rate(step, self.recipe),
            seconds_per_step=(now - self.since) / count,
        )
        self.losses, self.since = [], now


def advance(run: Run[Stm], course: Course) -> None:
    """Take one step, and where it is time log, validate and save."""
    recipe, team = course.recipe, course.team
    batch = draw_batch(course.library, recipe, run.step, course.device, team.share)
    imitation = course.teacher and partial(imitate, run.network, course.teacher)
    course.losses.append(take_step(run, recipe, batch, team, imitation))
    last = run.step == recipe.steps
    if run.step % recipe.log_every == 0 or last:
        course.tell(run.step)
    if team.first and (run.step % recipe.validate_every == 0 or last):
        course.log.show(run.step, "clip", lambda: picture(run.average, batch[0], batch[2]))
        judge(run, course)
    if run.step % recipe.save_every == 0 or last:
        course.save(run)


def judge(run: Run[Stm], course: Course) -> None:
    """Score the averaged weights on the clips held out; write them if they are the best."""
    held_out = course.library.held_out
    if not held_out:
        return
    score = validate(run.average, held_out, course.recipe.validate_size, course.device)
    best = max(run.scores.values(), default=-1.0)
    run.scores[str(run.step)] = score
    course.log.write(run.step, held_out_j_and_f=score)
    if score > best:
        export(run, course.recipe, course.folder / "weights.safetensors")


def export(run: Run[Stm], recipe: Recipe, path: Path) -> None:
    """Write the averaged weights in 16 bits, with settings, recipe and scores."""
    card = {
        "recipe": recipe.model_dump(mode="json"),
        "step": run.step,
        "held_out": recipe.hold_out,
        "held_out_j_and_f": run.scores,
    }
    save_checkpoint(path, run.average, card)


def export_run(recipe: Recipe, folder: Path, path: Path) -> Path:
    """Write the averaged weights of a run as its last checkpoint has them."""
    checkpoint, cpu = folder / "checkpoint.pt", torch.device("cpu")
    claim(checkpoint, resume=True)
    run = start_run(recipe, cpu)
    run.load(checkpoint, cpu)
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder to write weights to")
    export(run, recipe, path)
    return path


def claim(checkpoint: Path, resume: bool) -> None:
    """See that there is a run to resume, or none to overwrite."""
    if resume and not checkpoint.exists():
        raise InputError(f"{checkpoint}: expected a run to resume, found none")
    if checkpoint.exists() and not resume:
        raise OutputError(
            f"{checkpoint.parent}: holds a run already; --resume it or choose another folder"
        )
