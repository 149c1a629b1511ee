"""What `vostool segment` is to do: the video, the masks, and what to write where."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vostool.errors import UsageError
from vostool.inference.predictor import Predictor
from vostool.media.folder import list_images
from vostool.media.frame import VideoInfo
from vostool.media.mask_options import MaskFiles, parse_object_masks
from vostool.media.time_codes import TimeCode
from vostool.segment.output import frame_names
from vostool.segment.writers import DEFAULT, WRITERS, Source

# the entries of a report's options that say which outputs were wanted; "masks" are those given
OUTPUT_FLAGS = {name: "save_masks" if name == "masks" else name for name in WRITERS}


@dataclass(frozen=True)
class Job:
    """What to segment, and where to write it."""

    video: Path
    masks: tuple[str, ...]  # as given to --mask
    output: Path
    outputs: tuple[str, ...] = DEFAULT  # what to write, names of `WRITERS`
    start: int = 0  # frame numbers, `end` exclusive
    end: int | None = None
    start_time: TimeCode | None = None  # by which start is found, see `with_frame_numbers`
    end_time: TimeCode | None = None
    overwrite: bool = False
    threshold: float | None = None  # 0 to 1, if the masks are soft ones of one object
    resume: bool = False  # go on with the run that the output folder holds
    states: bool = True  # write states to resume from

    def __post_init__(self) -> None:
        """Raise UsageError if there is nothing to write, or an output that is unknown."""
        unknown = [name for name in self.outputs if name not in WRITERS]
        if unknown or not self.outputs:
            found = ", ".join(unknown) or "none"
            raise UsageError(f"expected outputs among {', '.join(WRITERS)}, found {found}")


def source_of(job: Job, info: VideoInfo) -> Source:
    """Return what outputs are made from."""
    names = tuple(path.stem for path in list_images(job.video)) if job.video.is_dir() else None
    return Source(job.video, info, job.start, names, frame_names(job.output))


def mask_paths(job: Job) -> dict[int, MaskFiles]:
    """Return the job's masks by frame; raises UsageError for a frame out of its range."""
    names = [path.stem for path in list_images(job.video)] if job.video.is_dir() else None
    paths = parse_object_masks(job.masks, job.start, names, job.video)
    for frame, path in paths.items():
        if frame < job.start or (job.end is not None and frame >= job.end):
            last = "the end" if job.end is None else f"{job.end - 1}"
            raise UsageError(
                f"--mask: {file_names(path)} is for frame {frame}, outside of the range "
                f"{job.start} to {last}"
            )
    return paths


def file_names(masks: MaskFiles) -> str:
    """Return the names of the masks of a frame, to be shown."""
    return ", ".join(map(str, masks.values())) if isinstance(masks, dict) else str(masks)


def expected_frames(job: Job, info: VideoInfo) -> int | None:
    """Return how many frames the job will take, as far as the container knows."""
    ends = [end for end in (job.end, info.frames) if end is not None]
    return max(0, min(ends) - job.start) if ends else None


def options_of(job: Job, predictor: Predictor) -> dict[str, Any]:
    """Return all settings of a run but the network's, JSON-serialisable."""
    options = {**asdict(job), "video": str(job.video), "output": str(job.output)}
    wanted = options.pop("outputs")
    for name in ("resume", "start_time", "end_time"):  # how it was made is not what was made
        options.pop(name)
    written = {flag: name in wanted for name, flag in OUTPUT_FLAGS.items()}
    return {**options, "masks": list(job.masks), **written, **predictor.options}


def length_of(job: Job) -> int:
    """Return how many frames the job takes at most."""
    return sys.maxsize if job.end is None else job.end - job.start
