"""Repair a frame of a finished run; does it give the bytes of a run with both masks, and how soon?

    python -m tests.bench.repair VIDEO --mask MASK.png [--frames 80] [--at 50] [--size N]

The video is segmented, and a mask of one of its frames, moved by a few pixels, is given back with
--resume. Printed is what differs from a run that had both masks from the start, and the seconds
of the repair as a share of that run's. Returns 1 if anything differs.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tests.bench.kills import differences
from vostool.allocator import bound_arenas
from vostool.defaults import CHECK_EVERY, WEIGHTS
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.media.masks import read_mask, write_mask
from vostool.segment.job import Job
from vostool.segment.run import segment

MOVED = 4  # pixels to the right


def main() -> int:
    """Run, repair, and run again with both masks; print how they compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("--mask", required=True)
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--at", type=int, default=50, help="the frame that is repaired")
    parser.add_argument("--size", type=int)
    parser.add_argument("--weights", default=WEIGHTS)
    arguments = parser.parse_args()
    bound_arenas()
    model = load_predictor(ModelOptions(size=arguments.size, weights=arguments.weights))
    with TemporaryDirectory(prefix="vostool-repair-") as place:
        folder, fixed = Path(place), Path(place) / "fixed.png"
        job = Job(
            arguments.video,
            (arguments.mask,),
            folder / "repaired",
            end=arguments.frames,
            check=CHECK_EVERY,
        )
        segment(job, model)
        found = read_mask(job.output / "masks" / f"{arguments.at:05d}.png")
        write_mask(fixed, np.roll(found, MOVED, axis=1))
        both = replace(job, masks=(*job.masks, f"{arguments.at}:{fixed}"))
        repair = segment(replace(both, resume=True), model).seconds
        whole = segment(replace(both, output=folder / "whole"), model).seconds
        other = differences(job.output, folder / "whole")
    print(f"repair at frame {arguments.at}: {repair.frames} frames in {repair.total:.2f} s")
    print(f"whole: {whole.frames} frames in {whole.total:.2f} s")
    print(f"{repair.total / whole.total:.3f} of the time; differences: {other or 'none'}")
    return int(bool(other))


if __name__ == "__main__":
    sys.exit(main())
