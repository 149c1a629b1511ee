"""Make an animated picture of a video, such as the README's of the demo.

vostool segment --demo && python -m tests.bench.animation vostool-demo/overlay.mp4 demo.gif
"""

from pathlib import Path
from typing import Annotated

import cv2
import imageio.v3 as imageio
import typer

from vostool.media.video import read_frames


def main(
    film: Annotated[Path, typer.Argument(help="A video, or a folder of frames.")],
    picture: Annotated[Path, typer.Argument(help="The GIF to write.")],
    width: Annotated[int, typer.Option(min=16, help="Width of the picture, in pixels.")] = 480,
    every: Annotated[int, typer.Option(min=1, help="Take every Nth frame.")] = 3,
) -> None:
    """Write every Nth frame of a video as an endlessly repeating GIF, at the speed of the video."""
    frames = list(read_frames(film))[::every]
    height = round(width * frames[0].rgb.shape[0] / frames[0].rgb.shape[1])
    small = [cv2.resize(f.rgb, (width, height), interpolation=cv2.INTER_AREA) for f in frames]
    seconds = float(frames[-1].time - frames[0].time) / max(1, len(frames) - 1)
    imageio.imwrite(picture, small, duration=1000 * seconds, loop=0)
    print(f"{picture}: {len(small)} frames, {picture.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    typer.run(main)
