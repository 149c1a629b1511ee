"""Where the releases of PyAV differ, from 17 on: one answer each, found by what is there."""

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.container import InputContainer
from av.sidedata.sidedata import SideData, Type
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

# tags in another encoding than UTF-8; from 19 on that is no choice
OPEN_OPTIONS: dict[str, Any] = (
    {"metadata_errors": "replace"} if hasattr(InputContainer, "metadata_errors") else {}
)


class Margins(NamedTuple):
    """Pixels to cut off a stored picture, in FFmpeg's order."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


def as_fraction(value: Any) -> Fraction | None:
    """Return a rational of FFmpeg, None if it is 0, infinite or not set."""
    return Fraction(value.numerator, value.denominator) if value else None


def container_crop(container: InputContainer, stream: VideoStream) -> Margins:
    """Return what the container, not the codec, asks to cut off the pictures of a stream."""
    if hasattr(stream.codec_context, "coded_side_data"):
        data = stream.codec_context.coded_side_data.get("frame_cropping")
        return Margins(*np.frombuffer(data, np.uint32).tolist()) if data else Margins()
    # before 19 only the description of the file has it; it is written for log level "info"
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        description = container.dumps_format()  # type: ignore[attr-defined]  # missing in the stubs
    finally:
        av.logging.set_level(level)
    return described_crop(description, stream.index)


def described_crop(description: str, index: int) -> Margins:
    """Return the crop of a stream from FFmpeg's description of a file."""
    for section in re.split(r"^  (?=Stream #0:)", description, flags=re.MULTILINE)[1:]:
        # side data come last; in what tags say, FFmpeg writes a colon before each new line
        crop = re.search(
            r"^    Side data:\n(?:      .*\n)*?      Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)$",
            section,
            re.MULTILINE,
        )
        if crop and re.match(rf"Stream #0:{index}\b", section):
            left, right, top, bottom = map(int, crop.groups())
            return Margins(top, bottom, left, right)
    return Margins()


def display_matrix(picture: VideoFrame) -> list[int] | None:
    """Return the nine numbers that turn and mirror a picture for display, None without any.

    Before PyAV 19 a picture that was asked lives on until the garbage collector finds it.
    """
    kinds = cast(Mapping[Type, SideData], picture.side_data)  # not what the stubs say
    side = kinds.get(Type.DISPLAYMATRIX)
    return None if side is None else np.frombuffer(bytes(side), np.int32).tolist()


def _name_unknown(kinds: type[Type], value: object) -> Type | None:
    """Return a member for a kind of side data that is newer than PyAV's table."""
    if not isinstance(value, int):
        return None
    member: Any = object.__new__(kinds)
    member._name_, member._value_ = f"UNKNOWN_{value}", value
    kinds._value2member_map_.setdefault(value, member)
    return cast(Type, member)


if "_missing_" not in vars(Type):  # as 19 does: else a picture with such data raises ValueError
    Type._missing_ = classmethod(_name_unknown)  # type: ignore[method-assign, assignment]
