"""`vostool train`: a recipe in, weights out.

A step draws some clips, propagates the first frame's masks through each with the frame
loop of inference, and sums the loss of every predicted frame and, where the
recipe says so, of the cycle back from it (journal Eq. 3).
"""

import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from vostool.device import choose_precision, forbid_tf32
from vostool.errors import InputError, TrainingError, UsageError
from vostool.files import make_folder, write_text
from vostool.model.interface import Segmenter
from vostool.model.stm import Stm
from vostool.propagation.references import EVERY_FRAME, REFERENCE_SETS, References
from vostool.train.batches import CPU, Batch, draw_ahead, worker_count
from vostool.train.clips import Clip
from vostool.train.distillation import distillation_loss, load_teacher
from vostool.train.distributed import ALONE, Processes
from vostool.train.metrics_log import Log, Report
from vostool.train.optimizer import learning_rate
from vostool.train.recipe import Recipe
from vostool.train.sampler import Library, check_roots, load_library
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
from vostool.train.unrolling import forward, unroll
from vostool.train.validation import validate

RECOVERY_HINT = "--export what there is, and begin a run from it with a lower learning_rate"


def remembered_frames(recipe: Recipe, step: int) -> References:
    """Draw which frames of its clips a step remembers: all, or the first alone."""
    dropped = Random(f"{recipe.seed}-{step}-memory").random() < recipe.memory_dropout
    return REFERENCE_SETS["first"] if dropped else EVERY_FRAME


@torch.no_grad()
def picture(network: Segmenter[Any, Any], clip: Clip, late: bool) -> Tensor:
    """Return the first clip with its predictions in red and green, (3, H, T W)."""
    frames = []
    for image, prediction in zip(clip.images, forward(network, clip, late), strict=True):
        mask = torch.nn.functional.pad(prediction.masks[0, 1:3], (0, 0, 0, 0, 0, 1))[:2]
        tint = torch.cat([mask, torch.zeros_like(mask[:1])])
        frames.append(image[0] * (1 - 0.5 * mask.amax(dim=0)) + 0.5 * tint)
    return torch.cat(frames, dim=2)


def take_step(
    run: Run[Network],
    batch: Batch,
    team: Processes,
    distillation: Callable[[Clip], Tensor] | None = None,
) -> float:
    """Take one step of the optimiser and return its loss, the mean over all clips.

    `batch` is this process's clips, the number of all, and whether they have a late object.
    `distillation` is the loss of each clip in phases that distil.
    Raises TrainingError if the loss or a gradient is not a finite number, with the weights
    unchanged, or if the step leaves a weight that is none.
    """
    clip, count, late = batch
    recipe = run.recipe
    loss = clip_losses(run, clip, late, distillation).sum() / count
    for group in run.optimizer.param_groups:
        group["lr"] = group["peak"] * learning_rate(run.step, recipe)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    # read only now: it waits for the GPU, which is to have the backward pass to do meanwhile
    loss_value = team.total(loss.detach()).item()
    if not math.isfinite(loss_value):
        raise TrainingError(f"the loss is {loss_value} at step {run.step}; {RECOVERY_HINT}")
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
    update_average(run)
    return loss_value


def clip_losses(
    run: Run[Network], clip: Clip, late: bool, distillation: Callable[[Clip], Tensor] | None
) -> Tensor:
    """Return the loss of each clip of a step, (B,), in the precision of the recipe."""
    recipe, device = run.recipe, clip.images.device
    half = choose_precision(recipe.precision, device) is torch.bfloat16
    phase = recipe.phase(run.step)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        if phase.distill and distillation is not None:
            return distillation(clip)
        return unroll(
            run.network,
            clip,
            late=late,
            cycle=phase.cycle,
            gamma=recipe.gamma,
            references=remembered_frames(recipe, run.step),
        )


@torch.no_grad()
def update_average(run: Run[Network]) -> None:
    """Move the averaged weights toward those after the latest step."""
    # the average must soon forget its random initialisation
    decay = min(run.recipe.average, run.step / (run.step + 10))
    for mean, now in zip(run.average.parameters(), run.network.parameters(), strict=True):
        mean.lerp_(now, 1 - decay)


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: torch.device,
    resume: bool = False,
    report: Report = lambda entry: None,
    progress: Callable[[int, float], None] = lambda step, loss: None,
    team: Processes = ALONE,
    stop: Callable[[], bool] = lambda: False,
    workers: int | None = None,
) -> Path:
    """Run a recipe and return the path of the weights, `folder`/weights.safetensors.

    The weights are the averaged ones: those that did best on the clips held out, or without
    such clips the last. `report` is called with each entry of the log, `folder`/log.jsonl,
    `progress` with the number of steps taken and the loss after each; `stop` is asked after each
    step, and ends the run with KeyboardInterrupt once it is saved. `workers` is how many processes
    draw the clips, as in `worker_count`.
    Raises OutputError if the folder holds a run and `resume` is not set, InputError if it
    holds none to resume or one of other data, UsageError if it holds one of another recipe.
    """
    check_share(recipe, team)
    run = open_run(recipe, folder, device, resume)
    recipe = run.recipe
    if recipe.precision == "fp32":
        forbid_tf32()
    workers = worker_count(workers, device, team.count)
    library = load_library(recipe, CPU if workers else device)
    teacher = load_teacher(recipe, device)
    if resume and run.data != library.counts:
        raise InputError(f"{folder}: its run had other data: {run.data}, now {library.counts}")
    run.data = library.counts
    make_folder(folder)
    team.wait()  # or a late process would find what the first has written
    if team.first:
        write_text(folder / "recipe.json", recipe.model_dump_json(indent=2) + "\n")
        if not resume:
            run.save(folder / CHECKPOINT)
    with Log(folder, report, team.first, run.step) as log:
        context = TrainContext(folder, library, log, team, device, teacher, run.step)
        steps = range(run.step, recipe.steps)
        batches = draw_ahead(library, recipe, steps, device, team.shard, workers)
        with closing(batches):
            for batch in batches:
                loss = advance(run, context, batch)
                progress(run.step, loss)
                if team.any(stop(), device):
                    context.save(run)
                    raise KeyboardInterrupt
    weights = folder / WEIGHTS
    if team.first and not library.held_out:
        export(run, weights)
    return weights


def check_share(recipe: Recipe, team: Processes) -> None:
    """Raise UsageError if a step may have fewer clips than there are processes."""
    most_objects = recipe.max_objects if recipe.multi_object_share else 1
    fewest = recipe.clips or max(1, recipe.objects // most_objects)
    if fewest < team.count:
        raise UsageError(f"a step may have {fewest} clips, too few for {team.count} processes")


def open_run(recipe: Recipe, folder: Path, device: torch.device, resume: bool) -> Run[Stm]:
    """Return the run that a folder holds, or a new one; raises what `train` does."""
    if resume:
        return resume_run(recipe, folder / CHECKPOINT, device)
    claim(folder)
    check_roots(recipe)  # before anything is downloaded
    return start_run(recipe, device)


@dataclass
class TrainContext:
    """What a run needs besides its state."""

    folder: Path
    library: Library
    log: Log
    team: Processes
    device: torch.device
    teacher: Stm | None = None
    last_logged_step: int = 0  # the step of the last log entry, or the step resumed from
    since: float = field(default_factory=time.perf_counter)  # when that was

    def save(self, run: Run[Stm]) -> None:
        """Write the checkpoint."""
        if self.team.first:
            run.save(self.folder / CHECKPOINT)

    def log_progress(self, run: Run[Stm]) -> None:
        """Log the rate of the last step, and mean loss and time of those since the last time."""
        now = time.perf_counter()
        self.log.write(
            run.step,
            loss=sum(run.losses) / len(run.losses),
            learning_rate=run.optimizer.param_groups[0]["lr"],
            seconds_per_step=(now - self.since) / (run.step - self.last_logged_step),
        )
        run.losses, self.last_logged_step, self.since = [], run.step, now


def advance(run: Run[Stm], context: TrainContext, batch: Batch) -> float:
    """Take one step on a batch, log, validate and save where that is due, and return the loss."""
    recipe, team = run.recipe, context.team
    distillation = context.teacher and partial(distillation_loss, run.network, context.teacher)
    loss = take_step(run, batch, team, distillation)
    run.losses.append(loss)
    last = run.step == recipe.steps
    if run.step % recipe.log_every == 0 or last:
        context.log_progress(run)
    if team.first and (run.step % recipe.validate_every == 0 or last):
        context.log.show(run.step, "clip", lambda: picture(run.average, batch[0], batch[2]))
        validate_average(run, context)
    if run.step % recipe.save_every == 0 or last:
        context.save(run)
    return loss


def validate_average(run: Run[Stm], context: TrainContext) -> None:
    """Validate the averaged weights on the held-out clips; export them if they are the best."""
    held_out = context.library.held_out
    if not held_out:
        return
    score = validate(run.average, held_out, run.recipe.validate_size, context.device)
    best = max(run.scores.values(), default=-1.0)
    run.scores[str(run.step)] = score
    context.log.write(run.step, held_out_j_and_f=score)
    if score > best:
        export(run, context.folder / WEIGHTS)
