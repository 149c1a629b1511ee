"""`vostool train`: a recipe in, weights out.

A step draws some clips, propagates the first frame's masks through each with the very
loop that inference uses, and adds up the loss of every predicted frame and, where the
recipe says so, of the cycle back from it (journal Eq. 3). A step's clips are a function
of seed and step number alone, so that a resumed run goes on as if it had never stopped.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from vostool.cycle import cycle_loss
from vostool.data.clips import Clip, make_clip
from vostool.data.sequences import Sequence, load_clips, load_photographs
from vostool.errors import InputError, OutputError, VostoolError
from vostool.losses import mask_loss
from vostool.metrics import jaccard
from vostool.model.checkpoint import save_checkpoint
from vostool.model.interface import Reference
from vostool.model.stm import Stm
from vostool.prepare import resize, working_size
from vostool.propagate import Annotation, propagate
from vostool.recipe import Phase, Recipe

DRAWS = 50  # clips drawn in vain before a run gives up


@dataclass(frozen=True)
class Library:
    """The training data, in memory."""

    videos: list[Sequence]
    photographs: list[Sequence]
    donors: list[Sequence]
    held_out: list[Sequence]


def load_library(recipe: Recipe, device: torch.device) -> Library:
    """Read all data sets of a recipe; raises InputError if there is nothing to train on."""
    library = Library([], [], [], [])
    for source in recipe.data:
        root = recipe.data_root / source.root
        if source.layout == "clips":
            split = root / source.split if source.split else None
            sequences = load_clips(root, recipe.data_short_side, split)
        else:
            sequences = load_photographs(root, recipe.data_short_side)
        for sequence in sequences:
            if sequence.name in recipe.hold_out:
                library.held_out.append(sequence)
                continue
            if not source.donor:
                pool = library.videos if source.layout == "clips" else library.photographs
                pool.append(sequence.to(device))
            if source.layout == "photographs":
                library.donors.append(sequence.to(device))
    if not library.videos and not library.photographs:
        raise InputError("the recipe's data holds nothing to train on")
    return library


def draw_batch(library: Library, recipe: Recipe, step: int) -> Clip:
    """Return the clips of a step, stacked: images (T, B, 3, H, W), masks (T, B, N + 1, H, W)."""
    random = Random(f"{recipe.seed}-{step}")
    phase = recipe.phase(step)
    count = 2 if random.random() < recipe.several else 1
    wanted = max(1, recipe.objects // count)
    clips: list[Clip] = []
    for _ in range(DRAWS * wanted):
        clip = draw_clip(library, recipe, phase, count, random)
        if clip is not None:
            clips.append(clip)
        if len(clips) == wanted:
            return Clip(
                torch.stack([clip.images for clip in clips], dim=1),
                torch.stack([clip.masks for clip in clips], dim=1),
            )
    raise InputError(f"found no clip with {count} objects in {DRAWS * wanted} draws")


def draw_clip(
    library: Library, recipe: Recipe, phase: Phase, count: int, random: Random
) -> Clip | None:
    """Draw one clip from videos or photographs, with a pasted object or without."""
    from_video = random.random() < phase.videos
    pool = (library.videos if from_video else library.photographs) or library.videos
    pasted = random.random() < phase.paste or count > 1
    donor = random.choice(library.donors) if pasted and library.donors else None
    return make_clip(
        random.choice(pool or library.photographs),
        donor,
        count,
        phase.size,
        recipe.frames,
        phase.max_interval,
        random,
    )


def unroll(network: Stm, clip: Clip, cycle: bool, gamma: float) -> Tensor:
    """Return the loss of a batch of clips: forward (Eq. 4), and back again (Eq. 3)."""
    count = clip.masks.shape[2] - 1
    truth = {0: Annotation(tuple(range(1, count + 1)), clip.masks[0][:, 1:])}
    frames = propagate(clip.images, truth, network, remember_every=1)
    reference = Reference(next(frames).features, clip.masks[0])
    losses = []
    for seen, masks in zip(frames, clip.masks[1:], strict=True):
        loss = mask_loss(seen.masks, masks, gamma)
        if cycle:
            # a frame that does not show every object cannot explain the reference
            shown = (masks.amax(dim=(3, 2))[:, 1:] > 0).all(dim=1)
            loss = loss + shown * cycle_loss(network, seen.features, seen.masks, reference)
        losses.append(loss)
    return torch.stack(losses).mean()


@torch.no_grad()
def validate(network: Stm, sequences: list[Sequence], size: int, device: torch.device) -> float:
    """Return the mean J over the objects of whole clips, first and last frame left out."""
    scores = [
        score for sequence in sequences for score in score_sequence(network, sequence, size, device)
    ]
    return sum(scores) / len(scores) if scores else math.nan


def score_sequence(
    network: Stm, sequence: Sequence, size: int, device: torch.device
) -> Iterator[float]:
    """Yield J of each object, its mean over the annotated frames."""
    height, width = sequence.images.shape[2:]
    small = working_size(height, width, size, network.stride)
    ids = tuple(int(id_) for id_ in sequence.labels[0].unique() if id_)
    one_hot = torch.stack([sequence.labels[0] == id_ for id_ in ids])[None].float()
    truth = {0: Annotation(ids, resize(one_hot, small).round().to(device))}
    images = (resize(image[None].float() / 255, small).to(device) for image in sequence.images)
    scores: dict[int, list[float]] = {id_: [] for id_ in ids}
    for index, seen in enumerate(propagate(images, truth, network)):
        if index in sequence.annotated and 0 < index < len(sequence.images) - 1:
            labels = resize(seen.masks, (height, width)).argmax(dim=1)[0].cpu()
            for channel, id_ in enumerate(seen.ids, start=1):
                known = sequence.labels[index] == id_
                scores[id_].append(jaccard(known.numpy(), (labels == channel).numpy()))
    yield from (sum(values) / len(values) for values in scores.values() if values)


@dataclass
class Run:
    """The state of a training run: all that a checkpoint must hold."""

    network: Stm
    average: Stm
    optimizer: torch.optim.Optimizer
    step: int = 0

    def save(self, path: Path) -> None:
        """Write the state; atomic."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
        }
        part = path.with_name(path.name + ".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path, device: torch.device) -> None:
        """Take up a saved state."""
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


def start_run(recipe: Recipe, device: torch.device) -> Run:
    """Build network, average and optimiser as they are before the first step."""
    torch.manual_seed(recipe.seed)
    imagenet = recipe.start == "imagenet"
    state = load_file(recipe.start) if isinstance(recipe.start, Path) else None
    networks = [Stm(recipe.network, state, imagenet=imagenet) for _ in range(2)]
    networks[1].load_state_dict(networks[0].state_dict())
    for network in networks:
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    encoders, others = [], []
    for name, parameter in networks[0].named_parameters():
        if name.startswith(tuple(recipe.freeze)):
            parameter.requires_grad_(False)
        elif name.startswith(("query_stem", "query_body", "memory_stem", "memory_body")):
            encoders.append(parameter)
        else:
            others.append(parameter)
    optimizer = torch.optim.AdamW(
        [
            {"params": others, "lr": recipe.learning_rate, "peak": recipe.learning_rate},
            {
                "params": encoders,
                "lr": recipe.encoder_learning_rate,
                "peak": recipe.encoder_learning_rate,
            },
        ],
        weight_decay=recipe.weight_decay,
    )
    return Run(networks[0], networks[1].requires_grad_(False), optimizer)


def schedule(step: int, recipe: Recipe) -> float:
    """Return the learning rate as a share of its peak: linear warm-up, cosine decay to 1 %."""
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def take_step(run: Run, recipe: Recipe, clip: Clip) -> float:
    """Take one step of the optimiser on a batch of clips and return its loss.

    Raises VostoolError if the loss is not a number; the weights are then as they were.
    """
    device = clip.images.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=recipe.precision == "bf16"):
        loss = unroll(run.network, clip, recipe.phase(run.step).cycle, recipe.gamma)
    if not torch.isfinite(loss):
        raise VostoolError(f"the loss is {loss.item()} at step {run.step}")
    for group in run.optimizer.param_groups:
        group["lr"] = group["peak"] * schedule(run.step, recipe)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.network.parameters(), recipe.clip_norm)
    run.optimizer.step()
    run.step += 1
    # a young average must not hold on to its random start
    decay = min(recipe.average, run.step / (run.step + 10))
    with torch.no_grad():
        for mean, now in zip(run.average.parameters(), run.network.parameters(), strict=True):
            mean.lerp_(now, 1 - decay)
    return loss.item()


Report = Callable[[dict[str, Any]], None]


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: torch.device,
    resume: bool = False,
    report: Report = lambda entry: None,
) -> Path:
    """Run a recipe and return the path of the weights, `folder`/weights.safetensors.

    `report` is called with each entry of the log, which also goes to `folder`/log.jsonl.
    Raises OutputError if the folder holds a run and `resume` is not set, InputError if it
    holds none to resume.
    """
    checkpoint = folder / "checkpoint.pt"
    claim(folder, checkpoint, resume)
    library = load_library(recipe, device)
    run = start_run(recipe, device)
    if resume:
        run.load(checkpoint, device)
    (folder / "recipe.json").write_text(recipe.model_dump_json(indent=2) + "\n")

    def log(entry: dict[str, Any]) -> None:
        with (folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")
        report(entry)

    total, since = 0.0, time.perf_counter()
    while run.step < recipe.steps:
        total += take_step(run, recipe, draw_batch(library, recipe, run.step))
        last = run.step == recipe.steps
        if run.step % recipe.log_every == 0:
            seconds = (time.perf_counter() - since) / recipe.log_every
            log({"step": run.step, "of": recipe.steps, "loss": round(total / recipe.log_every, 4),
                 "seconds_per_step": round(seconds, 3)})  # fmt: skip
            total, since = 0.0, time.perf_counter()
        if run.step % recipe.validate_every == 0 or last:
            size = min(recipe.phase(run.step).size)
            score = validate(run.average, library.held_out, size, device)
            log({"step": run.step, "held_out_j": round(score, 4)})
        if run.step % recipe.save_every == 0 or last:
            run.save(checkpoint)
    weights = folder / "weights.safetensors"
    card = {"recipe": recipe.model_dump(mode="json"), "steps": run.step}
    save_checkpoint(weights, run.average, card)
    return weights


def claim(folder: Path, checkpoint: Path, resume: bool) -> None:
    """Make the folder of a run, or find the run in it."""
    if resume and not checkpoint.exists():
        raise InputError(f"{checkpoint}: expected a run to resume, found none")
    if checkpoint.exists() and not resume:
        raise OutputError(f"{folder}: holds a run already; --resume it or choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error
