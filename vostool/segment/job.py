"""`vostool segment`: a video and the masks of some frames in, those of every frame out.

Three things run concurrently: a thread decodes ahead, the network segments, and a thread
writes. Only a few frames and the memory bank, whose size is capped, are held in RAM.
"""

import math
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from vostool import __version__
from vostool.device import oom_as_device_error
from vostool.errors import Caution, UsageError
from vostool.inference.oom import LimitChange
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.reports import LimitsReached, Video
from vostool.inference.video import Stopwatch, follow
from vostool.media.folder import folder_warnings, list_images
from vostool.media.frame import VideoInfo
from vostool.media.masks import parse_mask_options
from vostool.media.video import probe, read_frames
from vostool.preprocess import is_capped
from vostool.progress import ProgressCallback, no_progress
from vostool.segment.output import Output, frame_names
from vostool.segment.report import FramesPerSecond, RunReport, Seconds, Status, Warned
from vostool.segment.writers import DEFAULT, WRITERS, Source


@dataclass(frozen=True)
class Job:
    """What to segment, and where to write it."""

    video: Path
    masks: tuple[str, ...]  # as given to --mask
    output: Path
    outputs: tuple[str, ...] = DEFAULT  # what to write, names of `WRITERS`
    start: int = 0  # frame numbers, `end` exclusive
    end: int | None = None
    overwrite: bool = False
    threshold: float | None = None  # 0 to 1, if the masks are soft ones of one object

    def __post_init__(self) -> None:
        """Raise UsageError if there is nothing to write, or an output that is unknown."""
        unknown = [name for name in self.outputs if name not in WRITERS]
        if unknown or not self.outputs:
            found = ", ".join(unknown) or "none"
            raise UsageError(f"expected outputs among {', '.join(WRITERS)}, found {found}")


def segment(
    job: Job,
    predictor: Predictor,
    progress: ProgressCallback = no_progress,
    *,
    redo: bool = False,
) -> RunReport:
    """Run a job and return its report, which is also written as run.json.

    `progress` is called with the number of frames done and, if known, of all. With `redo` an
    older run in the job's folder is replaced even without `overwrite`.
    Raises InputError, MaskError, OutputError, DeviceError or UsageError. On an
    error, finished work is kept: the masks, the overlay as overlay.part.mp4, and a report with
    the status; KeyboardInterrupt gets a note of it.
    """
    info = probe(job.video)
    given = GivenMasks(mask_paths(job), info, threshold=job.threshold)
    output = Output(job.output, job.outputs, source_of(job, info))
    with output.claimed({job.video, *given.paths.values()}, replace=job.overwrite or redo):
        return follow_into(RunRecord(job, predictor, given, output), progress)


@dataclass
class RunRecord:
    """What is known about a run so far, from which its report is made."""

    job: Job
    predictor: Predictor
    given: GivenMasks
    output: Output
    watch: Stopwatch = field(default_factory=Stopwatch)
    lowered: list[LimitChange] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)  # of the video, as its reader tells

    def __post_init__(self) -> None:
        """Look for what gives warnings before the first frame."""
        self.cautions = tuple(
            input_cautions(self.job, self.output.source.info, self.given, self.predictor)
        )

    def report(self, status: Status, error: str | None = None) -> RunReport:
        """Return the report: all that is needed to reproduce the run, and how far it came."""
        frames, names, watch = self.output.frames, self.output.source.names, self.watch
        late = cautions(self.job, self.given, self.output, self.damage, status)
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
            objects=sorted({id_ for ids in self.given.ids.values() for id_ in ids}),
            frames=frames,
            frame_names=None if names is None else list(names[self.job.start : self.job.end]),
            seconds=Seconds(network=round(watch.network, 3), total=round(watch.total, 3)),
            fps=FramesPerSecond(
                network=round(frames / watch.network, 2) if watch.network > 0 else None,
                end_to_end=round(frames / watch.total, 2) if watch.total > 0 else None,
            ),
            **self.output.paths,  # type: ignore[arg-type]
            limits=describe_limits(self.predictor, self.lowered),
            status=status,
            error=error,
            warnings=[Warned.of(caution) for caution in (*self.cautions, *late)],
        )


def follow_into(record: RunRecord, progress: ProgressCallback) -> RunReport:
    """Follow the objects of a job, as `segment` does, in a folder that is claimed."""
    job, output, started = record.job, record.output, time.perf_counter()
    expected = expected_frames(job, output.source.info)
    status: Status = "done"
    problem = None
    try:
        with (
            oom_as_device_error(record.predictor.device),
            output.writing(record.report("running")),
        ):
            frames = read_frames(job.video, job.start, job.end, record.damage)
            for frame, labels in follow(
                frames, record.given, record.predictor, record.watch, record.lowered
            ):
                output.add(frame, labels)
                progress(frame.index - job.start + 1, expected, "")
            record.given.check_reached(frame.index + 1)
    except KeyboardInterrupt as stop:
        status = "interrupted"
        if output.frames:
            stop.add_note(
                f"the first {output.frames} frames of {job.video} are kept in {job.output}"
            )
        raise
    except BaseException as error:
        status, problem = "failed", str(error)
        raise
    finally:
        record.watch.total = time.perf_counter() - started
        final = record.report(status, problem)
        if output.frames:
            output.write_report(final)
    return final


def input_cautions(
    job: Job, info: VideoInfo, given: GivenMasks, predictor: Predictor
) -> Iterator[Caution]:
    """Yield the warnings about a job that are known before its first frame."""
    if job.video.is_dir():
        yield from (Caution("frames", words) for words in folder_warnings(job.video))
    yield from (Caution("mask", words) for words in given.warnings)
    # without those whose masks are empty
    unknown = given.first - job.start - sum(frame < given.first for frame in given.paths)
    if unknown:
        yield Caution(
            "frames_before_mask",
            f"frame {given.first} is the first with a mask ({given.paths[given.first].name}): the "
            f"masks of {unknown} frame{'s' * (unknown > 1)} before it are empty; frames count "
            "from 0, so that a mask of the first is named 00000.png",
        )
    if is_capped(info.height, info.width, predictor.size):
        yield Caution(
            "size_capped",
            f"frames of {info.width}x{info.height} are too long for --size {predictor.size}: the "
            "network's input is {1}x{0}".format(*predictor.working_size(info.height, info.width)),
        )


def cautions(
    job: Job, given: GivenMasks, output: Output, damage: Iterable[str], status: str
) -> list[Caution]:
    """Return the warnings of a run: about its video, its masks, its outputs."""
    end = job.start + output.frames if status == "done" else math.inf
    late = [frame for frame in given.paths if frame >= end]
    return [
        *(Caution("video", warning) for warning in damage),
        *(
            Caution("mask_not_reached", f"the video ended before frame {frame}, which has a mask")
            for frame in late
        ),
        *output.warnings,
    ]


def source_of(job: Job, info: VideoInfo) -> Source:
    """Return what outputs are made from."""
    names = tuple(path.stem for path in list_images(job.video)) if job.video.is_dir() else None
    return Source(job.video, info, job.start, names, frame_names(job.output))


def mask_paths(job: Job) -> dict[int, Path]:
    """Return the job's masks by frame; raises UsageError for a frame out of its range."""
    names = [path.stem for path in list_images(job.video)] if job.video.is_dir() else None
    paths = parse_mask_options(job.masks, job.start, names)
    for frame, path in paths.items():
        if frame < job.start or (job.end is not None and frame >= job.end):
            last = "the end" if job.end is None else f"{job.end - 1}"
            raise UsageError(
                f"--mask: {path} is for frame {frame}, outside of the range {job.start} to {last}"
            )
    return paths


def expected_frames(job: Job, info: VideoInfo) -> int | None:
    """Return how many frames the job will take, as far as the container knows."""
    ends = [end for end in (job.end, info.frames) if end is not None]
    return max(0, min(ends) - job.start) if ends else None


def describe_limits(predictor: Predictor, lowered: Sequence[LimitChange]) -> LimitsReached:
    """Return the limits at the end of a run, and how running out of memory lowered them."""
    limits = lowered[-1].limits if lowered else predictor.limits
    return LimitsReached(**asdict(limits), lowered=[step.report for step in lowered])


def options_of(job: Job, predictor: Predictor) -> dict[str, Any]:
    """Return all settings of a run but the network's, JSON-serialisable."""
    options = {**asdict(job), "video": str(job.video), "output": str(job.output)}
    wanted = options.pop("outputs")
    # "masks" are those that were given
    written = {"save_masks" if name == "masks" else name: name in wanted for name in WRITERS}
    return {**options, "masks": list(job.masks), **written, **predictor.options}
