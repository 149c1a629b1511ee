"""`vostool train`: a recipe in, weights out.

A step draws some clips, propagates the first frame's masks through each with the very
loop that inference uses, and adds up the loss of every predicted frame and, where the
recipe says so, of the cycle back from it (journal Eq. 3).
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vostool.datasets.sequences import InMemory
from vostool.device import choose_precision
from vostool.errors import InputError, TrainingError, UsageError, WeightsError
from vostool.evaluate.metrics import score_frame
from vostool.evaluate.results import ObjectScores, summary
from vostool.files import make_folder, write_text
from vostool.model.checkpoint import load_checkpoint
from vostool.model.interface import Reference, Segmenter
from vostool.model.stm import Stm
from vostool.model.weights import find_weights
from vostool.preprocess import label_map, object_tensor, resize, working_size
from vostool.propagation.cycle import cycle_loss
from vostool.propagation.frame_loop import Annotation, Prediction, References, propagate
from vostool.propagation.losses import mask_loss
from vostool.train.clips import Clip
from vostool.train.distributed import ALONE, Processes
from vostool.train.metrics_log import Log, Report
from vostool.train.recipe import Recipe
from vostool.train.sampler import Library, draw_batch, load_library
from vostool.train.state import (
    CHECKPOINT,
    WEIGHTS,
    Network,
    Run,
    claim,
    export,
    resume_run,
    start_run,
)

MEMORY_ENCODER = ("memory_stem.", "mask_stem.", "memory_body.", "memory_value.")
RECOVERY_HINT = "--export what there is, and begin a run from it with a lower learning_rate"


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
    for prediction, masks, known in zip(frames, clip.masks[1:], clip.known[1:], strict=True):
        total = total + known * mask_loss(prediction.masks, masks, gamma)
        if cycle and not late:
            visible = torch.where(known.view(-1, 1, 1, 1), masks, prediction.masks.detach()) > 0.5
            shown = visible[:, 1:].flatten(2).any(dim=2).all(dim=1)  # (B,)
            back = cycle_loss(network, prediction.features, prediction.masks, reference, gamma)
            total = total + shown * back
    return total / (len(clip.images) - 1)


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
    for index, prediction in enumerate(propagate(images, given, network)):
        if index in sequence.annotated and 0 < index < sequence.length - 1:
            labels = label_map(prediction.masks, prediction.ids, (height, width))
            scores.append(score_frame(truth[index], labels, ids))
    return [
        ObjectScores(j=[j for j, _ in values], f=[f for _, f in values])
        for values in zip(*scores, strict=True)
    ]


@torch.no_grad()
def picture(network: Segmenter[Any, Any], clip: Clip, late: bool) -> Tensor:
    """Return the first clip with its predictions in red and green, (3, H, T W)."""
    frames = []
    for image, prediction in zip(clip.images, forward(network, clip, late), strict=True):
        mask = torch.nn.functional.pad(prediction.masks[0, 1:3], (0, 0, 0, 0, 0, 1))[:2]
        tint = torch.cat([mask, torch.zeros_like(mask[:1])])
        frames.append(image[0] * (1 - 0.5 * mask.amax(dim=0)) + 0.5 * tint)
    return torch.cat(frames, dim=2)


def load_teacher(recipe: Recipe, device: torch.device) -> Stm | None:
    """Load the network that a recipe has for phases that imitate one.

    Raises WeightsError if it remembers other values than the network to be trained.
    """
    if recipe.teacher is None:
        return None
    teacher = load_checkpoint(find_weights(str(recipe.teacher)))
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
    batch: tuple[Clip, int, bool],
    team: Processes,
    imitation: Callable[[Clip], Tensor] | None = None,
) -> float:
    """Take one step of the optimiser and return its loss, the mean over all clips.

    `batch` is this process's clips, the number of all, and whether they have a late object.
    `imitation` is the loss of each clip in phases that imitate.
    Raises TrainingError if the loss or a gradient is not a finite number, with the weights
    unchanged, or if the step leaves a weight that is none.
    """
    clip, count, late = batch
    recipe = run.recipe
    device = clip.images.device
    half = choose_precision(recipe.precision, device) is torch.bfloat16
    phase = recipe.phase(run.step)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        if phase.imitate and imitation is not None:
            losses = imitation(clip)
        else:
            losses = unroll(run.network, clip, late=late, cycle=phase.cycle, gamma=recipe.gamma)
    loss = losses.sum() / count
    loss_value = team.total(loss.detach()).item()
    if not math.isfinite(loss_value):
        raise TrainingError(f"the loss is {loss_value} at step {run.step}; {RECOVERY_HINT}")
    for group in run.optimizer.param_groups:
        group["lr"] = group["peak"] * learning_rate(run.step, recipe)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    team.all_reduce_gradients(run.network.parameters())
    longest = recipe.clip_norm or math.inf
    length = float(torch.nn.utils.clip_grad_norm_(run.network.parameters(), longest))
    if not math.isfinite(length):
        raise TrainingError(f"the gradient is {length} at step {run.step}; {RECOVERY_HINT}")
    run.optimizer.step()
    size = float(torch.nn.utils.get_total_norm(list(run.network.parameters())))
    if not math.isfinite(size):
        raise TrainingError(f"a weight is not finite after step {run.step}; {RECOVERY_HINT}")
    run.step += 1
    # a young average must not hold on to its random start
    decay = min(recipe.average, run.step / (run.step + 10))
    with torch.no_grad():
        for mean, now in zip(run.average.parameters(), run.network.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
    return loss_value


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
    holds none to resume or one of other data, UsageError if it holds one of another recipe.
    """
    fewest = recipe.clips or max(1, recipe.objects // (recipe.most if recipe.several else 1))
    if fewest < team.count:
        raise UsageError(f"a step may have {fewest} clips, too few for {team.count} processes")
    checkpoint = folder / CHECKPOINT
    if resume:
        run = resume_run(recipe, checkpoint, device)
    else:
        claim(folder)
        run = start_run(recipe, device)
    recipe = run.recipe
    library = load_library(recipe, device)
    teacher = load_teacher(recipe, device)
    if resume and run.data != library.counts:
        raise InputError(f"{folder}: its run had other data: {run.data}, now {library.counts}")
    run.data = library.counts
    make_folder(folder)
    team.wait()  # or one that is late finds what the first has written
    if team.first:
        write_text(folder / "recipe.json", recipe.model_dump_json(indent=2) + "\n")
        if not resume:
            run.save(checkpoint)
    with Log(folder, report, team.first, run.step) as log:
        context = TrainContext(folder, library, log, team, device, teacher, run.step)
        while run.step < recipe.steps:
            advance(run, context)
            if team.any(stop(), device):
                context.save(run)
                raise KeyboardInterrupt
    weights = folder / WEIGHTS
    if team.first and not library.held_out:
        export(run, weights)
    return weights


@dataclass
class TrainContext:
    """All about a run that is not its state."""

    folder: Path
    library: Library
    log: Log
    team: Processes
    device: torch.device
    teacher: Stm | None = None
    last_logged_step: int = 0  # the step of the last entry of the log, or that it goes on from
    since: float = field(default_factory=time.perf_counter)  # when that was

    def save(self, run: Run[Stm]) -> None:
        """Write the checkpoint."""
        if self.team.first:
            run.save(self.folder / CHECKPOINT)

    def tell(self, run: Run[Stm]) -> None:
        """Log the rate of the last step, and mean loss and time of those since the last time."""
        now = time.perf_counter()
        self.log.write(
            run.step,
            loss=sum(run.losses) / len(run.losses),
            learning_rate=run.optimizer.param_groups[0]["lr"],
            seconds_per_step=(now - self.since) / (run.step - self.last_logged_step),
        )
        run.losses, self.last_logged_step, self.since = [], run.step, now


def advance(run: Run[Stm], context: TrainContext) -> None:
    """Take one step, and where it is time log, validate and save."""
    recipe, team = run.recipe, context.team
    batch = draw_batch(context.library, recipe, run.step, context.device, team.shard)
    imitation = context.teacher and partial(distillation_loss, run.network, context.teacher)
    run.losses.append(take_step(run, batch, team, imitation))
    last = run.step == recipe.steps
    if run.step % recipe.log_every == 0 or last:
        context.tell(run)
    if team.first and (run.step % recipe.validate_every == 0 or last):
        context.log.show(run.step, "clip", lambda: picture(run.average, batch[0], batch[2]))
        judge(run, context)
    if run.step % recipe.save_every == 0 or last:
        context.save(run)


def judge(run: Run[Stm], context: TrainContext) -> None:
    """Score the averaged weights on the clips held out; write them if they are the best."""
    held_out = context.library.held_out
    if not held_out:
        return
    score = validate(run.average, held_out, run.recipe.validate_size, context.device)
    best = max(run.scores.values(), default=-1.0)
    run.scores[str(run.step)] = score
    context.log.write(run.step, held_out_j_and_f=score)
    if score > best:
        export(run, context.folder / WEIGHTS)
