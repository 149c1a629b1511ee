"""The soft masks of a run at the network's size, kept so that `--resume` has them again."""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vostool.errors import InputError
from vostool.files import write_bytes
from vostool.inference.prompts import GivenMasks
from vostool.inference.soft import SegmentedFrame, SoftMasks
from vostool.media.frame import VideoInfo
from vostool.media.image import open_image
from vostool.segment.writers.pictures import Pictures

IDS = "ids"  # the text in a picture that names its objects


class SoftStore(Pictures):
    """Grey PNG of 16 bits in .soft/: of every frame its background, and below it each object."""

    help = "the soft masks at the network's size, for --resume"
    file = ".soft"
    needs_soft = True

    def write(self, path: Path, segmented: SegmentedFrame) -> None:
        """Write the soft masks of a frame."""
        if segmented.soft is None:
            raise ValueError("a frame without its soft masks")
        small = segmented.soft.small
        notes = PngInfo()
        notes.add_text(IDS, " ".join(map(str, segmented.soft.ids)))
        buffer = io.BytesIO()
        stacked = Image.fromarray(small.reshape(-1, small.shape[2]))
        stacked.save(buffer, "PNG", compress_level=1, pnginfo=notes)
        write_bytes(path, buffer.getvalue(), sync=False)

    def read(self, number: int, info: VideoInfo, given: GivenMasks) -> SoftMasks:
        """Return the soft masks of the video's frame of this number; raises InputError."""
        path = self.place_of(number)
        with open_image(path, formats=("PNG",)) as image:
            image.load()
            stacked, notes = np.asarray(image).astype(np.uint16), image.info.get(IDS, "")
        ids = tuple(int(id_) for id_ in str(notes).split() if id_.isdecimal())
        if stacked.ndim != 2 or len(stacked) % (len(ids) + 1):
            raise InputError(f"{path}: expected the soft masks of {len(ids)} objects")
        small = stacked.reshape(len(ids) + 1, -1, stacked.shape[1])
        return SoftMasks.of_small(ids, small, (info.height, info.width), number, given)
