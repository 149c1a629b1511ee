"""Write the mean of several weights of one network, which is often better than each of them.

    python weights/mean.py OUT.safetensors A.safetensors B.safetensors [--set SETTING=VALUE]

Weights that were trained on from each other, or from the same start, lie in one valley, and their
mean in its middle ("model soups", Wortsman et al. 2022). `--set` changes a setting that no weights
hang on, such as memory=kmn.
"""

import argparse
from pathlib import Path

import torch

from vostool.model.checkpoint import load_checkpoint, read_header, save_checkpoint


def main() -> None:
    """Average and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("weights", type=Path, nargs="+")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE")
    given = parser.parse_args()
    changes = dict(change.split("=", 1) for change in given.set)
    networks = [load_checkpoint(path, changes=changes) for path in given.weights]
    if any(network.settings != networks[0].settings for network in networks):
        parser.error("the weights are of networks with different settings")
    states = [network.state_dict() for network in networks]
    mean = {name: torch.stack([state[name] for state in states]).mean(dim=0) for name in states[0]}
    networks[0].load_state_dict(mean)
    cards = [read_header(path).get("card") for path in given.weights]
    save_checkpoint(given.out, networks[0], {"mean_of": cards, "set": changes})


if __name__ == "__main__":
    main()
