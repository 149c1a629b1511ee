"""What `vostool segment` is to do: the video, the masks, and what to write where."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any

from vostool.errors import UsageError
from vostool.inference.absence import parse_absent
from vostool.inference.cuts import OnCut
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.media.frame import VideoInfo
from vostool.media.inputs import Elsewhere, Stored, VideoInput
from vostool.media.mask_options import MaskFiles, parse_object_masks, split_spec
from vostool.media.time_codes import TimeCode
from vostool.segment.output import frame_names
from vostool.segment.report import RunReport
from vostool.segment.settings import Settings, parse_settings
from vostool.segment.writers import CLASSIC, DEFAULT, Source, check_outputs

# the entries of a report's options that say which usual outputs were wanted; "masks" are those
# given
OUTPUT_FLAGS = {name: "save_masks" if name == "masks" else name for name in CLASSIC}


@dataclass(frozen=True)
class Job:
    """What to segment, and where to write it."""

    video: Path | VideoInput
    masks: tuple[str, ...]  # as given to --mask
    output: Path
    outputs: tuple[str, ...] = DEFAULT  # what to write, see `writer_of`
    start: int = 0  # frame numbers, `end` exclusive
    end: int | None = None
    start_time: TimeCode | None = None  # by which start is found, see `with_frame_numbers`
    end_time: TimeCode | None = None
    stride: int = 1  # frames from one that is taken to the next
    fps: Fraction | None = None  # frames per second of a folder
    overwrite: bool = False
    threshold: float | None = None  # 0 to 1, if the masks are soft ones of one object
    resume: bool = False  # go on with the run that the output folder holds
    states: bool = True  # write states to resume from
    names: str | None = None  # of objects, "1=horse,2=rider"
    finish: str | None = None  # what to do to masks before they are written, see `Finish`
    effect_on: str | None = None  # "objects", "background" or an object's id
    opacity: float | None = None  # of overlays, 0 to 1
    palette: str | None = None  # of overlays, see `PALETTES`
    codec: str | None = None  # of films without alpha, see `MP4_CODECS`
    crf: int | None = None  # and their quality

    absent: tuple[str, ...] = ()  # as given to --absent
    backward: bool = False  # follow the objects of a mask to the frames before it as well
    cuts: OnCut = OnCut.IGNORE  # what happens to objects at scene cuts
    check: int = 0  # judge the masks of every so many frames; 0: none
    # in a batch:
    model: ModelOptions | None = None  # None: that of the other jobs
    upload: str | None = None  # the address that the output folder is for, see `segment_remote`

    def __post_init__(self) -> None:
        """Raise UsageError for outputs that cannot be written, or what is no stretch.

        Also for what would read a stream a second time.
        """
        parse_absent(self.absent)
        if self.stride < 1:
            raise UsageError(f"stride: expected 1 or more, found {self.stride}")
        for what in self._second_looks():
            self.input.again(what)
        if self.outputs:  # without any, masks may go elsewhere
            check_outputs(self.outputs)
        _ = self.settings, self.input

    @property
    def input(self) -> VideoInput:
        """Where the frames come from; raises UsageError for a frame rate that is not for it."""
        if isinstance(self.video, VideoInput):
            if self.fps is not None and not isinstance(self.video, Elsewhere):
                raise UsageError(f"--fps: is for folders of frames, {self.video} has its own times")
            return self.video
        return Stored(self.video, self.fps)

    @property
    def keeps_states(self) -> bool:
        """Whether states are written to resume from; masks must be there to go on from."""
        return self.states and "masks" in self.outputs and self.input.repeatable

    def _second_looks(self) -> Iterator[str]:
        """Yield the options by which the video is read more than once."""
        if self.backward:
            yield "--backward"
        if self.resume:
            yield "--resume"
        for name, time in (("--start", self.start_time), ("--end", self.end_time)):
            if time is not None:
                yield f"{name} {time}"
        for spec in self.masks:
            if isinstance(split_spec(spec)[0], TimeCode):
                yield f"--mask {spec}"

    @property
    def settings(self) -> Settings:
        """How outputs are to be; raises UsageError for what is not valid."""
        return parse_settings(
            self.names,
            self.finish,
            self.effect_on,
            self.opacity,
            self.palette,
            self.codec,
            self.crf,
        )


def source_of(job: Job, info: VideoInfo, given: GivenMasks) -> Source:
    """Return what outputs are made from; raises UsageError for an effect on what is not there."""
    objects = tuple(sorted({id_ for ids in given.ids.values() for id_ in ids}))
    target = job.settings.effect_on
    if isinstance(target, int) and target not in objects:  # it would show all that was to be hidden
        found = ", ".join(map(str, objects))
        raise UsageError(f"effect on object {target}: expected one that masks show: {found}")
    files = job.input.files
    return Source(
        job.input.path if job.input.repeatable else None,
        info,
        job.start,
        job.stride,
        names=None if files is None else tuple(files),
        older=frame_names(job.output),
        objects=objects,
        settings=job.settings,
        files=files or {},
    )


def mask_paths(job: Job) -> dict[int, MaskFiles]:
    """Return the job's masks by frame; raises UsageError for a frame that is not taken."""
    files, video = job.input.files, job.input
    names = None if files is None else list(files)
    paths = parse_object_masks(job.masks, job.start, names, video.path, video.rate)
    for frame, path in paths.items():
        if frame < job.start or (job.end is not None and frame >= job.end):
            last = "the end" if job.end is None else f"{job.end - 1}"
            raise UsageError(
                f"--mask: {file_names(path)} is for frame {frame}, outside of the range "
                f"{job.start} to {last}"
            )
        if (frame - job.start) % job.stride:
            near = frame - (frame - job.start) % job.stride
            raise UsageError(
                f"--mask: {file_names(path)} is for frame {frame}, which --stride {job.stride} "
                f"leaves out; the nearest are {near} and {near + job.stride}"
            )
    return paths


def file_names(masks: MaskFiles) -> str:
    """Return the names of the masks of a frame, to be shown."""
    return ", ".join(map(str, masks.values())) if isinstance(masks, dict) else str(masks)


def expected_frames(job: Job, info: VideoInfo) -> int | None:
    """Return how many frames the job will take, as far as the container knows."""
    ends = [end for end in (job.end, info.frames) if end is not None]
    return len(range(job.start, min(ends), job.stride)) if ends else None


def options_of(job: Job, predictor: Predictor) -> dict[str, Any]:
    """Return all settings of a run but the network's, JSON-serialisable."""
    options: dict[str, Any] = {each.name: getattr(job, each.name) for each in fields(job)}
    options |= {"video": str(job.input), "output": job.upload or str(job.output)}
    options["fps"] = None if job.fps is None else str(job.fps)
    wanted = options.pop("outputs")
    # how it was made is not what was made; the model's options are the predictor's
    for name in ("resume", "start_time", "end_time", "model", "upload"):
        options.pop(name)
    written = {flag: name in wanted for name, flag in OUTPUT_FLAGS.items()}
    given = {"masks": list(job.masks), "absent": list(job.absent)}
    more = [name for name in wanted if name not in CLASSIC]
    return {**options, **given, **written, "write": more, **predictor.options}


# the values that options have in reports of versions that did not know them
OLDER: dict[str, Any] = {
    **dict.fromkeys(
        ("threshold", "names", "finish", "effect_on", "opacity", "palette", "codec", "crf")
    ),
    "write": [],
    "absent": [],
    "backward": False,
    "cuts": OnCut.IGNORE,
    "stride": 1,
    "fps": None,
}


def is_alike(job: Job, predictor: Predictor, report: RunReport) -> bool:
    """Return whether a run has the same masks and outputs as a job would have."""
    # whatever these are, the masks are alike
    same: dict[str, Any] = {"overwrite": False, "states": True, "check": 0}
    found = {**OLDER, **report.options, **same}
    expected = {**options_of(job, predictor), **same}
    return report.network == predictor.identity and found == expected


def length_of(job: Job) -> int:
    """Return how many frames the job takes at most."""
    return sys.maxsize if job.end is None else len(range(job.start, job.end, job.stride))
