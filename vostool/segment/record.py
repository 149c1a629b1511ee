"""What is known about a run of `vostool segment` while it runs, and its report."""

import math
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

import torch

from vostool import __version__
from vostool.errors import Caution
from vostool.inference.backward import WayBack, folder_of
from vostool.inference.checks import Checks
from vostool.inference.cuts import OnCut, describe_cuts
from vostool.inference.judge import Judge
from vostool.inference.oom import LimitChange
from vostool.inference.placement import Placement
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.reports import LimitsReached, Video
from vostool.inference.states import State, States
from vostool.inference.tracker import Tracker
from vostool.inference.video import Stopwatch
from vostool.media.frame import Frame, VideoInfo
from vostool.preprocess import is_capped
from vostool.propagation.frames import Prediction
from vostool.segment.job import Job, options_of
from vostool.segment.output import Output
from vostool.segment.report import (
    FramesPerSecond,
    RunReport,
    Seconds,
    StatesKept,
    Status,
    Warned,
)


@dataclass
class RunRecord:
    """What is known about a run so far, from which its report is made."""

    job: Job
    predictor: Predictor
    given: GivenMasks
    output: Output
    state: State | None = None  # to go on from
    watch: Stopwatch = field(default_factory=Stopwatch)
    damage: list[str] = field(default_factory=list)  # of the video, as its reader tells

    def __post_init__(self) -> None:
        """Look for what gives warnings before the first frame, and prepare the tracker."""
        self.tracker = Tracker(predictor=self.predictor)
        self.followed = 0  # frames, in this run
        self.cuts: list[int] = []  # the first frame of each scene but the first
        job = self.job
        self.judge = Judge(job.check * job.stride, job.start)
        if self.state is not None:
            self.tracker.start_within(self.state.lowered)
            self.judge.checks += self.state.provenance.checks
        self.way_back = (
            WayBack(job.input.path, job.start, self.given, folder_of(job.output), stride=job.stride)
            if job.backward
            else None
        )
        self.cautions = tuple(
            input_cautions(self.job, self.output.source.info, self.given, self.predictor)
        )

    def report(self, status: Status, error: str | None = None) -> RunReport:
        """Return the report: all that is needed to reproduce the run, and how far it came."""
        names, watch, followed = self.output.source.names, self.watch, self.followed
        late = cautions(self.job, self.given, self.output, self.damage, status, self.cuts)
        return RunReport(
            versions={
                "vostool": __version__,
                "python": platform.python_version(),
                "torch": torch.__version__,
                "av": version("av"),
            },
            network=self.predictor.identity,
            options=options_of(self.job, self.predictor),
            input=Video.of(self.output.source.info),
            objects=sorted(self.given.objects),
            frames=self.output.frames,
            frame_names=None
            if names is None
            else list(names[self.job.start : self.job.end : self.job.stride]),
            seconds=Seconds(
                network=round(watch.network, 3), total=round(watch.total, 3), frames=followed
            ),
            fps=FramesPerSecond(
                network=round(followed / watch.network, 2) if watch.network > 0 else None,
                end_to_end=round(followed / watch.total, 2) if watch.total > 0 else None,
            ),
            **self.output.paths,  # type: ignore[arg-type]
            limits=describe_limits(self.predictor, self.tracker.lowered),
            states=None
            if self.states is None
            else StatesKept(spacing=self.states.spacing, bound=self.states.bound),
            checks=self.checks,
            cuts=self.cuts,
            status=status,
            error=error,
            warnings=[Warned.of(caution) for caution in (*self.cautions, *late)],
        )

    def keep_state(self, frames: int, last: bool = False) -> None:
        """Write the state after so many frames, where that is due, once their masks are there."""
        if self.states is not None and (last or self.states.due(frames)):
            write = self.states.writing(
                self.tracker, frames, self.judge.checks, cut=bool(self.cuts)
            )
            self.output.then(write)

    def note_scene(self, frame: Frame) -> None:
        """Note where a scene begins, of each frame in turn."""
        if frame.begins_scene:
            self.cuts.append(frame.index)

    def finish(self, frame: Frame, prediction: Prediction[Any]) -> Prediction[Any]:
        """Return what is predicted of a frame by the ways it is followed, once it is checked."""
        back, track = self.way_back, self.tracker.track
        if back is not None:
            prediction = back.merge(frame, prediction)
        groups = (*track.groups, *(() if back is None else back.groups))
        # what was said of the frame, not predicted
        without = self.given.absent_on(frame) | set(self.given.ids.get(frame.index, ()))
        place = self.tracker.latest_place((frame.rgb.shape[0], frame.rgb.shape[1]))
        # what comes from the way back may lie outside of the region that the way forward saw
        look = None if back is None or place.region is None else partial(self._look, frame)
        segmenter = track.loop.segmenter
        self.judge.check(frame.index, prediction, place, groups, segmenter, without, look)
        return prediction

    @torch.no_grad()
    def _look(self, frame: Frame) -> tuple[Placement, Any]:
        """Return the placement of the whole frame, and its features in that."""
        predictor = self.tracker.predictor
        place = predictor.placement(*frame.rgb.shape[:2])
        return place, predictor.segmenter.encode(place.image(frame.rgb, predictor.device))

    @property
    def checks(self) -> Checks | None:
        """The scores of the masks so far, if any are checked."""
        found = self.judge.checks
        return Checks.of(self.job.check, found) if self.job.check or found else None

    @property
    def states(self) -> States | None:
        """The states of the run, if they are to be written: masks must be there to go on from."""
        return self.output.states if self.job.keeps_states else None


def input_cautions(
    job: Job, info: VideoInfo, given: GivenMasks, predictor: Predictor
) -> Iterator[Caution]:
    """Yield the warnings about a job that are known before its first frame."""
    yield from (Caution("frames", words) for words in job.input.warnings)
    yield from (Caution("mask", words) for words in given.warnings)
    # without those whose masks are empty
    unknown = len(range(job.start, given.first, job.stride))
    unknown -= sum(frame < given.first for frame in given.ids)
    if unknown and not job.backward:
        yield Caution(
            "frames_before_mask",
            f"frame {given.first} is the first with a mask ({given.name(given.first)}): the "
            f"masks of {unknown} frame{'s' * (unknown > 1)} before it are empty; --backward "
            "follows the objects to the beginning (frames count from 0, a mask of the first is "
            "named 00000.png)",
        )
    if is_capped(info.height, info.width, predictor.size):
        yield Caution(
            "size_capped",
            f"frames of {info.width}x{info.height} are too long for --size {predictor.size}: the "
            "network's input is {1}x{0}".format(*predictor.placement(info.height, info.width).size),
        )


def cautions(
    job: Job,
    given: GivenMasks,
    output: Output,
    damage: Iterable[str],
    status: str,
    cuts: Sequence[int] = (),
) -> list[Caution]:
    """Return the warnings of a run: about its video, its masks, its outputs."""
    end = job.start + output.frames * job.stride if status == "done" else math.inf
    late = [frame for frame in given.ids if frame >= end]
    return [
        *(Caution("video", warning) for warning in damage),
        *(
            Caution("mask_not_reached", f"the video ended before frame {frame}, which has a mask")
            for frame in late
        ),
        *cut_cautions(job, given, cuts),
        *output.warnings,
    ]


def cut_cautions(job: Job, given: GivenMasks, cuts: Iterable[int]) -> Iterator[Caution]:
    """Yield a warning if objects are followed across scene cuts, without a mask behind them."""
    first = job.start if job.backward else given.first
    across = [frame for frame in cuts if frame > first and frame not in given.ids]
    if across and job.cuts is OnCut.IGNORE:
        yield Caution("scene_cuts", describe_cuts(across, job.cuts))


def describe_limits(predictor: Predictor, lowered: Sequence[LimitChange]) -> LimitsReached:
    """Return the limits at the end of a run, and how running out of memory lowered them."""
    limits = lowered[-1].limits if lowered else predictor.limits
    return LimitsReached(**asdict(limits), lowered=[step.report for step in lowered])
