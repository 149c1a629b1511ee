"""`vostool segment`: a video and the masks of some frames in, those of every frame out.

Three things happen at a time: a thread decodes ahead, the network follows the objects,
and a thread writes behind. All that is held is a few frames and the network's memory,
whose size is capped.
"""

import json
import math
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from vostool import __version__
from vostool.device import oom_as_device_error
from vostool.errors import OutputError, UsageError
from vostool.files import write_text
from vostool.inference.oom import LimitChange
from vostool.inference.predictor import Predictor
from vostool.inference.prefetch import WriteBehind
from vostool.inference.prompts import GivenMasks
from vostool.inference.video import Stopwatch, follow
from vostool.media.folder import list_images
from vostool.media.frame import Frame, VideoInfo, frame_name
from vostool.media.labels import LabelMap
from vostool.media.masks import parse_mask_options, write_mask
from vostool.media.overlay import paint, write_cutout
from vostool.media.video import probe, read_frames
from vostool.media.writer import VideoWriter

SCHEMA_VERSION = 1  # of run.json


@dataclass(frozen=True)
class Job:
    """What to segment, and where to put it."""

    video: Path
    masks: tuple[str, ...]  # as given to --mask
    output: Path
    overlay: bool = True
    save_masks: bool = True
    cutouts: bool = False
    start: int = 0  # frame numbers, `end` exclusive
    end: int | None = None
    overwrite: bool = False


class Result:
    """The folder that a job writes, a context manager.

    Everything in it is whole or has "part" in its name. Masks and cut-outs are named by frame
    number.
    """

    def __init__(self, job: Job, info: VideoInfo, masks: Iterable[Path]) -> None:
        """Claim the folder; raises OutputError if it holds a result, or an input of the job."""
        self.folder, self.masks = job.output, job.output / "masks"
        self.cutouts = job.output / "cutouts"
        self.overlay, self.report = job.output / "overlay.mp4", job.output / "run.json"
        self.frames = 0
        self._job, self._info = job, info
        self._wanted = {self.masks: job.save_masks, self.cutouts: job.cutouts}
        self._video: VideoWriter | None = None
        self._stack = ExitStack()
        self._new = not self.folder.exists()
        try:
            self._refuse_to_replace({job.video, *masks})
            self.folder.mkdir(parents=True, exist_ok=True)
            for folder, wanted in self._wanted.items():
                if wanted:
                    folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written: {error.strerror}") from error

    def _refuse_to_replace(self, inputs: set[Path]) -> None:
        """Raise OutputError for a result that may not, or an input that must not go."""
        if not self._job.overwrite:
            for path in (*self._wanted, self.overlay, self.report):
                if path.exists():
                    raise OutputError(
                        f"{path}: exists already; choose another -o or give --overwrite"
                    )
        results = (self.overlay, self.report, *self._wanted, *self._pictures())
        mine = {path.resolve() for path in results}
        for path in sorted(inputs):
            if path.resolve() in mine:
                raise OutputError(f"{path}: is an input, and would be replaced; choose another -o")

    def _pictures(self) -> list[Path]:
        """List the masks and cut-outs that are there, and nothing that a person put beside them."""
        paths = [path for folder in self._wanted for path in folder.glob("*.png")]
        return [path for path in paths if path.stem.isdecimal()]

    def __enter__(self) -> Self:
        if self._job.overlay:
            source = self._job.video if self._info.has_audio else None
            self._video = self._stack.enter_context(
                VideoWriter(
                    self.overlay,
                    width=self._info.width,
                    height=self._info.height,
                    rate=self._info.rate,
                    pixel_aspect=self._info.pixel_aspect,
                    audio_from=source,
                )
            )
        self._behind = self._stack.enter_context(WriteBehind())
        return self

    def add(self, frame: Frame, labels: LabelMap) -> None:
        """Write one frame, in the background."""
        self._behind.submit(lambda: self._write(frame, labels))

    def _write(self, frame: Frame, labels: LabelMap) -> None:
        if self.frames == 0:
            self._clear()
        name = f"{frame_name(frame.index)}.png"
        if self._job.save_masks:
            write_mask(self.masks / name, labels)
        if self._job.cutouts:
            write_cutout(self.cutouts / name, frame.rgb, labels)
        if self._video is not None:
            self._video.write(paint(frame.rgb, labels), frame.time)
        self.frames += 1

    def _clear(self) -> None:
        """Remove an older result, now that there is something to put in its place."""
        for path in (self.report, *self._pictures()):
            path.unlink(missing_ok=True)
        for folder, wanted in self._wanted.items():
            if not wanted and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if not self._job.overlay:  # else it is replaced once the new one is whole
            self.overlay.unlink(missing_ok=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        problem: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, problem, traceback)

    def discard(self) -> None:
        """Remove the folders that were made for nothing."""
        for path in (*self._wanted, self.folder) if self._new else self._wanted:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()

    @property
    def warnings(self) -> list[str]:
        """What had to be left out of the overlay."""
        return self._video.warnings if self._video is not None else []


def segment(
    job: Job,
    predictor: Predictor,
    progress: Callable[[int, int | None, str], None] = lambda *_: None,
) -> dict[str, Any]:
    """Run a job and return its report, which is also written as run.json.

    `progress` is called with the number of frames done and, if known, of all.
    Raises InputError, MaskError, OutputError, DeviceError or UsageError. When something goes
    wrong on the way, what is done stays: the masks, the overlay as overlay.part.mp4, and a
    report that says so.
    """
    info = probe(job.video)
    given = GivenMasks(mask_paths(job), info)
    expected = expected_frames(job, info)
    result = Result(job, info, given.paths.values())
    watch, warnings, lowered = Stopwatch(), list[str](), list[LimitChange]()
    started = time.perf_counter()
    status, problem = "done", None
    try:
        with oom_as_device_error(predictor.device), result:
            frames = read_frames(job.video, job.start, job.end, warnings)
            for frame, labels in follow(frames, given, predictor, watch, lowered):
                result.add(frame, labels)
                progress(frame.index - job.start + 1, expected, "")
            given.check_reached(frame.index + 1)
    except KeyboardInterrupt:
        status = "interrupted"
        raise
    except BaseException as error:
        status, problem = "failed", str(error)
        raise
    finally:
        watch.total = time.perf_counter() - started
        end = job.start + result.frames if status == "done" else math.inf
        late = [frame for frame in given.paths if frame >= end]
        warnings += [f"the video ended before frame {frame}, which has a mask" for frame in late]
        report = describe(job, predictor, info, given, result, watch)
        report["limits"] = describe_limits(predictor, lowered)
        report |= {"status": status, "error": problem, "warnings": warnings + result.warnings}
        if result.frames:
            write_report(result.report, report)
        else:
            result.discard()
    return report


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
    job: Job,
    predictor: Predictor,
    info: VideoInfo,
    given: GivenMasks,
    result: Result,
    watch: Stopwatch,
) -> dict[str, Any]:
    """Return the report of a run: all that is needed to tell and to repeat it."""
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
        "input": asdict(info),
        "objects": sorted({id_ for ids in given.ids.values() for id_ in ids}),
        "frames": result.frames,
        "seconds": {"network": round(watch.network, 3), "total": round(watch.total, 3)},
        "fps": {
            "network": round(result.frames / watch.network, 2) if watch.network > 0 else None,
            "end_to_end": round(result.frames / watch.total, 2) if watch.total > 0 else None,
        },
        "masks": str(result.masks) if job.save_masks else None,
        "overlay": str(result.overlay) if job.overlay else None,
        "cutouts": str(result.cutouts) if job.cutouts else None,
    }


def describe_limits(predictor: Predictor, lowered: Sequence[LimitChange]) -> dict[str, Any]:
    """Return the limits at the end of a run, and how want of memory led there from the options."""
    limits = lowered[-1].limits if lowered else predictor.limits
    return {**asdict(limits), "lowered": [step.report for step in lowered]}


def options_of(job: Job, predictor: Predictor) -> dict[str, Any]:
    """Return all that was chosen for a run, but the network."""
    return {**asdict(job), **predictor.options}


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write run.json, all or nothing; paths and fractions as text."""
    write_text(path, json.dumps(report, indent=2, default=str) + "\n")


def default_output(video: Path) -> Path:
    """Return `<video stem>/` beside the working directory; for a folder there, another name."""
    name = video.resolve().name if video.is_dir() else video.stem
    folder = Path.cwd() / name
    return folder if folder.resolve() != video.resolve() else folder.with_name(f"{name}-vostool")
