"""Which matrix takes a picture's luma and chroma to RGB, and those that swscale lacks.

Numbers are those of H.273 (07/2024), MatrixCoefficients and ColourPrimaries.
"""

from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

RGB, BT709, UNSPECIFIED, FCC, BT470BG, BT601, SMPTE240M, BT2020 = 0, 1, 2, 4, 5, 6, 7, 9
CHROMA_DERIVED = 12
SWSCALE = frozenset({BT709, UNSPECIFIED, FCC, BT470BG, BT601, SMPTE240M, BT2020})
NAMES = {
    3: "reserved", 8: "YCgCo", 10: "BT.2020 constant luminance", 11: "SMPTE ST 2085",
    12: "derived from primaries", 13: "derived from primaries, constant luminance", 14: "ICtCp",
    15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro",
}  # fmt: skip
# those that are no matrix, or of no known one, to what comes closest
NEAREST = {10: BT2020, 11: BT2020, 13: CHROMA_DERIVED, 14: BT2020, 15: BT2020}
# primaries to the matrix that is derived from them
OF_PRIMARIES = {1: BT709, 4: FCC, 5: BT470BG, 6: BT601, 7: SMPTE240M, 9: BT2020}
HD_WIDTH, SD_HEIGHT = 1280, 576  # untagged pictures as wide or higher are taken for BT.709


@dataclass(frozen=True)
class Ycgco:
    """A kind of YCgCo: what chroma and result are multiplied by."""

    chroma: float = 1
    gain: int = 1


# the reversible kinds double chroma, and store RGB in two bits (Re) or one (Ro) less than they have
YCGCO = {8: Ycgco(), 16: Ycgco(0.5, 4), 17: Ycgco(0.5, 2)}


@dataclass(frozen=True)
class Matrix:
    """How a picture is to be converted."""

    colorspace: int = UNSPECIFIED  # for swscale
    ycgco: Ycgco | None = None  # instead of swscale
    warning: str = ""


def choose_matrix(picture: VideoFrame) -> Matrix:
    """Return the matrix by which a picture is tagged, or what players take instead."""
    tag = int(picture.colorspace)
    name = f"colour matrix {tag} ({NAMES[tag]})" if tag in NAMES else f"colour matrix {tag}"
    if picture.format.is_rgb or len(picture.format.components) < 3:
        return Matrix()  # nothing to convert, whatever the tag says
    if tag in YCGCO:
        return Matrix(ycgco=YCGCO[tag])
    nearest = NEAREST.get(tag, tag)
    if nearest == CHROMA_DERIVED:
        nearest = OF_PRIMARIES.get(int(picture.color_primaries), UNSPECIFIED)
    if nearest not in SWSCALE or nearest == UNSPECIFIED:
        hd = picture.width >= HD_WIDTH or picture.height > SD_HEIGHT
        nearest = BT709 if hd else BT601
    exact = tag in SWSCALE or tag in (RGB, 3, CHROMA_DERIVED)
    warning = "" if exact else f"{name} is not supported, colours are approximate"
    return Matrix(nearest, warning=warning)


def ycgco_to_rgb(planes: NDArray[np.uint16], kind: Ycgco, limited: bool) -> NDArray[np.uint8]:
    """Return RGB, (H, W, 3), of Y, Cg and Co, (H, W, 3), in 16 bits (H.273, Eq. 59 to 66)."""
    luma, green, orange = np.moveaxis(planes.astype(np.float32) / 256, 2, 0)
    green, orange = kind.chroma * (green - 128), kind.chroma * (orange - 128)
    rest = luma - green
    rgb = kind.gain * np.stack([rest + orange, luma + green, rest - orange], axis=2)
    if limited:  # RGB was limited before it was converted
        rgb = (rgb - 16) * (255 / 219)
    return rgb.round().clip(0, 255).astype(np.uint8)
