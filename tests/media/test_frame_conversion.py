from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace

from vostool.errors import InputError
from vostool.media.colour_matrix import UNSPECIFIED
from vostool.media.frame_conversion import Orientation, Presenter, read_matrix

ORANGE = (230, 120, 20)
PATH = Path("clip.mp4")
ONE = 1 << 16  # in a display matrix


def present(picture: VideoFrame) -> tuple[np.ndarray, list[str]]:
    presenter = Presenter(PATH)
    return presenter.present(picture).astype(int), presenter.warnings


def plain(height: int, width: int, matrix: Colorspace) -> VideoFrame:
    """Return an orange picture, stored by a matrix, without a tag."""
    rgb = np.full((height, width, 3), ORANGE, np.uint8)
    stored = VideoFrame.from_ndarray(rgb).reformat(format="yuv420p", dst_colorspace=matrix)
    stored.colorspace = UNSPECIFIED
    return stored


@pytest.mark.parametrize(
    ("height", "width", "meant"),
    [(480, 32, Colorspace.ITU601), (720, 32, Colorspace.ITU709), (544, 1280, Colorspace.ITU709)],
)
def test_untagged_colours_are_taken_as_players_take_them(
    height: int, width: int, meant: Colorspace
) -> None:
    shown, warnings = present(plain(height, width, meant))
    assert np.abs(shown - ORANGE).max() <= 3
    assert warnings == []


@pytest.mark.parametrize("tag", [0, 1, 2, 3, 4, 5, 6, 7, 9, 12])
def test_a_supported_or_meaningless_matrix_tag_is_no_cause_for_a_warning(tag: int) -> None:
    picture = plain(48, 64, Colorspace.ITU601)
    picture.colorspace = tag
    shown, warnings = present(picture)
    assert np.abs(shown - ORANGE).max() <= 50
    assert warnings == []


@pytest.mark.parametrize("tag", [10, 11, 13, 14, 15, 18, 250])
def test_a_matrix_without_equal_is_replaced_by_the_nearest_with_a_warning(tag: int) -> None:
    picture = plain(48, 64, Colorspace.ITU601)
    picture.colorspace = tag
    shown, (warning,) = present(picture)
    assert np.abs(shown - ORANGE).max() <= 50
    assert f"colour matrix {tag}" in warning
    assert "colours are approximate" in warning


@pytest.mark.parametrize(("primaries", "meant"), [(1, Colorspace.ITU709), (6, Colorspace.ITU601)])
def test_a_matrix_derived_from_primaries_is_theirs(primaries: int, meant: Colorspace) -> None:
    picture = plain(48, 64, meant)
    picture.colorspace, picture.color_primaries = 12, primaries
    assert np.abs(present(picture)[0] - ORANGE).max() <= 3


def planes(format: str, values: tuple[int, int, int]) -> VideoFrame:
    """Return a picture of 64x48 whose three planes are of one value each."""
    picture = VideoFrame(64, 48, format)
    kind = np.uint8 if format == "yuv444p" else np.uint16
    for plane, value in zip(picture.planes, values, strict=True):
        plane.update(np.full(plane.buffer_size // kind().itemsize, value, kind).tobytes())
    return picture


@pytest.mark.parametrize(
    ("tag", "format", "bits", "doubled", "limited"),
    [
        (8, "yuv444p", 8, 1, False),
        (8, "yuv444p", 8, 1, True),
        (8, "yuv444p10le", 10, 1, False),
        (16, "yuv444p10le", 8, 2, False),  # two bits more than RGB
        (17, "yuv444p9le", 8, 2, False),  # one bit more
    ],
)
def test_ycgco_is_converted(tag: int, format: str, bits: int, doubled: int, limited: bool) -> None:
    scale = 2 ** (bits - 8)
    red, green, blue = (scale * (16 + value * 219 / 255 if limited else value) for value in ORANGE)
    depth = {"yuv444p": 8, "yuv444p9le": 9, "yuv444p10le": 10}[format]
    middle = 2 ** (depth - 1)
    luma = red / 4 + green / 2 + blue / 4
    chroma = doubled * (green / 2 - red / 4 - blue / 4), doubled * (red - blue) / 2
    picture = planes(format, (round(luma), *(round(middle + value) for value in chroma)))
    picture.colorspace = tag
    picture.color_range = ColorRange.MPEG if limited else ColorRange.JPEG
    shown, warnings = present(picture)
    assert np.abs(shown - ORANGE).max() <= 3
    assert warnings == []


def test_an_unknown_transfer_is_no_obstacle() -> None:
    picture = plain(48, 64, Colorspace.ITU601)
    picture.color_trc = 3  # reserved
    assert np.abs(present(picture)[0] - ORANGE).max() <= 3


def test_a_pixel_format_that_cannot_be_converted_is_an_error_that_names_it() -> None:
    with pytest.raises(InputError, match=r"clip\.mp4: pixel format rgb4 cannot be converted"):
        present(VideoFrame(64, 48, "rgb4"))


def test_a_picture_of_another_size_is_scaled_to_the_first_ones_with_a_warning() -> None:
    presenter = Presenter(PATH)
    for width, height in ((60, 40), (30, 20), (90, 90)):
        stored = VideoFrame.from_ndarray(np.full((height, width, 3), ORANGE, np.uint8))
        assert presenter.present(stored).shape == (40, 60, 3)
    (warning,) = presenter.warnings
    assert "change from 60x40 to 30x20; all are scaled to the first one's size" in warning


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((ONE, 0, 0, ONE), Orientation()),
        ((-ONE, 0, 0, ONE), Orientation(False, 1, -1)),
        ((ONE, 0, 0, -ONE), Orientation(False, -1, 1)),
        ((-ONE, 0, 0, -ONE), Orientation(False, -1, -1)),
        ((0, ONE, ONE, 0), Orientation(True, 1, 1)),
        ((0, ONE, -ONE, 0), Orientation(True, 1, -1)),
        ((0, -ONE, ONE, 0), Orientation(True, -1, 1)),
        ((0, -ONE, -ONE, 0), Orientation(True, -1, -1)),
    ],
)
def test_all_eight_orientations_are_read_from_a_display_matrix(
    matrix: tuple[int, int, int, int], expected: Orientation
) -> None:
    a, b, c, d = matrix
    assert read_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30]) == expected


def test_a_crop_that_leaves_nothing_is_ignored_with_a_warning() -> None:
    from vostool.media.compat import Margins

    presenter = Presenter(PATH, Margins(30, 30, 0, 0))
    assert presenter.present(plain(48, 64, Colorspace.ITU601)).shape == (48, 64, 3)
    assert presenter.warnings == ["cropping of 30+30 rows, 0+0 columns is ignored"]
