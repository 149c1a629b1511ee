"""The data of a recipe, and the clips that a training step draws from it.

A step's clips are a function of the recipe's seed, the step and the clip's number in it:
a resumed run draws what it would have drawn, and so do several processes that share a step.
"""

from dataclasses import dataclass, field
from random import Random

import torch

from vostool.datasets.sequences import (
    AnnotatedSequence,
    InMemory,
    keep,
    load_clips,
    load_coco,
    load_photographs,
)
from vostool.errors import InputError, UsageError
from vostool.train.clips import Clip, ClipPlan, make_clip
from vostool.train.recipe import Recipe, Source

MAX_DRAWS = 50  # clips drawn in vain before a run gives up


@dataclass(frozen=True)
class Library:
    """The sequences to train on, by what they are for."""

    videos: list[AnnotatedSequence] = field(default_factory=list)
    photographs: list[AnnotatedSequence] = field(default_factory=list)
    donors: list[AnnotatedSequence] = field(default_factory=list)  # for objects to paste
    held_out: list[InMemory] = field(default_factory=list)  # to choose weights by
    counts: dict[str, int] = field(default_factory=dict)  # of what each data set gives


def load_library(recipe: Recipe, device: torch.device) -> Library:
    """Open all data sets of a recipe; raises InputError if there is nothing to train on."""
    check_roots(recipe)
    library = Library()
    for source in recipe.data:
        for sequence in load_source(recipe, source):
            check_annotated(sequence, source, recipe)
            if sequence.name in recipe.hold_out:
                library.held_out.append(hold_out(sequence))
            else:
                place(library, source, keep(sequence, device) if source.in_memory else sequence)
                name = str(source.root)
                library.counts[name] = library.counts.get(name, 0) + 1
    missing = set(recipe.hold_out) - {sequence.name for sequence in library.held_out}
    if missing:
        raise InputError(f"hold_out names clips that the data lacks: {', '.join(sorted(missing))}")
    if not library.videos and not library.photographs:
        raise InputError("the recipe's data holds nothing to train on")
    return library


def check_roots(recipe: Recipe) -> None:
    """Raise InputError if the folder of a data set is missing."""
    for source in recipe.data:
        root = recipe.data_root / source.root
        if not root.is_dir():
            raise InputError(
                f"{root}: no such folder, expected the data set {source.root}; data sets lie under "
                "data_root: --set data_root=FOLDER"
            )


def check_annotated(sequence: AnnotatedSequence, source: Source, recipe: Recipe) -> None:
    """Raise InputError for a clip that cannot be trained on."""
    if not sequence.annotated:
        raise InputError(f"{source.root}: the clip {sequence.name!r} has no mask")
    alone = sequence.length > 1 and len(sequence.annotated) == 1 and source.use != "donors"
    if alone and not any(phase.cycle for phase in recipe.phases):
        raise InputError(
            f"{source.root}: the clip {sequence.name!r} has one mask, from which nothing is learnt "
            "without cycle = true in a phase"
        )


def place(library: Library, source: Source, sequence: AnnotatedSequence) -> None:
    """Add a sequence to the pools of its use."""
    if source.use in ("all", "clips"):
        pool = library.videos if sequence.length > 1 else library.photographs
        pool.append(sequence)
    if source.use in ("all", "donors"):
        library.donors.append(sequence)


def hold_out(sequence: AnnotatedSequence) -> InMemory:
    """Keep a clip to choose weights by; raises InputError if it gives nothing to follow."""
    held = keep(sequence, torch.device("cpu"))
    if not held.labels[0].any():
        raise InputError(f"hold_out: the first frame of {held.name!r} has no object")
    if not any(0 < frame < held.length - 1 for frame in held.annotated):
        raise InputError(f"hold_out: {held.name!r} has no mask between its first and last frame")
    return held


def load_source(recipe: Recipe, source: Source) -> list[AnnotatedSequence]:
    """List the sequences of one data set."""
    root, side = recipe.data_root / source.root, recipe.data_short_side
    if source.layout == "clips":
        return list(load_clips(root, side, source.split))
    if source.layout == "coco":
        return list(load_coco(root, source.split, side))
    return list(load_photographs(root, side, source.binary))


def draw_batch(
    library: Library,
    recipe: Recipe,
    step: int,
    device: torch.device,
    shard: slice = slice(None),
) -> tuple[Clip, int, bool]:
    """Return clips of a step, side by side at dim 1, the number of all, and if one is late.

    `shard` selects the clips of one process, by their numbers; without it, all.
    """
    plan, count = plan_step(recipe, step)
    numbers = range(count)[shard]
    if not numbers:
        raise UsageError(f"a step has {count} clips, too few to share among the processes")
    clips = [draw_clip(library, recipe, plan, step, number).to(device) for number in numbers]
    batch = Clip(
        torch.stack([clip.images for clip in clips], dim=1),  # (T, B, 3, H, W)
        torch.stack([clip.masks for clip in clips], dim=1),  # (T, B, N + 1, H, W)
        torch.stack([clip.known for clip in clips], dim=1),  # (T, B)
    )
    return batch, count, plan.late_object


def plan_step(recipe: Recipe, step: int) -> tuple[ClipPlan, int]:
    """Decide what clips a step has, and how many: all alike, so that they batch."""
    random, phase = Random(f"{recipe.seed}-{step}"), recipe.phase(step)
    multi_object = random.random() < recipe.multi_object_share
    late_object = multi_object and random.random() < recipe.late_share
    objects = random.randint(2, recipe.max_objects) if multi_object else 1
    plan = ClipPlan(
        size=phase.size,
        frames=phase.frames or recipe.frames,
        objects=objects,
        late_object=late_object,
        max_interval=recipe.max_interval(step),
        backwards=recipe.backwards,
        unknown=phase.cycle and recipe.unknown,
        noise=recipe.noise,
        motion_blur=recipe.motion_blur,
        perspective=recipe.perspective,
    )
    return plan, recipe.clips or max(1, recipe.objects // objects)


def draw_clip(library: Library, recipe: Recipe, plan: ClipPlan, step: int, number: int) -> Clip:
    """Draw one clip; raises InputError if the data has none such."""
    random, phase = Random(f"{recipe.seed}-{step}-{number}"), recipe.phase(step)
    for _ in range(MAX_DRAWS):
        from_video = random.random() < phase.videos
        pool = library.videos if from_video else library.photographs
        sequence = random.choice(pool or library.videos or library.photographs)
        distraction = random.random() < phase.paste
        count = plan.objects - 1 + distraction if phase.paste > 0 and library.donors else 0
        donors = [random.choice(library.donors) for _ in range(count)]
        # a share of 0 draws nothing: clips are then those of a recipe without the entry
        if phase.lookalike > 0 and random.random() < phase.lookalike:
            donors.append(sequence)
        clip = make_clip(sequence, donors, plan, random)
        if clip is not None:
            return clip
    found = f"step {step}: found no clip with {plan.objects} objects in {MAX_DRAWS} draws"
    if plan.objects > 1 and not library.donors:
        found += '; data with use = "all" or "donors" has objects to paste'
    elif plan.objects > 1 and phase.paste == 0:
        found += "; set paste above 0 in its phase to paste in objects"
    raise InputError(found)
