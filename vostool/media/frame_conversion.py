"""Decoded pictures to the arrays a viewer would see: colours, cropping, rotation, mirroring."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, ColorTrc, VideoReformatter
from numpy.typing import NDArray

from vostool.errors import InputError
from vostool.media.colour_matrix import UNSPECIFIED, Ycgco, choose_matrix, ycgco_to_rgb
from vostool.media.compat import Margins, display_matrix
from vostool.media.frame import Rgb

NO_CROP = Margins()


class Orientation(NamedTuple):
    """How a stored picture is turned for showing: transpose it if asked, then take the steps."""

    transposed: bool = False
    row_step: int = 1  # -1 shows the last row first
    column_step: int = 1

    def apply(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of a picture that is turned, or turned back."""
        return (height, width) if self.transposed else (width, height)


class Presenter:
    """Converts the pictures of one stream to what a viewer shows, all of the first one's size.

    Deeper than 8 bits is rounded, limited range is spread, transparency is ignored.
    `warnings` lists, in order of occurrence, what is only approximate.
    """

    def __init__(self, path: Path, crop: Margins = NO_CROP) -> None:
        """`path` is named in errors; `crop` is what the container has cut off, before turning."""
        self.warnings: list[str] = []
        self._path = path
        self._crop = crop
        self._scaler = VideoReformatter()
        self._size: tuple[int, int] | None = None  # of the first picture as shown, uncropped
        self._scales = False  # whether a picture was of another
        self._rotation: int | None = None
        self._orientation = Orientation()

    def shown_size(self, picture: VideoFrame) -> tuple[int, int]:
        """Return the width and height at which a picture is shown."""
        rows, columns = self._window(picture.width, picture.height)
        width, height = columns.stop - columns.start, rows.stop - rows.start
        return self.orientation(picture).apply(width, height)

    def present(self, picture: VideoFrame) -> Rgb:
        """Return a picture as it is shown, (H, W, 3).

        Raises InputError if its pixel format cannot be converted.
        """
        turn = self.orientation(picture)
        size = turn.apply(picture.width, picture.height)
        self._size = self._size or size
        if size != self._size and not self._scales:
            self._scales = True
            self._warn(
                "its pictures change from {}x{} to {}x{}; all are scaled to the first one's "
                "size".format(*self._size, *size)
            )
        width, height = turn.apply(*self._size)
        rgb = self._convert(picture, width, height)[self._window(width, height)]
        if turn.transposed:
            rgb = rgb.transpose(1, 0, 2)
        return np.ascontiguousarray(rgb[:: turn.row_step, :: turn.column_step], dtype=np.uint8)

    def orientation(self, picture: VideoFrame) -> Orientation:
        """Return how a picture is turned, to the nearest quarter turn."""
        # the matrix is asked for only if the angle changes, see display_matrix
        if picture.rotation != self._rotation:
            self._rotation = picture.rotation
            self._orientation = read_matrix(display_matrix(picture))
        return self._orientation

    def _window(self, width: int, height: int) -> tuple[slice, slice]:
        """Return the rows and columns that the crop leaves; all if it leaves none."""
        top, bottom, left, right = self._crop
        if top + bottom >= height or left + right >= width:
            self._warn(f"cropping of {top}+{bottom} rows, {left}+{right} columns is ignored")
            return slice(0, height), slice(0, width)
        return slice(top, height - bottom), slice(left, width - right)

    def _convert(self, picture: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        # no conversion by these is asked for, and swscale refuses the values it does not know
        picture.color_trc = ColorTrc.UNSPECIFIED
        matrix = choose_matrix(picture)
        if matrix.warning:
            self._warn(matrix.warning)
        try:
            if matrix.ycgco:
                return self._convert_ycgco(picture, width, height, matrix.ycgco)
            picture.colorspace = matrix.colorspace
            rgb = self._scaler.reformat(picture, width, height, "rgb24", threads=1)
            return rgb.to_ndarray().astype(np.uint8, copy=False)
        except (av.FFmpegError, OSError) as error:
            raise InputError(
                f"{self._path}: pixel format {picture.format.name} cannot be converted to RGB "
                f"({error.strerror}); give a video in another one, such as yuv420p"
            ) from error

    def _convert_ycgco(
        self, picture: VideoFrame, width: int, height: int, kind: Ycgco
    ) -> NDArray[np.uint8]:
        picture.colorspace = UNSPECIFIED  # the planes as they are
        planes = self._scaler.reformat(picture, width, height, "yuv444p16le", threads=1)
        limited = picture.color_range != ColorRange.JPEG
        return ycgco_to_rgb(planes.to_ndarray().astype(np.uint16, copy=False), kind, limited)

    def _warn(self, line: str) -> None:
        if line not in self.warnings:
            self.warnings.append(line)


def read_matrix(matrix: Sequence[int] | None) -> Orientation:
    """Return how a display matrix turns a picture, to the nearest quarter turn."""
    if matrix is None:
        return Orientation()
    # shown x = a x + c y, shown y = b x + d y
    a, b, _, c, d = matrix[:5]
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, -1 if d < 0 else 1, -1 if a < 0 else 1)
    return Orientation(True, -1 if b < 0 else 1, -1 if c < 0 else 1)
