"""The job of `vostool erf`, and the frames and masks that it needs."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vostool import defaults
from vostool.errors import UsageError
from vostool.media.folder import list_images
from vostool.media.frame import VideoInfo
from vostool.media.mask_options import parse_mask_options
from vostool.media.time_codes import Position, frame_number
from vostool.media.video import probe


@dataclass(frozen=True)
class ErfJob:
    """What to analyse, and where to write the result."""

    video: Path
    mask: str  # as given to --mask
    output: Path
    frame: Position | None = None  # the main frame to analyse; None: the middle one of the video
    truth: tuple[str, ...] = ()  # as given to --truth
    object_id: int | None = None  # None: all of the mask
    steps: int = defaults.ERF_ITERS  # M
    rate: float = defaults.GC_RATE  # alpha of Eq. 8
    strip: int = 5  # frames of the strip; 0: none
    overwrite: bool = False


@dataclass(frozen=True)
class ErfPlan:
    """A job with all that is determined before a network runs."""

    job: ErfJob
    info: VideoInfo
    main: int  # the main frame
    frames: tuple[int, ...]  # all to analyse, ascending
    mask_frame: int
    mask: Path  # of that frame
    truth: dict[int, Path]  # true masks by frame


def make_plan(job: ErfJob) -> ErfPlan:
    """Return which frames and masks a job needs; raises InputError, MaskError or UsageError."""
    if not 0 <= job.rate < math.inf:
        raise UsageError(f"--rate {job.rate}: expected a finite number from 0 up")
    info = probe(job.video)
    names = [path.stem for path in list_images(job.video)] if job.video.is_dir() else None
    masks = parse_mask_options([job.mask], 0, names, job.video)
    if len(masks) != 1:
        raise UsageError(f"--mask {job.mask}: expected one mask, found {len(masks)}")
    ((mask_frame, mask),) = masks.items()
    main, frames = choose_frames(job, info, mask_frame)
    truth = parse_mask_options(
        job.truth, main, names, job.video
    )  # one without a number is the main frame's
    return ErfPlan(job, info, main, frames, mask_frame, mask, truth)


def choose_frames(job: ErfJob, info: VideoInfo, mask_frame: int) -> tuple[int, tuple[int, ...]]:
    """Return the main frame, and all to analyse: the main one, and others evenly over the video.

    Raises UsageError for a frame that does not come after the mask's.
    """
    frame = None if job.frame is None else frame_number(job.frame, job.video)
    last = info.frames - 1 if info.frames else frame
    if last is None:
        raise UsageError(f"{job.video}: the number of frames is unknown; expected --frame")
    main = (mask_frame + last + 1) // 2 if frame is None else frame
    if not mask_frame < main <= last:
        raise UsageError(f"--frame {main}: expected one from {mask_frame + 1} to {last}")
    spread = np.linspace(mask_frame, last, job.strip + 1).round().astype(int).tolist()[1:]
    return main, tuple(sorted({main, *(frame for frame in spread if frame > mask_frame)}))
