"""Write the mean of several weights of one network, which is often better than each of them.

    python weights/mean.py OUT.safetensors A.safetensors B.safetensors [--set SETTING=VALUE]
        [--first LAYER]

Weights that were trained on from each other, or from the same start, lie in one valley, and their
mean in its middle ("model soups", Wortsman et al. 2022). `--set` changes a setting that no weights
hang on, such as memory=kmn. Layers that were added to a trained network, with `output_stride` and
`location_cue`, count as zero where a file lacks them: so they begin. Those that began at random,
each in a valley of its own, are not to be averaged: `--first decoder.skip_half` takes the layers
whose names begin so from A alone.
"""

import argparse
from pathlib import Path

import torch

from vostool.model.checkpoint import load_checkpoint, read_header, save_checkpoint

ADDED = {"output_stride", "location_cue"}  # settings with which a network has more layers


def main() -> None:
    """Average and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE")
    parser.add_argument("--first", action="append", default=[], metavar="LAYER")
    given = parser.parse_args()
    changes = dict(change.split("=", 1) for change in given.set)
    networks = [load_checkpoint(path, changes=changes) for path in given.weights]
    shapes = [network.settings.model_dump(exclude=ADDED) for network in networks]
    if any(shape != shapes[0] for shape in shapes):
        parser.error("the weights are of networks with different settings")
    first, *others = (network.state_dict() for network in networks)
    if any(name not in first for state in others for name in state):
        parser.error("the first of the weights lack layers that others have")
    for name, weight in first.items():
        if not name.startswith(tuple(given.first)):
            parts = [weight, *(state.get(name, torch.zeros_like(weight)) for state in others)]
            weight.copy_(torch.stack(parts).mean(dim=0))
    cards = [read_header(path).get("card") for path in given.weights]
    card = {"mean_of": cards, "set": changes, "layers_of_the_first": given.first}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(given.out, networks[0], card)


if __name__ == "__main__":
    main()
