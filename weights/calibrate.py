"""Write weights whose attention is softer, or sharper, than training left it.

    python weights/calibrate.py OUT.safetensors IN.safetensors --attention 0.65
        [--set SETTING=VALUE]

Training remembers one or two near frames, inference up to eight, most of which it has predicted.
`--attention` multiplies the logits of the attention by a factor, which lies in the keys from then
on. `--set` changes a setting that no weights hang on, such as annotated_weight=2.
"""

import argparse
from pathlib import Path

import torch

from vostool.model.checkpoint import load_checkpoint, read_header, save_checkpoint
from vostool.model.stm import Stm


def main() -> None:
    """Scale and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--attention", type=float, default=1.0, metavar="FACTOR")
    parser.add_argument("--set", action="append", default=[], metavar="SETTING=VALUE")
    given = parser.parse_args()
    network = load_checkpoint(given.weights, changes=dict(each.split("=", 1) for each in given.set))
    if not isinstance(network, Stm) or network.settings.keys != "shared":
        parser.error("expected weights of an Stm whose query encoder makes the keys of the memory")
    if network.settings.memory == "gcm":
        parser.error("a memory of contexts, gcm, has no attention")
    if not given.attention > 0:
        parser.error(f"--attention {given.attention}: expected a number above 0")
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if name.startswith("query_key."):  # of query and memory alike: similarity is quadratic
                weight.mul_(given.attention**0.5)
    card = {
        "calibration_of": read_header(given.weights).get("card"),
        "attention": given.attention,
        "set": given.set,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(given.out, network, card)


if __name__ == "__main__":
    main()
