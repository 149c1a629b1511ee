"""`vostool segment --dry-run` on the command line."""

from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from typing import TYPE_CHECKING

from vostool.cli.loading import load_model
from vostool.cli.printing import print_json, print_message
from vostool.progress import ProgressForm, show_progress

if TYPE_CHECKING:
    from vostool.benchmark.dry_run import DryRun
    from vostool.inference.options import ModelOptions
    from vostool.segment.job import Job

MANY = 5  # masks that are listed


def preview(
    job: "Job", options: "ModelOptions", as_json: bool, quiet: bool, form: ProgressForm
) -> "DryRun":
    """Print what a run would do, and return it."""
    from vostool.benchmark.dry_run import dry_run

    model = load_model(options, quiet)
    with show_progress(f"{job.input.path.name} on {model.device}", quiet, form=form) as progress:
        found = dry_run(job, model, progress)
    for warning in found.warnings:
        print_message(f"warning: {warning.message}", quiet)
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        for name, words in lines(found):
            print(f"{name:7} {words}")
    return found


def lines(found: "DryRun") -> Iterator[tuple[str, str]]:
    """Yield what a run would do, by subject."""
    options, video = found.options, found.input
    sound = ", with sound" if video.has_audio else ""
    count = "an unknown number of" if video.frames is None else video.frames
    rate = "" if video.rate is None else f" at {float(Fraction(video.rate)):g} per second"
    size = f"{video.width}x{video.height}"
    yield "reads", f"{video.path}: {size}, {count} frames{rate}, {video.codec}{sound}"
    yield "masks", "; ".join(masks(found.masks))
    height, width = found.working_size
    name = found.network.file or found.network.model
    yield "network", f"{name} on {options['device']} in {options['precision']}, {width}x{height}"
    yield "writes", f"{found.output}: {', '.join([*found.outputs, *found.beside])}"
    yield "time", f"{duration(found)} ({found.basis})"
    yield "memory", memory(found)


def masks(given: dict[int, list[int]]) -> Iterator[str]:
    """Yield the objects of the first masks."""
    for frame, ids in list(given.items())[:MANY]:
        objects = f"object{'s' * (len(ids) > 1)} {', '.join(map(str, ids))}" if ids else "none"
        yield f"frame {frame}: {objects}"
    if (more := len(given) - MANY) > 0:
        yield f"{more} more"


def duration(found: "DryRun") -> str:
    """Return how long the run would take."""
    kept = f", {found.kept} kept" if found.kept else ""
    if found.fps is None:
        return "unknown: too few frames to time"
    speed = f"{found.fps:g} frames per second"
    if found.seconds is None:
        return f"unknown, as the number of frames is: {speed}"
    left = timedelta(seconds=round(found.seconds))
    return f"about {left} for {found.to_follow} frames{kept}: {speed}"


def memory(found: "DryRun") -> str:
    """Return how much memory the run would take."""
    ram, device = found.memory.ram, found.memory.device
    held = (("RAM", ram), ("GPU memory", device))
    parts = [f"{value:.0f} MB of {name}" for name, value in held if value]
    return f"about {' and '.join(parts)}" if parts else "unknown"
