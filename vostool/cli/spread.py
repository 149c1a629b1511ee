"""Options of `vostool segment` that say where the jobs of a batch run."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vostool.cli.options import offer
from vostool.errors import UsageError

if TYPE_CHECKING:
    from vostool.scale.shards import Shard

LOCAL = "local"  # of --on
PANEL = "Many videos"

Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        show_default="1; on Ray all that fit",
        help="Segment N videos of a --batch at a time: GPUs are dealt out, threads divided.",
        rich_help_panel=PANEL,
    ),
]
On = Annotated[
    str,
    typer.Option(
        metavar="WHERE",
        help="Where a --batch runs: local; ray starts a Ray cluster here, ray:HOST:PORT uses one: "
        "an actor for each GPU, or for each 4 CPUs.",
        rich_help_panel=PANEL,
        autocompletion=offer("local", "ray", "ray:"),
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="K/N",
        help="Segment the Kth of N parts of a --batch, then (not with --overwrite) what other "
        "parts have left over; for job arrays. Writes batch-KofN.json.",
        rich_help_panel=PANEL,
        show_default=False,
    ),
]
Merge = Annotated[
    bool,
    typer.Option(
        "--merge",
        help="Make the batch.json of a --batch, and its picture, from the reports of its shards; "
        "segment nothing.",
        rich_help_panel=PANEL,
    ),
]


@dataclass(frozen=True)
class Spread:
    """How the jobs of a batch are spread: over processes, a cluster, or as shards."""

    workers: int | None
    ray: str | None  # the address of a cluster
    shard: "Shard"
    merge: bool

    @property
    def alone(self) -> bool:
        """Whether all jobs run in this process."""
        return self.ray is None and self.workers in (None, 1)


@dataclass(frozen=True)
class SpreadOptions:
    """Where the jobs of a batch run, as `vostool segment` takes it."""

    workers: Workers = None
    on: On = LOCAL
    shard: ShardOption = None
    merge: Merge = False

    def of_batch(self, batch: Path | None) -> Spread:
        """Return what the options say; raises UsageError for those that do not go together."""
        given = {
            "--workers": self.workers is not None,
            "--on": self.on != LOCAL,
            "--shard": self.shard is not None,
            "--merge": self.merge,
        }
        names = [name for name, is_given in given.items() if is_given]
        if names and batch is None:
            raise UsageError(f"{names[0]}: is for the videos of a --batch TABLE")
        if self.merge and len(names) > 1:
            raise UsageError(f"{names[0]}: --merge segments nothing: give one of them")
        from vostool.scale.shards import WHOLE, Shard

        part = WHOLE if self.shard is None else Shard.parse(self.shard)
        return Spread(self.workers, read_place(self.on), part, self.merge)


def read_place(text: str) -> str | None:
    """Return the address of the Ray cluster that --on names; None: no cluster.

    Raises UsageError.
    """
    place, _, address = text.partition(":")
    if text == LOCAL:
        return None
    if place != "ray" or text == "ray:":
        raise UsageError(f"--on {text}: expected local, ray or ray:HOST:PORT")
    from vostool.scale.on_ray import HERE

    return address or HERE
