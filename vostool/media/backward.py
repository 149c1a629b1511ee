"""A video's frames from the last to the first; memory grows by a hundred bytes for each frame.

A first pass decodes all, converts nothing, and notes of each picture where the file places it, a
checksum, and whether decoding can begin with it. Then block after block is decoded from such a
key picture on. A block that shows other pictures than the first pass, in a file where times are
not found or key pictures depend on others, is decoded from the beginning instead.
"""

import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from vostool.errors import InputError
from vostool.media.container import find_video, open_media
from vostool.media.decoding import Decoding, all_pictures, decode_pictures
from vostool.media.folder import list_images, read_folder
from vostool.media.frame import Frame, frame_name
from vostool.media.frame_conversion import Presenter
from vostool.media.video import OpenVideo

BLOCK_BYTES = 200 * 10**6  # of the pictures of a block
BLOCK_FRAMES = 64  # at most
UNPLACED = -(2**63)  # where the file does not say when a picture is shown


class BackwardReader:
    """The frames of a video or folder up to some end, to be read backward."""

    def __init__(self, path: Path, end: int | None = None) -> None:
        """Decode the video up to a frame; raises InputError if it cannot be read."""
        self._path = path
        self._index = None if path.is_dir() else index_of(path, end)
        count = len(list_images(path)) if self._index is None else len(self._index.places)
        self.frames = count if end is None else min(count, end)  # as many as there are

    def read(self, start: int, end: int) -> Iterator[Frame]:
        """Yield the frames from `end` - 1 down to `start`, each as `read_frames` does."""
        if self._index is None:
            return read_folder(self._path, start, end, backward=True)
        return self._index.read(start, end)


@dataclass
class Index:
    """What the first pass notes: for each picture an entry of every list."""

    path: Path
    presenter: Presenter
    size: int = 0  # bytes of a picture as it is shown
    places: "array[int]" = field(default_factory=lambda: array("q"))  # presentation time stamps
    checksums: "array[int]" = field(default_factory=lambda: array("L"))
    times: list[Fraction] = field(default_factory=list)
    keys: "array[int]" = field(default_factory=lambda: array("q"))  # numbers of key pictures

    def add(self, picture: VideoFrame, time: Fraction) -> None:
        """Note the next picture."""
        if not self.places:  # all are shown in the size of the first one
            self.size = self.presenter.present(picture).nbytes
        if picture.pts is not None and picture.key_frame:
            self.keys.append(len(self.places))
        self.places.append(UNPLACED if picture.pts is None else picture.pts)
        self.checksums.append(checksum(picture))
        self.times.append(time)

    def read(self, start: int, end: int) -> Iterator[Frame]:
        """Yield frames from `end` - 1 down to `start`, block by block."""
        length = max(1, min(BLOCK_FRAMES, BLOCK_BYTES // self.size))
        for last in range(end, start, -length):
            block = self._block(max(start, last - length), last)
            while block:
                yield block.pop()

    def _block(self, first: int, end: int) -> list[Frame]:
        """Return the frames of a block in their order; raises InputError."""
        key = max((key for key in self.keys if key <= first), default=0)
        if key and (block := self._decode(first, end, key)):
            return block
        if block := self._decode(first, end):
            return block
        raise InputError(f"{self.path}: frames {first} to {end - 1} cannot be decoded again")

    def _decode(self, first: int, end: int, key: int = 0) -> list[Frame]:
        """Return the frames of a block, decoded from a key picture on; none if they differ."""
        block = []
        with open_media(self.path) as container:
            stream = find_video(container, self.path)
            shown = (
                self._from(container, stream, key)
                if key
                else all_pictures(self.path, container, stream, Decoding())
            )
            for number, picture in enumerate(islice(shown, end - key), start=key):
                if number < first:
                    continue
                if checksum(picture) != self.checksums[number]:
                    return []
                rgb = self.presenter.present(picture)
                block.append(Frame(number, self.times[number], rgb, frame_name(number)))
        return block if len(block) == end - first else []

    def _from(
        self, container: InputContainer, stream: VideoStream, key: int
    ) -> Iterator[VideoFrame]:
        """Yield pictures from a key picture on; none if the file does not lead to it."""
        try:
            container.seek(self.places[key], stream=stream)
        except av.FFmpegError:
            return
        found = False
        for picture in decode_pictures(container, stream, Decoding()):
            found = found or picture.pts == self.places[key]
            if found:
                yield picture
            elif picture.pts is None or picture.pts > self.places[key]:
                return


def index_of(path: Path, end: int | None = None) -> Index:
    """Return the index of a video up to some frame; raises InputError if it has none."""
    with open_media(path) as container:
        video = OpenVideo(path, container)
        index = Index(path, video.presenter)
        for picture, time in video.pictures(end):
            index.add(picture, time)
    return index


def checksum(picture: VideoFrame) -> int:
    """Return a checksum of a decoded picture, of its first plane without what aligns the rows."""
    plane = picture.planes[0]
    if plane.line_size <= 0:
        return 0
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return zlib.adler32(rows[:, : min(picture.width, plane.line_size)].tobytes())
