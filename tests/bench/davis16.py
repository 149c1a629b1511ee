"""Score the command line on DAVIS-2016: J of every validation clip, through `vostool segment`.

    python -m tests.bench.davis16 DAVIS-2016 -o OUT [options of vostool segment ...]

J is the mean over a clip's frames without the first and the last, as the benchmark has it.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from vostool.data.layout import clip_names, clip_source, masks_root
from vostool.media.masks import read_mask
from vostool.metrics import jaccard


def score(truth: Path, predicted: Path) -> float:
    """Return the mean J of a clip's masks against its truth, both as one object."""
    frames = sorted(truth.glob("*.png"))[1:-1]
    values = [
        jaccard(
            read_mask(frame, allow_empty=True, doubt=False) > 0,
            read_mask(predicted / frame.name, allow_empty=True, doubt=False) > 0,
        )
        for frame in frames
    ]
    return float(np.mean(values))


def main() -> None:
    """Segment and score every clip, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--list", default="ImageSets/2016/val.txt", help="the clips to score")
    arguments, options = parser.parse_known_args()
    scores, frames, seconds = [], 0, 0.0
    for name in clip_names(arguments.root, Path(arguments.list)):
        truth, folder = masks_root(arguments.root) / name, arguments.output / name
        command = ["segment", str(clip_source(arguments.root, name)), "--mask"]
        command += [str(truth / "00000.png"), "-o", str(folder), "--json", "--quiet", *options]
        done = subprocess.run(
            [sys.executable, "-m", "vostool", *command], check=True, stdout=subprocess.PIPE
        )
        report = json.loads(done.stdout)
        frames, seconds = frames + report["frames"], seconds + report["seconds"]["network"]
        scores.append(score(truth, folder / "masks"))
        print(f"{name:20} J {scores[-1]:.3f}", flush=True)
    print(f"{'mean':20} J {np.mean(scores):.4f}   network alone {frames / seconds:.1f} frames/s")


if __name__ == "__main__":
    main()
