"""One decoded picture to the array a viewer would see: colours, rotation, mirroring."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
from av.sidedata.sidedata import SideData, Type
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace

from vostool.media.frame import Rgb

UNSPECIFIED_COLORSPACE = 2  # AVCOL_SPC_UNSPECIFIED, which PyAV's Colorspace lacks
SD_HEIGHT = 576  # lines; untagged pictures above it are taken for BT.709, others for BT.601


class Orientation(NamedTuple):
    """How a stored picture is turned for showing: transpose it if asked, then take the steps."""

    transposed: bool = False
    row_step: int = 1  # -1 shows the last row first
    column_step: int = 1


def to_rgb(picture: VideoFrame, width: int, height: int) -> Rgb:
    """Return a picture as it is shown, (H, W, 3), scaled first to the stored size given.

    Deeper than 8 bits is rounded, limited range is spread, transparency is ignored.
    """
    if picture.colorspace == UNSPECIFIED_COLORSPACE and picture.height > SD_HEIGHT:
        picture.colorspace = Colorspace.ITU709  # as players do; FFmpeg would take BT.601
    rgb = picture.to_ndarray(width=width, height=height, format="rgb24")
    turn = orientation(picture)
    if turn.transposed:
        rgb = rgb.transpose(1, 0, 2)
    return np.ascontiguousarray(rgb[:: turn.row_step, :: turn.column_step], dtype=np.uint8)


def orientation(picture: VideoFrame) -> Orientation:
    """Return how a picture's display matrix turns it, to the nearest quarter turn."""
    for side in cast(Sequence[SideData], picture.side_data):  # a mapping only in PyAV's stubs
        if side.type == Type.DISPLAYMATRIX:
            # shown x = a x + c y, shown y = b x + d y
            a, b, _, c, d = np.frombuffer(bytes(side), np.int32)[:5].tolist()
            if abs(a) + abs(d) >= abs(b) + abs(c):
                return Orientation(False, -1 if d < 0 else 1, -1 if a < 0 else 1)
            return Orientation(True, -1 if b < 0 else 1, -1 if c < 0 else 1)
    return Orientation()
