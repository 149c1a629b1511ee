"""The output folder of `vostool segment`: its outputs, its report, and its claim."""

import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import cast

from vostool.allocator import release_free_memory
from vostool.errors import Caution, OutputError
from vostool.files import write_text
from vostool.files.claims import Claim, claimed, refuse_claimed, refuse_to_replace
from vostool.inference.prefetch import WriteBehind
from vostool.inference.states import States
from vostool.media.frame import Frame
from vostool.media.labels import LabelMap
from vostool.segment.report import REPORT, RunReport, read_report
from vostool.segment.writers import WRITERS, Source
from vostool.segment.writers.pictures import Masks

RELEASE_EVERY = 25  # frames: some 1 % of the time for 1080p, against what they leave behind
REMEDY = "--resume goes on with it; else choose another -o or give --overwrite"


class Output:
    """The outputs of a run, written in a thread beside the network.

    From the first frame on, run.json says that it is running; before that, an older run is left
    as it is. Everything else is whole or has "part" in its name.
    """

    def __init__(
        self, folder: Path, names: Collection[str], source: Source, states: States
    ) -> None:
        """Prepare to write the outputs of some names (see `WRITERS`) into a folder."""
        self.folder, self.report, self.source = folder, folder / REPORT, source
        self.every = {name: kind(folder, source) for name, kind in WRITERS.items()}
        self.wanted = {name: self.every[name] for name in WRITERS if name in names}
        self.states = states
        self.frames = 0  # written so far
        self._done = dict.fromkeys(
            self.wanted, 0
        )  # how many frames an output that is resumed has already
        self._claim: Claim | None = None

    @contextmanager
    def claimed(self, inputs: Collection[Path], replace: bool) -> Iterator[None]:
        """Keep others out of the folder; `inputs` are files of it that must stay.

        Raises OutputError if another process is at work in it, if it holds a run that may not be
        replaced, or if an input would be.
        """
        if not replace:
            check_free(self.folder)
        with claimed(self.folder) as self._claim:
            if not replace:
                refuse_to_replace(results_in(self.folder), REMEDY)
            self._refuse_inputs(inputs)
            yield

    def _refuse_inputs(self, inputs: Collection[Path]) -> None:
        mine = {self.report.resolve(), *(writer.path.resolve() for writer in self.every.values())}
        mine |= {path.resolve() for writer in self.every.values() for path in writer.replaced()}
        for path in sorted(inputs):
            if path.resolve() in mine:
                raise OutputError(f"{path}: is an input, and would be replaced; choose another -o")

    @contextmanager
    def writing(self, report: RunReport, resume: int = 0) -> Iterator[None]:
        """Accept frames; `report` is run.json while it is running.

        `resume` says how many frames a run before has written that this one goes on with, see
        `Writer.resume`. They are added again: those outputs pass over them that have them.
        """
        self._running, self._resumed = report, resume
        with ExitStack() as self._opened, WriteBehind() as self._behind:
            yield

    def add(self, frame: Frame, labels: LabelMap) -> None:
        """Write one frame, in the background; raises OutputError as soon as that is known."""
        if self._claim is not None:
            self._claim.check()
        self._behind.submit(partial(self._write, frame, labels))

    def then(self, call: Callable[[], None]) -> None:
        """Call something in the background once all that was added is written."""
        self._behind.submit(call)

    def _write(self, frame: Frame, labels: LabelMap) -> None:
        if self.frames == 0:
            self._begin()
        for name, writer in self.wanted.items():
            if self.frames >= self._done[name]:
                writer.add(frame, labels)
        self.frames += 1
        if self.frames % RELEASE_EVERY == 0:
            release_free_memory()

    def _begin(self) -> None:
        """Replace an older run, now that there is a frame to write."""
        # first, so that a kill leaves none beside the report of a run with other options
        self.states.forget(after=self._resumed)
        # before its outputs go: from here on the older run does not count as complete
        self.write_report(self._running)
        if not self._resumed:
            self._clear()
        for name, writer in self.wanted.items():
            if self._resumed:
                self._done[name] = writer.resume(self._resumed)
            else:
                writer.begin()
            self._opened.enter_context(writer)

    def _clear(self) -> None:
        """Remove an older run."""
        try:
            for name, writer in self.every.items():
                for path in writer.replaced():
                    path.unlink(missing_ok=True)
                if name not in self.wanted and writer.path.is_dir():
                    with suppress(OSError):  # something else is in it
                        writer.path.rmdir()
        except OSError as error:
            raise OutputError(f"{error.filename}: cannot be removed: {error.strerror}") from error

    def write_report(self, report: RunReport) -> None:
        """Write run.json, all or nothing."""
        write_text(self.report, report.model_dump_json(indent=2) + "\n")

    @property
    def labelled(self) -> int:
        """How many frames have their masks on disk already, from the first on."""
        masks = self.wanted.get("masks")
        return masks.whole(sys.maxsize) if isinstance(masks, Masks) else 0

    def labels(self, number: int) -> LabelMap:
        """Return the labels of the video's frame of this number, whose mask is on disk."""
        return cast(Masks, self.wanted["masks"]).read(number)

    def is_complete(self, frames: int) -> bool:
        """Return whether all that is wanted is there under its final name, of so many frames."""
        return all(writer.is_complete(frames) for writer in self.wanted.values())

    @property
    def paths(self) -> dict[str, str | None]:
        """The path of every output, or of its part; None for those that are not wanted."""
        wanted = self.wanted
        return {name: str(wanted[name].written) if name in wanted else None for name in WRITERS}

    @property
    def warnings(self) -> list[Caution]:
        """The warnings about the outputs, once they are closed."""
        return [
            *(
                Caution(name, warning)
                for name, writer in self.wanted.items()
                for warning in writer.warnings
            ),
            *self.states.warnings,
        ]


def check_free(folder: Path) -> None:
    """Raise OutputError if a folder is claimed or holds a run; claims nothing."""
    refuse_claimed(folder)
    refuse_to_replace(results_in(folder), REMEDY)


def results_in(folder: Path) -> list[Path]:
    """Return the paths at which a folder has the results of a run, if it has any."""
    return [folder / name for name in (REPORT, *(kind.file for kind in WRITERS.values()))]


def frame_names(folder: Path) -> frozenset[str]:
    """Return the names that the run in a folder gave its pictures, where these are no numbers."""
    report = read_report(folder)
    return frozenset((report and report.frame_names) or ())


def default_output(video: Path) -> Path:
    """Return `<video stem>/` beside the working directory; for a folder there, another name."""
    name = video.resolve().name if video.is_dir() else video.stem
    folder = Path.cwd() / name
    return folder if folder.resolve() != video.resolve() else folder.with_name(f"{name}-vostool")
