"""What was followed in a project: the masks in its folder, and what the report says of them.

Never imports torch.

Shapes: labels (H, W), uint8.
"""

from collections import defaultdict
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import numpy as np

from vostool.errors import MaskError
from vostool.inference.checks import LOW
from vostool.media.frame import VideoInfo
from vostool.media.labels import LabelMap
from vostool.media.masks import read_mask
from vostool.segment.report import read_report
from vostool.studio.names import FrameNames


class Results:
    """The masks of a run in a folder, and its report as it was when `refresh` was last called."""

    def __init__(self, folder: Path, names: FrameNames, info: VideoInfo) -> None:
        """Read the report, if there is one."""
        self.folder, self.names, self.info = folder, names, info
        self.refresh()

    def refresh(self) -> None:
        """Read the report again, once a run has ended."""
        self._report = read_report(self.folder)
        self._doubtful = self._find_doubtful()

    @property
    def was_killed(self) -> bool:
        """Whether the run ended without a word, so that its last masks may be damaged."""
        return self._report is not None and self._report.status == "running"

    @property
    def paths(self) -> list[str]:
        """The paths of what has been made."""
        paths = () if self._report is None else self._report.outputs.values()
        return [path for path in paths if path is not None]

    @property
    def warnings(self) -> list[str]:
        """What the run warns of."""
        return [] if self._report is None else [each.message for each in self._report.warnings]

    def path(self, frame: int) -> Path:
        """Return where the mask of a frame lies."""
        return self.folder / "masks" / f"{self.names.of(frame)}.png"

    def labels(self, frame: int) -> LabelMap:
        """Return the labels of a frame; all background if there are none."""
        width, height = self.info.width, self.info.height
        with suppress(MaskError):  # there is none yet, or it has just been removed
            return read_mask(self.path(frame), width, height, True, strict=False)
        return np.zeros((height, width), np.uint8)

    def count(self, most: int) -> int:
        """Return how many masks there are, from the first frame on, up to so many."""
        pictures = self.names.pictures
        numbers = range(most if pictures is None else min(most, len(pictures)))
        return sum(1 for _ in takewhile(Path.exists, map(self.path, numbers)))

    def count_whole(self, most: int) -> int:
        """Return how many masks there are that a kill has not damaged; takes a while."""
        from vostool.segment.writers import Source
        from vostool.segment.writers.pictures import Masks

        video = self.info.path
        return Masks(self.folder, Source(video, self.info, names=self.names.pictures)).whole(most)

    def doubtful(self, valid: int) -> dict[int, dict[int, float]]:
        """Return which objects look doubtful on which of the first `valid` frames.

        Of each there is the confidence, see `vostool.inference.checks.Check`.
        """
        return {frame: found for frame, found in self._doubtful.items() if frame < valid}

    def _find_doubtful(self) -> dict[int, dict[int, float]]:
        found: dict[int, dict[int, float]] = defaultdict(dict)
        checks = None if self._report is None else self._report.checks
        for id_, scores in ({} if checks is None else checks.objects).items():
            for frame, confidence in zip(scores.frames, scores.confidence, strict=True):
                if confidence < LOW:
                    found[frame][id_] = confidence
        return dict(sorted(found.items()))
