"""How a project's objects are followed: one run after another, each from where it has to begin.

Shapes: labels (H, W), uint8.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from vostool import defaults
from vostool.media.labels import LabelMap
from vostool.progress import ProgressCallback
from vostool.studio.painted import Painted
from vostool.studio.project import ProjectFile
from vostool.studio.results import Results

if TYPE_CHECKING:
    from vostool.segment.job import Job
    from vostool.studio.engine import Engine

PERSIST = 2.0  # seconds from one note of how far a run has come to the next


class Following:
    """Follows what is painted, when called; `changed` is called whenever a frame is written."""

    def __init__(
        self,
        video: Path,
        file: ProjectFile,
        painted: Painted,
        results: Results,
        changed: Callable[[], None],
    ) -> None:
        """Follow nothing yet."""
        self.video, self._file = video, file
        self._painted, self._results, self._changed = painted, results, changed
        self.frames = file.project.valid  # that have masks, be they out of date
        self.latest: tuple[int, LabelMap] | None = None  # the frame followed last
        self._noted = 0.0

    def __call__(
        self,
        engine: "Engine",
        progress: ProgressCallback,
        outputs: tuple[str, ...] = (),
        end: int | None = None,
    ) -> None:
        """Follow to the end of the video, or before a frame; write `outputs` beside the masks.

        Raises as `Engine.run`.
        """
        project = self._file.project
        job = self._job(outputs, end)
        begin_anew = None if project.adopted else self._begin_anew
        try:
            report = engine.run(job, project.options, progress, self._written, begin_anew)
        except BaseException:
            # the masks after the state that it went on from are gone
            self._count(self._results.count(self._file.project.valid))
            raise
        finally:
            self._results.refresh()
        self._count(report.frames)

    def count_whole(self) -> None:
        """Count the masks that a kill has left whole."""
        self._count(self._results.count_whole(self._file.project.valid))

    def _job(self, outputs: tuple[str, ...], end: int | None) -> "Job":
        from vostool.segment.job import Job

        return Job(
            self.video,
            self._painted.files(end),
            self._file.folder,
            ("masks", *outputs),
            end=end,
            backward=self._file.project.backward,
            check=defaults.CHECK_EVERY,
        )

    def _written(self, frame: int, labels: LabelMap) -> None:
        self.frames = max(self.frames, frame + 1)
        if frame >= self._file.project.valid:
            now = time.monotonic()
            is_due = now - self._noted > PERSIST
            self._noted = now if is_due else self._noted
            self._file.change(valid=frame + 1, on_disk=is_due)
        self.latest = frame, labels  # last: a page that shows them knows that they are valid
        self._changed()

    def _begin_anew(self) -> None:
        self._count(0)

    def _count(self, frames: int) -> None:
        """Note that so many frames have results, and no more."""
        self.frames = frames
        self._file.change(valid=frames)
