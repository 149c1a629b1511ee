"""Which frames are remembered: the journal's reference sets (4.3.2, Table 3)."""

from dataclasses import dataclass

from vostool import defaults


@dataclass(frozen=True)
class References:
    """The frames from which the next ones are predicted (journal 4.3.2, Table 3)."""

    annotated: bool = True
    previous: bool = True
    # frames from one that stays to the next; None: only annotated ones
    every: int | None = defaults.MEMORY_EVERY

    def keep(self, index: int, annotated: bool) -> bool:
        """Return whether a frame stays in memory."""
        regular = self.every is not None and index % self.every == 0
        return regular or (annotated and self.annotated)


MEMORY = References()
EVERY_FRAME = References(every=1)  # for a recurrent model
REFERENCE_SETS = {  # the rows of Table 3, and STCN's
    "first": References(previous=False, every=None),
    "previous": References(annotated=False, every=None),
    "first+previous": References(every=None),
    "memory": MEMORY,
    "kept": References(previous=False),
}
