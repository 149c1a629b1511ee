"""The kinds of output of `vostool segment`: one class each, and their table."""

from vostool.segment.writers.interface import Source, Writer
from vostool.segment.writers.overlay import Overlay
from vostool.segment.writers.pictures import Cutouts, Masks

__all__ = ["DEFAULT", "WRITERS", "Source", "Writer"]

# by their names in `Job.outputs` and run.json
WRITERS: dict[str, type[Writer]] = {
    "masks": Masks,
    "overlay": Overlay,
    "cutouts": Cutouts,
}
DEFAULT = ("masks", "overlay")
