"""What `vostool segment` is to do: the video, the masks, and what to write where."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vostool.errors import UsageError
from vostool.inference.absence import parse_absent
from vostool.inference.cuts import OnCut
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.media.folder import list_images
from vostool.media.frame import VideoInfo
from vostool.media.mask_options import MaskFiles, parse_object_masks
from vostool.media.time_codes import TimeCode
from vostool.segment.finish import Finish
from vostool.segment.output import frame_names
from vostool.segment.settings import OBJECTS, OPACITY, Settings, read_names, read_target
from vostool.segment.writers import CLASSIC, DEFAULT, Source, check_outputs

# the entries of a report's options that say which usual outputs were wanted; "masks" are those
# given
OUTPUT_FLAGS = {name: "save_masks" if name == "masks" else name for name in CLASSIC}


@dataclass(frozen=True)
class Job:
    """What to segment, and where to write it."""

    video: Path
    masks: tuple[str, ...]  # as given to --mask
    output: Path
    outputs: tuple[str, ...] = DEFAULT  # what to write, see `writer_of`
    start: int = 0  # frame numbers, `end` exclusive
    end: int | None = None
    start_time: TimeCode | None = None  # by which start is found, see `with_frame_numbers`
    end_time: TimeCode | None = None
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

    def __post_init__(self) -> None:
        """Raise UsageError for outputs that cannot be written, or what is no stretch."""
        parse_absent(self.absent)
        check_outputs(self.outputs)
        _ = self.settings

    @property
    def settings(self) -> Settings:
        """How outputs are to be; raises UsageError for what is not valid."""
        return Settings(
            read_names(self.names or ""),
            Finish.parse(self.finish or ""),
            read_target(self.effect_on or OBJECTS),
            OPACITY if self.opacity is None else self.opacity,
            self.palette or "davis",
            self.codec or "h264",
            self.crf,
        )


def source_of(job: Job, info: VideoInfo, given: GivenMasks) -> Source:
    """Return what outputs are made from; raises UsageError for an effect on what is not there."""
    objects = tuple(sorted({id_ for ids in given.ids.values() for id_ in ids}))
    target = job.settings.effect_on
    if isinstance(target, int) and target not in objects:  # it would show all that was to be hidden
        found = ", ".join(map(str, objects))
        raise UsageError(f"effect on object {target}: expected one that masks show: {found}")
    paths = list_images(job.video) if job.video.is_dir() else None
    return Source(
        job.video,
        info,
        job.start,
        names=None if paths is None else tuple(path.stem for path in paths),
        older=frame_names(job.output),
        objects=objects,
        settings=job.settings,
        files={path.stem: path.name for path in paths or ()},
    )


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
}


def length_of(job: Job) -> int:
    """Return how many frames the job takes at most."""
    return sys.maxsize if job.end is None else job.end - job.start
