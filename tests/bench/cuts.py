"""Count the scene cuts that are found, and those that are not there, in clips without any.

    python -m tests.bench.cuts DAVIS/JPEGImages/480p --pairs 200 --seed 0

Each clip by itself must have no cut. Then the end of a random clip and a part of another are
joined, and the one cut between them must be found.
"""

import argparse
import random
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

from vostool.media.folder import read_folder
from vostool.media.frame import Frame, Rgb
from vostool.media.scene_cuts import reduced, with_scenes

PART = 12  # frames of a clip that are joined to another, at most


def cuts(pictures: Iterable[Rgb]) -> list[int]:
    """Return the numbers of the pictures that scenes begin with."""
    frames = (Frame(n, Fraction(n), rgb, "") for n, rgb in enumerate(pictures))
    return [frame.index for frame in with_scenes(frames) if frame.begins_scene]


def main() -> None:
    """Print how many cuts are found, and how many besides."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", type=Path, help="a folder of folders of frames")
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    # as small as they are compared; the channels are turned there
    clips = {
        folder.name: [reduced(frame.rgb)[..., ::-1] for frame in read_folder(folder)]
        for folder in sorted(arguments.clips.iterdir())
    }
    wrong = {name: found for name, pictures in clips.items() if (found := cuts(pictures))}
    frames = sum(map(len, clips.values()))
    print(
        f"{len(clips)} clips, {frames} frames: {sum(map(len, wrong.values()))} cuts {wrong or ''}"
    )
    chance, right, others = random.Random(arguments.seed), 0, 0
    for _ in range(arguments.pairs):
        one, other = (clips[name] for name in chance.sample(list(clips), 2))
        end, start = chance.randrange(4, len(one)), chance.randrange(len(other) - 4)
        before = one[max(0, end - PART) : end]
        shown = cuts([*before, *other[start : start + PART]])
        right += len(before) in shown
        others += len(set(shown) - {len(before)})
    print(f"{arguments.pairs} pairs joined: {right} cuts found, {others} others")


if __name__ == "__main__":
    main()
