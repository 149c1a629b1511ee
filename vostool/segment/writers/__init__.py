"""The kinds of output of `vostool segment`: one class each, and their table.

An output is named by its kind and, where there are several, its variant: `masks`, `alpha=prores`.
"""

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from vostool.errors import UsageError
from vostool.segment.writers.documents import Coco, Cvat, YoutubeVis
from vostool.segment.writers.film import EffectFilm, Overlay
from vostool.segment.writers.interface import Source, Writer
from vostool.segment.writers.labels import Labelme, PerObject, Yolo
from vostool.segment.writers.mattes import AlphaFilm, Cutouts, Matte, Trimap
from vostool.segment.writers.pictures import Masks, Pictures
from vostool.segment.writers.previews import Preview, Sheet, SideBySide
from vostool.segment.writers.texts import Mot, Table

__all__ = [
    "CLASSIC",
    "DEFAULT",
    "WRITERS",
    "Source",
    "Writer",
    "check_outputs",
    "every_output",
    "file_of",
    "is_output",
    "needs_soft",
    "read_names",
    "seems_whole",
    "writer_of",
]

# by the kinds of --write, `Job.outputs` and run.json
WRITERS: dict[str, type[Writer]] = {
    "masks": Masks,
    "overlay": Overlay,
    "cutouts": Cutouts,
    "alpha": AlphaFilm,
    "matte": Matte,
    "trimap": Trimap,
    "effect": EffectFilm,
    "coco": Coco,
    "ytvis": YoutubeVis,
    "cvat": Cvat,
    "labelme": Labelme,
    "yolo": Yolo,
    "per-object": PerObject,
    "table": Table,
    "mot": Mot,
    "sheet": Sheet,
    "side-by-side": SideBySide,
    "preview": Preview,
}
DEFAULT = ("masks", "overlay")
CLASSIC = ("masks", "overlay", "cutouts")  # which a report always mentions, wanted or not


def split_name(name: str) -> tuple[str, str]:
    """Return the kind and the variant in the name of an output; raises UsageError."""
    kind, _, variant = name.partition("=")
    if kind not in WRITERS:
        raise UsageError(f"expected outputs among {', '.join(WRITERS)}, found {kind or 'none'}")
    try:
        WRITERS[kind].check(variant)
    except UsageError as error:
        raise UsageError(f"output {kind}: {error}") from error
    return kind, variant


def read_names(text: str) -> tuple[str, ...]:
    """Return the names of outputs in a list with commas or semicolons; raises UsageError."""
    names = [name.strip() for name in text.replace(";", ",").split(",")]
    for name in names:
        split_name(name)
    return tuple(dict.fromkeys(names))


def writer_of(name: str, folder: Path, source: Source) -> Writer:
    """Return the writer of an output by its name; raises UsageError for one that is unknown."""
    kind, variant = split_name(name)
    return WRITERS[kind](folder, source, variant)


def file_of(name: str) -> str:
    """Return the final name of an output's file or folder; raises UsageError."""
    kind, variant = split_name(name)
    return WRITERS[kind].file_of(variant)


def seems_whole(name: str, folder: Path, frames: int) -> bool:
    """Return whether an output of so many frames is in a folder, as far as names of files tell."""
    kind, variant = split_name(name)
    path = folder / WRITERS[kind].file_of(variant)
    if not issubclass(WRITERS[kind], Pictures):
        return path.exists()
    return sum(len(files) for _, _, files in os.walk(path)) >= frames


def is_output(name: str) -> bool:
    """Return whether there is an output of that name."""
    try:
        split_name(name)
    except UsageError:
        return False
    return True


def needs_soft(names: Iterable[str]) -> bool:
    """Return whether one of some outputs asks for soft masks."""
    return any(WRITERS[split_name(name)[0]].needs_soft for name in names)


def every_output() -> Iterator[str]:
    """Yield a name for every file or folder that there may be."""
    for kind, writer in WRITERS.items():
        files: dict[str, str] = {}
        for variant in writer.variants:
            files.setdefault(writer.file_of(variant), f"{kind}={variant}" if variant else kind)
        yield from files.values()


def check_outputs(names: Iterable[str]) -> None:
    """Raise UsageError if there is no output, one that is unknown, or two with the same file."""
    _check_outputs(tuple(names))


@lru_cache  # the jobs of a batch share theirs
def _check_outputs(names: tuple[str, ...]) -> None:
    places: dict[str, str] = {}
    for name in names:
        other = places.setdefault(file_of(name), name)
        if other != name:
            raise UsageError(f"outputs {other} and {name} would both write {file_of(name)}")
    if not places:
        raise UsageError(f"expected outputs among {', '.join(WRITERS)}, found none")
