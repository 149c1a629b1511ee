"""Outputs that are a folder with a file for every frame, by default a PNG, named as the frame."""

from abc import abstractmethod
from itertools import takewhile
from pathlib import Path
from typing import ClassVar

from vostool.files import make_folder, remove
from vostool.inference.soft import SegmentedFrame
from vostool.media.image import is_whole_png
from vostool.media.labels import LabelMap
from vostool.media.masks import read_mask, write_mask
from vostool.segment.writers.interface import Writer


class Pictures(Writer):
    """A folder of pictures (or other files), each of which is written all or nothing."""

    suffix: ClassVar[str] = ".png"
    in_any_order = True

    @property
    def pictures(self) -> Path:
        """The folder that they lie in."""
        return self.path

    def replaced(self) -> list[Path]:
        """Return the pictures of frames, but no other files in the folder."""
        if not self.pictures.is_dir():
            return []
        return [
            path
            for path in self.pictures.iterdir()
            for suffix in (self.suffix, f"{self.suffix}.part")
            if path.name.endswith(suffix) and self.source.is_frame(path.name.removesuffix(suffix))
        ]

    def begin(self) -> None:
        """Make the folder."""
        make_folder(self.pictures)

    def resume(self, frames: int) -> int:
        """Keep the pictures that are whole."""
        self.begin()
        kept = self.whole(frames)
        names = set(map(self.source.name_of, self.source.numbers(kept)))
        for path in self.replaced():
            if path.name.removesuffix(self.suffix) not in names:
                remove(path)
        return kept

    def is_complete(self, frames: int) -> bool:
        """Return whether the picture of every frame is there."""
        return self.whole(frames) == frames

    def whole(self, most: int) -> int:
        """Return how many pictures are whole, from that of the first frame on, up to so many."""
        # after a power cut a file may be there with nothing in it
        return sum(
            1 for _ in takewhile(self.is_whole, map(self.place_of, self.source.numbers(most)))
        )

    def is_whole(self, path: Path) -> bool:
        """Return whether a file is there to its very end, and a PNG undamaged by its checksums."""
        return is_whole_png(path)

    def place_of(self, number: int) -> Path:
        """Return the path of the picture of the video's frame of this number."""
        return self.pictures / f"{self.source.name_of(number)}{self.suffix}"

    def add(self, segmented: SegmentedFrame) -> None:
        """Write the picture of a frame."""
        self.write(self.pictures / f"{segmented.frame.name}{self.suffix}", segmented)

    @abstractmethod
    def write(self, path: Path, segmented: SegmentedFrame) -> None:
        """Write a picture, all or nothing."""

    def finish(self) -> None:
        """Nothing is left to do: each picture has its name as soon as it is whole."""

    def stop(self, problem: BaseException) -> None:
        """Nothing is left to do, as in `finish`."""


class Masks(Pictures):
    """The masks as indexed PNG, one object a value."""

    help = "label maps, indexed PNG: 0 the background, else an object's id"
    file = "masks"

    def read(self, number: int) -> LabelMap:
        """Return the label map of the video's frame of this number; raises MaskError."""
        return read_mask(self.place_of(number), allow_empty=True, strict=False)

    def write(self, path: Path, segmented: SegmentedFrame) -> None:
        """Write a mask."""
        write_mask(path, segmented.labels)
