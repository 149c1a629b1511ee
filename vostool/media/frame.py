"""What the readers hand out: facts about an input, and its pictures one by one.

Shapes: rgb (H, W, 3), uint8, as shown to a viewer: any rotation has been applied already.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class VideoInfo:
    """Facts about a video or a folder of images, as shown to a viewer.

    A container only claims these things; what is decoded may differ.
    """

    path: Path
    width: int  # pixels, after rotation
    height: int
    frames: int | None  # as announced, or estimated from seconds and rate; None if unknown
    rate: Fraction | None  # mean frames per second
    seconds: float | None  # duration
    rotation: int  # degrees anticlockwise from stored to shown: 0, 90, 180 or 270
    codec: str  # as FFmpeg names it: "h264", "vp9"; for a folder the kind of file: "png"
    pixel_format: str  # as FFmpeg names it: "yuv420p10le"; for a folder Pillow's mode: "RGB"
    pixel_aspect: Fraction  # width / height of one shown pixel; 1 if square or unknown
    has_audio: bool


def frame_name(number: int) -> str:
    """Return what a frame of a video is called, and its mask: 42 is "00042"."""
    return f"{number:05d}"


@dataclass(frozen=True)
class Frame:
    """One picture of a video."""

    index: int  # counts the decoded frames of the whole video from 0
    time: Fraction  # when it is shown, in seconds on the video's own clock, exact
    rgb: Rgb  # (H, W, 3), C-contiguous, rotation applied
    name: str  # "00042" for a video, the file's stem for a folder
    # the frame that its scene begins with, see `with_scenes`; 0: no cut is known before it
    scene: int = 0

    @property
    def begins_scene(self) -> bool:
        """Whether there is a cut before it."""
        return 0 < self.scene == self.index
