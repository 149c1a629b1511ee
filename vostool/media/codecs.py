"""Which codecs this build of FFmpeg has."""

from typing import Literal

from av.codec.codec import Codec, UnknownCodecError


def can_decode(name: str) -> bool:
    """Return whether a codec of FFmpeg's name is there to read with."""
    return _has(name, "r")


def can_encode(name: str) -> bool:
    """Return whether a codec of FFmpeg's name is there to write with."""
    return _has(name, "w")


def _has(name: str, mode: Literal["r", "w"]) -> bool:
    try:
        Codec(name, mode)
    except (UnknownCodecError, ValueError):
        return False
    return True
