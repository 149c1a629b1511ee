"""Time the drawing of a step's clips beside the step itself, and beside the plain formula.

    python -m tests.bench.draws RECIPE [--set data_root=FOLDER] [--steps 10] [--threads 1]

Times are the processor's, which other programs disturb least: the mean over the first steps of the
recipe, whose clips are drawn both ways in turn. The network has the recipe's shape and random
weights, which cost what others cost.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch

from tests.train import plain_clips
from vostool.train.distributed import ALONE
from vostool.train.loop import take_step
from vostool.train.recipe import read_recipe
from vostool.train.sampler import draw_batch, load_library
from vostool.train.state import start_run

CPU = torch.device("cpu")


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of a call, over all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Read the command line, measure and print."""
    parser = argparse.ArgumentParser(prog="tests.bench.draws", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--set", action="append", default=[], help="change one entry: seed=1")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe = read_recipe(given.recipe, given.set)
    recipe = recipe.model_copy(update={"encoder_weights": None, "init_weights": None})
    library, run = load_library(recipe, CPU), start_run(recipe, CPU)
    plain = mock.patch("vostool.train.sampler.make_clip", plain_clips.make_clip)
    times: dict[str, list[float]] = {"plain draw": [], "draw": [], "step": []}
    for step in range(-1, given.steps):  # one to warm up

        def draw(step: int = max(step, 0)) -> None:
            draw_batch(library, recipe, step, CPU)

        with plain:
            before = seconds(draw)
        now = seconds(draw)
        batch = draw_batch(library, recipe, max(step, 0), CPU)
        taken = seconds(lambda batch=batch: take_step(run, batch, ALONE))  # type: ignore[misc]
        if step >= 0:
            for name, value in zip(times, (before, now, taken), strict=True):
                times[name].append(value)
    means = {name: sum(values) / len(values) for name, values in times.items()}
    for name, mean in means.items():
        share = f"{mean / means['step']:.1%} of a step"
        sys.stdout.write(f"{name:10}  {1000 * mean:7.1f} ms  {share}\n")


if __name__ == "__main__":
    main()
