"""Outputs to look at: `side-by-side`, `sheet` and `preview`.

A sheet and a preview show frames that are evenly spaced over the whole video. How long that is
need not be known: whenever there are too many, every other one is dropped.
"""

import io
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from vostool.files import remove, write_bytes
from vostool.inference.soft import SegmentedFrame
from vostool.media.frame import Rgb
from vostool.media.writer import Pixels
from vostool.segment.writers.film import Film
from vostool.segment.writers.interface import Source, Writer

MARGIN = 4  # pixels between the pictures of a sheet


class SideBySide(Film):
    """side-by-side.mp4."""

    help = "the video beside the video with its objects tinted, and its sound"
    file = "side-by-side.mp4"

    @property
    def size(self) -> tuple[int, int]:
        """Twice the width of the video."""
        width, height = super().size
        return 2 * width, height

    def picture(self, segmented: SegmentedFrame) -> Pixels:
        """Return a frame, and the same with its objects tinted."""
        return np.hstack([segmented.frame.rgb, self.source.settings.paint(segmented)])


class Summary(Writer):
    """A file made at the end, of frames that are evenly spaced over the video."""

    most: ClassVar[int]  # frames
    width: ClassVar[int]  # of each, in pixels

    def __init__(self, folder: Path, source: Source, variant: str = "") -> None:
        """Prepare to keep frames."""
        super().__init__(folder, source, variant)
        self._kept: list[tuple[int, Rgb]] = []
        self._frames, self._every = 0, 1

    @property
    def part(self) -> Path:
        """What a kill may leave."""
        return self.path.with_name(f"{self.path.name}.part")

    def replaced(self) -> list[Path]:
        """Return the file, or its part."""
        return [path for path in (self.path, self.part) if path.exists()]

    def begin(self) -> None:
        """Begin with no frames."""
        self._kept, self._frames, self._every = [], 0, 1

    def resume(self, frames: int) -> int:
        """Start again, from labels that are there."""
        for path in self.replaced():
            remove(path)
        self.begin()
        return 0

    def add(self, segmented: SegmentedFrame) -> None:
        """Keep a frame, if its turn has come."""
        if self._frames % self._every == 0:
            if len(self._kept) == self.most:
                self._kept, self._every = self._kept[::2], 2 * self._every
            if self._frames % self._every == 0:
                painted = self.source.settings.paint(segmented)
                small = shrunk(painted, self.width, self.source.info.pixel_aspect)
                self._kept.append((segmented.frame.index, small))
        self._frames += 1

    def finish(self) -> None:
        """Write the file."""
        write_bytes(self.path, self.encode(self._kept))

    def stop(self, problem: BaseException) -> None:
        """Write what there is under the name of the part, if that is possible."""
        with suppress(Exception):  # the problem is reported
            if self._kept:
                self.part.write_bytes(self.encode(self._kept))

    @property
    def written(self) -> Path:
        """The file, or its part."""
        return self.part if self.part.exists() else self.path

    @abstractmethod
    def encode(self, frames: list[tuple[int, Rgb]]) -> bytes:
        """Return the file of some frames, each with its number."""


def shrunk(rgb: Rgb, most: int, pixel_aspect: Fraction) -> Rgb:
    """Return a picture at most so wide, of square pixels; `pixel_aspect` is width / height."""
    width = rgb.shape[1] * float(pixel_aspect)
    scale = min(1.0, most / width)
    size = max(1, round(width * scale)), max(1, round(rgb.shape[0] * scale))
    if size == rgb.shape[1::-1]:
        return rgb
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


class Sheet(Summary):
    """sheet.png."""

    help = "one picture with up to 24 frames from all over the video, their objects tinted"
    file = "sheet.png"
    most = 24
    width = 480

    def encode(self, frames: list[tuple[int, Rgb]]) -> bytes:
        """Return a PNG with the frames in rows, each with its number."""
        import imageio.v3 as iio  # slow to import, and seldom needed

        height, width = frames[0][1].shape[:2]
        columns = min(len(frames), max(1, round((len(frames) * height / width) ** 0.5 * 1.4)))
        rows = -(-len(frames) // columns)
        across, down = width + MARGIN, height + MARGIN
        whole = np.full((rows * down - MARGIN, columns * across - MARGIN, 3), 255, np.uint8)
        for place, (number, rgb) in enumerate(frames):
            top, left = place // columns * down, place % columns * across
            whole[top : top + height, left : left + width] = numbered(rgb, number)
        return iio.imwrite("<bytes>", whole, extension=".png")


def numbered(rgb: Rgb, number: int) -> Rgb:
    """Return a picture with a number in its corner, white with a dark rim."""
    marked, size = rgb.copy(), max(0.3, rgb.shape[1] / 600)
    where = (round(8 * size), round(28 * size))
    for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 1.5)):
        stroke = max(1, round(thickness * size))
        cv2.putText(
            marked, str(number), where, cv2.FONT_HERSHEY_SIMPLEX, size, colour, stroke, cv2.LINE_AA
        )
    return marked


class Preview(Summary):
    """preview.gif or preview.webp."""

    help = "a small animation"
    file = "preview"
    most = 48
    width = 320
    variants: ClassVar[Mapping[str, str]] = {
        "gif": "a small animation of up to 48 frames from all over the video, GIF",
        "webp": "... animated WebP: smaller, and in all colours",
    }
    seconds: ClassVar[float] = 6.0  # at most, of all frames

    @classmethod
    def file_of(cls, variant: str) -> str:
        """Return the name with the suffix of the kind."""
        return f"{cls.file}.{variant}"

    def encode(self, frames: list[tuple[int, Rgb]]) -> bytes:
        """Return an animation that repeats itself."""
        import imageio.v3 as iio  # see `Sheet`

        each = round(1000 * min(0.2, self.seconds / len(frames)) / 10) * 10  # ms; GIF counts 10
        buffer = io.BytesIO()
        pictures = [rgb for _, rgb in frames]
        iio.imwrite(
            buffer, pictures, extension=f".{self.variant}", plugin="pillow", duration=each, loop=0
        )
        return buffer.getvalue()
