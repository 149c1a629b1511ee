"""What a scene cut does to the objects that are followed."""

from collections.abc import Sequence
from enum import StrEnum

from vostool.errors import UsageError

MANY = 10  # cuts that are listed


class OnCut(StrEnum):
    """What happens to objects at a scene cut; a mask given there or later has the last word."""

    IGNORE = "ignore"  # nothing: they are followed as if the scene went on
    STOP = "stop"  # they end: they are empty until a mask shows them again
    RESET = "reset"  # what was predicted is forgotten: they are sought by given masks alone


WORDS = {
    OnCut.IGNORE: "objects are followed across as if the scene went on; --cuts stop ends them "
    "there, --cuts reset seeks them by the given masks alone, {mask} says where they are",
    OnCut.STOP: "the objects end there, and are empty until a mask shows them again, such as "
    "{mask} with --resume",
    OnCut.RESET: "the objects are sought by the given masks alone; {mask} with --resume says "
    "where they are",
}


def read_on_cut(text: str) -> OnCut:
    """Return what is to happen at a cut; raises UsageError."""
    if text not in list(OnCut):
        raise UsageError(f"cuts: expected {', '.join(OnCut)}; found {text}")
    return OnCut(text)


def describe_cuts(cuts: Sequence[int], on_cut: OnCut) -> str:
    """Return a line on some cuts, by the frames behind them: what is, and may be, done there."""
    frames = ", ".join(map(str, cuts[:MANY]))
    if (more := len(cuts) - MANY) > 0:
        frames += f" and {more} more"
    one = len(cuts) == 1
    where = f"scene cut before frame {frames}" if one else f"scene cuts before frames {frames}"
    return f"{where}: {WORDS[on_cut].format(mask=f'--mask {cuts[0]}:MASK.png')}"
