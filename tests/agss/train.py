"""Train the network: `python -m agss.train RECIPE.toml -o FOLDER`.

The recipe, its data, the loss and the step are vostool's; of the recipe's network only
`encoder_weights` counts. A run that was stopped is resumed by the same command.
"""

import argparse
import copy
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from vostool.files import make_folder
from vostool.train.distributed import ALONE
from vostool.train.loop import take_step
from vostool.train.metrics_log import Log, Report
from vostool.train.optimizer import make_optimizer
from vostool.train.recipe import Recipe, read_recipe
from vostool.train.sampler import draw_batch, load_library
from vostool.train.state import CHECKPOINT, WEIGHTS, Run, read_checkpoint
from vostool.train.validation import validate

from .model import AgssVos, save

CPU = torch.device("cpu")


def train(recipe: Recipe, folder: Path, report: Report = lambda entry: None) -> Path:
    """Run a recipe on the CPU and return the weights' path, `folder`/weights.safetensors.

    They are the averaged ones, of the last step.
    """
    checkpoint, weights = folder / CHECKPOINT, folder / WEIGHTS
    library, run = load_library(recipe, CPU), start_run(recipe)
    make_folder(folder)
    if checkpoint.exists():
        run.load(read_checkpoint(checkpoint), checkpoint)
    with Log(folder, report, step=run.step) as log:
        while run.step < recipe.steps:
            run.losses.append(take_step(run, draw_batch(library, recipe, run.step, CPU), ALONE))
            last = run.step == recipe.steps
            if run.step % recipe.log_every == 0 or last:
                log.write(run.step, loss=sum(run.losses) / len(run.losses))
                run.losses = []
            if run.step % recipe.save_every == 0 or last:
                run.save(checkpoint)
                save(run.average, weights)
            if library.held_out and (run.step % recipe.validate_every == 0 or last):
                score = validate(run.average, library.held_out, recipe.validate_size, CPU)
                log.write(run.step, held_out_j_and_f=score)
    return weights


def start_run(recipe: Recipe) -> Run[AgssVos]:
    """Build network, average and optimiser as they are before the first step."""
    torch.manual_seed(recipe.seed)
    weights = recipe.encoder_weights
    network = AgssVos(load_file(weights) if isinstance(weights, Path) else None)
    network.to(memory_format=torch.channels_last).train()
    average = copy.deepcopy(network).requires_grad_(False).eval()
    return Run(recipe, network, average, make_optimizer(network, ("stem.", "body."), recipe))


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="agss.train", description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--set", action="append", default=[], help="change one entry: seed=1")
    given = parser.parse_args()
    recipe = read_recipe(given.recipe, given.set)
    weights = train(recipe, given.output, tell)
    sys.stdout.write(f"{weights}\n")


def tell(entry: dict[str, Any]) -> None:
    """Say an entry of the log."""
    sys.stderr.write(f"{entry}\n")


if __name__ == "__main__":
    main()
