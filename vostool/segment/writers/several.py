"""Outputs that are made of several others, such as one for each object."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

from vostool.files import make_folder
from vostool.inference.soft import SegmentedFrame
from vostool.segment.writers.interface import Source, Writer


class Several(Writer):
    """An output whose parts are outputs themselves, in a folder of its own."""

    def __init__(self, folder: Path, source: Source, variant: str = "") -> None:
        """Prepare the parts; creates nothing."""
        super().__init__(folder, source, variant)
        self._parts = list(self.parts(source.objects))
        self._done = [0] * len(self._parts)  # frames that those which are resumed have already
        self.in_any_order = all(part.in_any_order for part in self._parts)

    @abstractmethod
    def parts(self, objects: Sequence[int]) -> list[Writer]:
        """Return the parts for some objects."""

    @property
    def written(self) -> Path:
        """The folder, or what its only part has written in its place."""
        return next((part.written for part in self._parts if part.path == self.path), self.path)

    def is_complete(self, frames: int) -> bool:
        """Return whether every part is complete."""
        return all(part.is_complete(frames) for part in self._parts)

    @property
    def warnings(self) -> list[str]:
        """The warnings of all parts, each once."""
        return list(dict.fromkeys(words for part in self._parts for words in part.warnings))

    @property
    def _older(self) -> list[Writer]:
        """The parts that any run may have left."""
        entries = self.path.iterdir() if self.path.is_dir() else ()
        numbers = {int(stem) for path in entries if (stem := path.name.split(".")[0]).isdecimal()}
        return self.parts(sorted(numbers | set(self.source.objects)))

    def replaced(self) -> list[Path]:
        """Return what all parts replace, also those of objects of an older run."""
        return [path for part in self._older for path in part.replaced()]

    @property
    def folders(self) -> list[Path]:
        """The folders of the parts, and the one around them."""
        return [*(folder for part in self._older for folder in part.folders), self.path]

    def begin(self) -> None:
        """Begin every part."""
        for part in self._parts:
            make_folder(part.path.parent)
            part.begin()

    def resume(self, frames: int) -> int:
        """Resume every part; that which has fewest frames says where to go on."""
        for part in self._parts:
            make_folder(part.path.parent)
        self._done = [part.resume(frames) for part in self._parts]
        return min(self._done, default=frames)

    def add(self, segmented: SegmentedFrame) -> None:
        """Add a frame to every part that has it not yet."""
        number = self.source.frames_before(segmented.frame)
        for part, done in zip(self._parts, self._done, strict=True):
            if number >= done:
                part.add(segmented)

    def finish(self) -> None:
        """Finish every part."""
        for part in self._parts:
            part.finish()

    def stop(self, problem: BaseException) -> None:
        """Stop every part."""
        for part in self._parts:
            part.stop(problem)
