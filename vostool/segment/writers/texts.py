"""Outputs that are one text file: tables, and the base of those that are documents."""

import csv
import io
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from vostool.errors import OutputError
from vostool.files import atomic_write, remove
from vostool.inference.soft import SegmentedFrame
from vostool.media.regions import Region, regions_of
from vostool.segment.writers.interface import Source, Writer


class Text(Writer):
    """A text file that grows as `<file>.part`; a second part keeps what has to follow the first."""

    def __init__(self, folder: Path, source: Source, variant: str = "") -> None:
        """Prepare to write a file."""
        super().__init__(folder, source, variant)
        self._opened: list[TextIO] = []
        self.frames = 0
        self.whole = False

    @property
    def part(self) -> Path:
        """The file as long as it is not whole."""
        return self.path.with_name(f"{self.path.name}.part")

    @property
    def later(self) -> Path:
        """What has to follow."""
        return self.path.with_name(f"{self.path.name}.later.part")

    @property
    def written(self) -> Path:
        """The file, or its part."""
        return self.path if self.whole else self.part

    def replaced(self) -> list[Path]:
        """Return the file, and the parts of one."""
        return [path for path in (self.path, self.part, self.later) if path.exists()]

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written: {error.strerror}") from error

    def begin(self) -> None:
        """Open the parts, and write what comes first."""
        self._opened, self.frames, self.whole = [], 0, False
        with self._errors():
            for path in (self.part, self.later):
                self._opened.append(path.open("w", encoding="utf-8", newline=""))
            self._opened[0].write(self.head())

    def resume(self, frames: int) -> int:
        """Start again; labels are quickly written anew."""
        for path in self.replaced():
            remove(path)
        self.begin()
        return 0

    def add(self, segmented: SegmentedFrame) -> None:
        """Write what there is to say about a frame."""
        now, later = self.lines(segmented)
        with self._errors():
            self._opened[0].write(now)
            self._opened[1].write(later)
        self.frames += 1

    def finish(self) -> None:
        """Write what has to follow, and give the file its name."""
        with atomic_write(self.path):  # whose part is the one that has grown
            part, later = self._opened
            later.close()
            with self.later.open(encoding="utf-8", newline="") as kept:
                for text in self.tail(kept):
                    part.write(text)
            part.close()
        remove(self.later)
        self.whole = True

    def stop(self, problem: BaseException) -> None:
        """Close the parts."""
        for file in self._opened:
            with suppress(OSError):  # the problem is reported
                file.close()

    def head(self) -> str:
        """Return what comes before the first frame."""
        return ""

    @abstractmethod
    def lines(self, segmented: SegmentedFrame) -> tuple[str, str]:
        """Return what a frame adds now, and what it adds to what has to follow."""

    def tail(self, later: TextIO) -> Iterator[str]:
        """Yield what comes after the last frame; `later` is what was to follow."""
        yield from ()


def csv_line(*cells: object) -> str:
    """Return a line of a table."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerow(cells)
    return buffer.getvalue()


class Table(Text):
    """table.csv: a line for each object that a frame shows."""

    help = "area, box and centroid of each object on each frame, CSV"
    file = "table.csv"

    def head(self) -> str:
        """Return the header."""
        return csv_line(
            *("frame", "name", "seconds", "object", "label", "area"),
            *("left", "top", "width", "height", "centroid_x", "centroid_y"),
        )

    def lines(self, segmented: SegmentedFrame) -> tuple[str, str]:
        """Return the lines of a frame."""
        return "".join(self._line(segmented, region) for region in regions_of(segmented.labels)), ""

    def _line(self, segmented: SegmentedFrame, region: Region) -> str:
        frame, (x, y) = segmented.frame, region.centroid
        label = self.source.settings.name_of(region.id)
        box = (region.left, region.top, region.width, region.height)
        seconds = f"{float(frame.time):.6f}"
        where = (*box, f"{x:.2f}", f"{y:.2f}")
        return csv_line(frame.index, frame.name, seconds, region.id, label, region.area, *where)


class Mot(Text):
    """mot.txt: boxes as the MOTChallenge has the results of trackers."""

    help = "boxes by frame and object, as MOTChallenge has them; frames count from 1"
    file = "mot.txt"

    def lines(self, segmented: SegmentedFrame) -> tuple[str, str]:
        """Return the lines of a frame: frame, id, left, top, width, height, confidence, x, y, z."""
        lines = [
            csv_line(
                *(self.frames + 1, each.id),
                *(each.left + 1, each.top + 1, each.width, each.height),  # pixels count from 1 too
                *(1, -1, -1, -1),
            )
            for each in regions_of(segmented.labels)
        ]
        return "".join(lines), ""
