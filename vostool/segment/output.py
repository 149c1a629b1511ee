"""The output folder of `vostool segment`: its outputs, its report, and its claim."""

import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeAlias, cast

from vostool.allocator import release_free_memory
from vostool.errors import Caution, OutputError
from vostool.files import remove, write_text
from vostool.files.claims import Claim, claimed, refuse_claimed, refuse_to_replace
from vostool.inference.checks import Check, as_csv
from vostool.inference.prefetch import Call, Helpers, WriteBehind
from vostool.inference.prompts import GivenMasks
from vostool.inference.soft import SegmentedFrame
from vostool.inference.states import States
from vostool.media.frame import Frame
from vostool.media.labels import LabelMap
from vostool.segment.report import REPORT, RunReport, read_report, write_report
from vostool.segment.writers import (
    CLASSIC,
    Source,
    Writer,
    every_output,
    file_of,
    needs_soft,
    writer_of,
)
from vostool.segment.writers.pictures import Masks
from vostool.segment.writers.pipe import LabelStream
from vostool.segment.writers.soft_store import SoftStore
from vostool.threads import thread_count

RELEASE_EVERY = 25  # frames: some 1 % of the time for 1080p, against what they leave behind
HELPERS = 4  # threads at most: a cut-out of a 4K frame takes some hundred MB while it is made

# called with the number of a frame in the video and its labels, once they are written
Written: TypeAlias = Callable[[int, LabelMap], None]
CHECKS = ("check.csv", "check.png")
REMEDY = "--resume goes on with it; else choose another -o or give --overwrite"


class Output:
    """The outputs of a run, written in threads beside the network.

    From the first frame on, run.json says that it is running; before that, an older run is left
    as it is. Everything else is whole or has "part" in its name.
    """

    def __init__(
        self,
        folder: Path,
        names: Collection[str],
        source: Source,
        states: States,
        resumable: bool = True,
        sink: BinaryIO | None = None,
    ) -> None:
        """Prepare to write the outputs of some names (see `WRITERS`) into a folder.

        Where soft masks are asked for, and `resumable` says that the run may be gone on with,
        those are kept too. Masks are also written to `sink`, see `LabelStream`.
        """
        self.folder, self.source = folder, source
        self.named = {name: writer_of(name, folder, source) for name in names}
        self.soft = needs_soft(names)
        self._store = SoftStore(folder, source)
        self.states = states
        kept = [self._store] if self.soft and resumable and "masks" in names else []
        piped = [] if sink is None else [LabelStream(folder, source, sink)]
        self._writers: list[Writer] = [*self.named.values(), *kept, *piped]
        self.begun = False  # whether run.json is that of this run
        self.frames = 0  # written so far, with all that is made of them
        self._added = 0  # of which the writing has begun
        self._done = [0] * len(self._writers)  # frames that those which are resumed have already
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

    def check(self, inputs: Collection[Path], replace: bool) -> None:
        """Raise OutputError as `claimed` does, but claim nothing."""
        refuse_claimed(self.folder)
        if not replace:
            refuse_to_replace(results_in(self.folder), REMEDY)
        self._refuse_inputs(inputs)

    def _refuse_inputs(self, inputs: Collection[Path]) -> None:
        mine = {path.resolve() for path in results_in(self.folder)}
        for writer in self._every():
            mine |= {path.resolve() for path in (writer.path, *writer.replaced())}
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
        helpers = min(thread_count(), HELPERS)
        with (
            ExitStack() as self._opened,
            Helpers(helpers, self._count) as self._helpers,
            WriteBehind() as self._behind,
        ):
            yield

    def add(self, segmented: Callable[[], SegmentedFrame], written: Written | None = None) -> None:
        """Write one frame, in the background; raises OutputError as soon as that is known.

        It is made there too. `written` is called with its number and labels once it is written.
        """
        if self._claim is not None:
            self._claim.check()
        self._behind.submit(partial(self._write, segmented, written))

    def then(self, call: Call) -> None:
        """Call something in the background once all that was added is written."""
        self._behind.submit(self._settle)
        self._behind.submit(call)

    def _settle(self) -> None:
        self._helpers.settle()

    def _write(self, make: Callable[[], SegmentedFrame], written: Written | None) -> None:
        segmented = make()
        if self._added == 0:
            self._begin()
        shown = self.source.settings.finish(segmented)
        beside: list[Call] = []
        for writer, done in zip(self._writers, self._done, strict=True):
            add = partial(writer.add, segmented if writer is self._store else shown)
            if self._added < done:
                continue
            if writer.in_any_order:
                beside.append(add)
            else:
                add()
        self._added += 1
        self._helpers.submit(beside)
        if written is not None:
            self._settle()
            written(segmented.frame.index, segmented.labels)

    def _count(self) -> None:
        self.frames += 1
        if self.frames % RELEASE_EVERY == 0:
            release_free_memory()

    def _begin(self) -> None:
        """Replace an older run, now that there is a frame to write."""
        # first, so that a kill leaves none beside the report of a run with other options
        self.states.forget(after=self._resumed)
        # before its outputs go: from here on the older run does not count as complete
        self.write_report(self._running)
        self.begun = True
        for path in self.checks:
            remove(path)
        if not self._resumed:
            self._clear()
        for number, writer in enumerate(self._writers):
            if self._resumed:
                self._done[number] = writer.resume(self._resumed)
            else:
                writer.begin()
            self._opened.enter_context(writer)

    def _every(self) -> Iterator[Writer]:
        """Yield a writer for whatever a run may leave in the folder."""
        yield from (writer_of(name, self.folder, self.source) for name in every_output())
        yield self._store

    def _clear(self) -> None:
        """Remove an older run; raises OutputError."""
        wanted = {folder for writer in self._writers for folder in writer.folders}
        for writer in self._every():
            folders = writer.folders
            for path in writer.replaced():
                remove(path)
            for folder in folders:
                if folder not in wanted and folder.is_dir():
                    with suppress(OSError):  # something else is in it
                        folder.rmdir()

    def write_report(self, report: RunReport) -> None:
        """Write run.json, all or nothing."""
        write_report(self.folder, report)

    @property
    def checks(self) -> tuple[Path, ...]:
        """The files about how good the masks seem: of a run before, they are removed."""
        return tuple(self.folder / name for name in CHECKS)

    def write_checks(self, checks: Sequence[Check]) -> None:
        """Write check.csv, all or nothing, if anything was checked."""
        if checks:
            write_text(self.checks[0], as_csv(checks))

    @property
    def kept(self) -> int:
        """How many frames have on disk already, from the first on, all that outputs are made of."""
        masks = self.named.get("masks")
        labelled = masks.whole(sys.maxsize) if isinstance(masks, Masks) else 0
        return self._store.whole(labelled) if self.soft else labelled

    def segmented(self, frame: Frame, given: GivenMasks) -> SegmentedFrame:
        """Return a frame with its labels and soft masks, which are on disk."""
        labels = cast(Masks, self.named["masks"]).read(frame.index)
        soft = self._store.read(frame.index, self.source.info, given) if self.soft else None
        return SegmentedFrame(frame, labels, soft, finished=True)

    def is_complete(self, frames: int) -> bool:
        """Return whether all that is wanted is there under its final name, of so many frames."""
        return all(writer.is_complete(frames) for writer in self.named.values())

    @property
    def paths(self) -> dict[str, str | None]:
        """The path of every output, or of its part; None for usual ones that are not wanted."""
        found = {name: str(writer.written) for name, writer in self.named.items()}
        return {**dict.fromkeys(CLASSIC), **found}

    @property
    def warnings(self) -> list[Caution]:
        """The warnings about the outputs, once they are closed."""
        return [
            *(
                Caution(name, warning)
                for name, writer in self.named.items()
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
    return [folder / name for name in (REPORT, *map(file_of, every_output()), *CHECKS)]


def frame_names(folder: Path) -> frozenset[str]:
    """Return the names that the run in a folder gave its pictures, where these are no numbers."""
    report = read_report(folder)
    return frozenset((report and report.frame_names) or ())
