"""The network of a studio, and what it does: follow, write outputs, snap.

All of it is called in one thread. Following is `vostool.segment.run.segment`: what the studio
makes is what the command line makes.
"""

from collections.abc import Callable
from dataclasses import replace

from vostool.errors import OutputError
from vostool.files.claims import refuse_to_replace
from vostool.first_mask.snap import snap
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.states import States
from vostool.media.frame import Rgb
from vostool.media.labels import LabelMap
from vostool.progress import ProgressCallback
from vostool.segment.job import Job, mask_paths
from vostool.segment.output import results_in
from vostool.segment.report import RunReport, read_report
from vostool.segment.resume import refuse_other_run
from vostool.segment.run import segment


class Engine:
    """A network, loaded when it is first needed and again when its options change."""

    def __init__(self) -> None:
        """Load nothing."""
        self._options: ModelOptions | None = None
        self._predictor: Predictor | None = None

    def load(self, options: ModelOptions) -> Predictor:
        """Return the network with some options; raises as `load_predictor`."""
        if self._predictor is None or options != self._options:
            self._predictor = None  # before two of them are in memory
            self._predictor, self._options = load_predictor(options), options
        return self._predictor

    def run(
        self,
        job: Job,
        options: ModelOptions,
        progress: ProgressCallback,
        written: Callable[[int, LabelMap], None],
        begin_anew: Callable[[], None] | None,
    ) -> RunReport:
        """Do what is left of a job; calls `begin_anew` where nothing made before can be kept.

        None: what was made before must be kept. Raises as `segment`, OutputError if it cannot be.
        """
        predictor = self.load(options)
        job = replace(job, resume=True)
        if begin_anew is not None and not is_resumable(job, predictor):
            begin_anew()
            job = replace(job, resume=False, overwrite=True)
        return segment(job, predictor, progress, written)

    def snap(self, options: ModelOptions, rgb: Rgb, labels: LabelMap) -> LabelMap:
        """Return labels (H, W) of a frame as the network sees their objects there."""
        return snap(self.load(options), rgb, labels)


def is_resumable(job: Job, predictor: Predictor) -> bool:
    """Return whether a job can go on with what its folder holds.

    It cannot after other options or another version: the results of a studio's own folder are then
    made anew from what is painted.
    """
    report = read_report(job.output)
    try:
        if report is None:
            refuse_to_replace(results_in(job.output))
            return True
        refuse_other_run(job, predictor, report)
        given = GivenMasks(mask_paths(job), job.input.probe(), threshold=job.threshold)
        states = States(job.output, job.input.path, job.start, given, ahead=job.backward)
        states.latest(predictor, report.frames)
        return report.status != "done" or any(True for _ in states.found())
    except OutputError:
        return False
