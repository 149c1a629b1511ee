"""`vostool segment`: a video and the masks of some frames in, those of every frame out.

Three things run concurrently: a thread decodes ahead, the network segments, and a thread
writes. Only a few frames and the memory bank, whose size is capped, are held in RAM.
"""

import math
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
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
from vostool.inference.video import Stopwatch, follow
from vostool.media.folder import folder_warnings, list_images
from vostool.media.frame import VideoInfo
from vostool.media.masks import parse_mask_options
from vostool.media.video import probe, read_frames
from vostool.preprocess import is_capped
from vostool.progress import ProgressCallback, no_progress
from vostool.segment.output import Output, frame_names
from vostool.segment.writers import DEFAULT, WRITERS, Source

SCHEMA_VERSION = 2  # of run.json; until 1, its warnings were mere messages


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
) -> dict[str, Any]:
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
        return write_output(job, predictor, given, output, progress)


def write_output(
    job: Job,
    predictor: Predictor,
    given: GivenMasks,
    output: Output,
    progress: ProgressCallback,
) -> dict[str, Any]:
    """Follow the objects of a job, as `segment` does, in a folder that is claimed."""
    info, watch = output.source.info, Stopwatch()
    warnings, lowered = list[str](), list[LimitChange]()
    found = list(input_cautions(job, info, given, predictor))
    expected = expected_frames(job, info)

    def report(status: str, problem: str | None = None) -> dict[str, Any]:
        return {
            **describe(job, predictor, given, output, watch),
            "limits": describe_limits(predictor, lowered),
            "status": status,
            "error": problem,
            "warnings": [
                each.report for each in (*found, *cautions(job, given, output, warnings, status))
            ],
        }

    started = time.perf_counter()
    status, problem = "done", None
    try:
        with oom_as_device_error(predictor.device), output.writing(report("running")):
            frames = read_frames(job.video, job.start, job.end, warnings)
            for frame, labels in follow(frames, given, predictor, watch, lowered):
                output.add(frame, labels)
                progress(frame.index - job.start + 1, expected, "")
            given.check_reached(frame.index + 1)
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
        watch.total = time.perf_counter() - started
        final = report(status, problem)
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
            "network's input is {1}x{0}".format(*predictor.placement(info.height, info.width).size),
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


def describe(
    job: Job, predictor: Predictor, given: GivenMasks, output: Output, watch: Stopwatch
) -> dict[str, Any]:
    """Return the report of a run: all that is needed to reproduce it."""
    frames, names = output.frames, output.source.names
    return {
        "schema_version": SCHEMA_VERSION,
        "versions": {
            "vostool": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "av": version("av"),
        },
        "network": predictor.identity,
        "options": options_of(job, predictor),
        "input": asdict(output.source.info),
        "objects": sorted({id_ for ids in given.ids.values() for id_ in ids}),
        "frames": frames,
        "frame_names": names and list(names[job.start : job.end]),
        "seconds": {"network": round(watch.network, 3), "total": round(watch.total, 3)},
        "fps": {
            "network": round(frames / watch.network, 2) if watch.network > 0 else None,
            "end_to_end": round(frames / watch.total, 2) if watch.total > 0 else None,
        },
        **output.paths,
    }


def describe_limits(predictor: Predictor, lowered: Sequence[LimitChange]) -> dict[str, Any]:
    """Return the limits at the end of a run, and how running out of memory lowered them."""
    limits = lowered[-1].limits if lowered else predictor.limits
    return {**asdict(limits), "lowered": [step.report for step in lowered]}


def options_of(job: Job, predictor: Predictor) -> dict[str, Any]:
    """Return all settings of a run but the network."""
    options = asdict(job)
    wanted = options.pop("outputs")
    # "masks" are those that were given
    written = {"save_masks" if name == "masks" else name: name in wanted for name in WRITERS}
    return {**options, **written, **predictor.options}
