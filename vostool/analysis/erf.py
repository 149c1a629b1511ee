"""`vostool erf`: which pixels of a frame explain the mask of another (journal 3.4).

The cycle-ERF begins with a mask without objects on a frame of the video and goes down the
cycle loss (Eq. 12). It is shown over that frame, over several frames, step by step, and
for several weights side by side, on one scale.

Shapes: fields (h, w), at the size at which the network works.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vostool import __version__
from vostool.analysis.figures import (
    Panel,
    Values,
    draw_panels,
    heat,
    refuse_to_replace,
    save_array,
    save_figure,
    save_json,
    top_of_scale,
)
from vostool.device import oom_as_device_error
from vostool.errors import InputError, MaskError, UsageError
from vostool.files import output_folder
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks, annotation_of
from vostool.inference.video import Stopwatch, follow
from vostool.media.folder import list_images
from vostool.media.frame import Frame, VideoInfo
from vostool.media.labels import LabelMap
from vostool.media.masks import parse_mask_options, read_mask
from vostool.media.overlay import paint
from vostool.media.video import probe, read_undamaged
from vostool.media.writer import VideoWriter
from vostool.model.interface import Reference
from vostool.preprocess import image_tensor, object_tensor
from vostool.propagation.correction import receptive_field

SCHEMA_VERSION = 1  # of erf.json
STEPS_PER_SECOND = 10  # of the animation
FILES = ("erf.png", "strip.png", "steps.mp4", "erf.npy", "erf.json")
LABEL = "cycle-ERF"

Progress = Callable[[int, int | None, str], None]


@dataclass(frozen=True)
class ErfJob:
    """What to look into, and where to put what is found."""

    video: Path
    mask: str  # as given to --mask
    output: Path
    frame: int | None = None  # the one to look into; None: the middle one of the video
    truth: tuple[str, ...] = ()  # as given to --truth
    object_id: int | None = None  # None: all of the mask
    steps: int = 50  # M
    rate: float = 180.0  # alpha of Eq. 8
    strip: int = 5  # frames of the strip; 0: none
    overwrite: bool = False


@dataclass(frozen=True)
class ErfInputs:
    """The frames to look into, each with where its object is."""

    reference: Frame
    given: LabelMap  # of the reference
    frames: dict[int, Frame]
    objects: dict[int, LabelMap]


@dataclass(frozen=True)
class Response:
    """The cycle-ERF of a frame."""

    frame: Frame
    field: Values
    history: list[Values]  # after each step; kept of the main frame only
    share: float | None  # of the response that lies inside the object; None if there is none
    area: float  # the object's share of the frame: what an even response would have inside


def erf(
    job: ErfJob, predictors: Sequence[Predictor], progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Look into a video with one model or several, and return the report, also in erf.json.

    `progress` is called with the number of steps done and of all.
    Raises InputError, MaskError, OutputError, DeviceError or UsageError.
    """
    info = probe(job.video)
    mask_frame, path = given_mask(job)
    main, frames = choose_frames(job, info, mask_frame)
    truth = true_masks(job, main)
    refuse_to_replace(job.output, FILES, job.overwrite)
    job = replace(job, frame=main)
    if not 0 <= job.rate < math.inf:
        raise UsageError(f"--rate {job.rate}: expected a finite number from 0 up")
    with output_folder(job.output):
        inputs, responses = run_models(
            job, predictors, info, mask_frame, path, frames, truth, progress
        )
        report = describe(job, predictors, info, mask_frame, responses, set(truth))
        write(job, predictors, inputs, responses, report)
    return report


def run_models(
    job: ErfJob,
    predictors: Sequence[Predictor],
    info: VideoInfo,
    mask_frame: int,
    path: Path,
    frames: Sequence[int],
    truth: dict[int, Path],
    progress: Progress,
) -> tuple[ErfInputs, list[list[Response]]]:
    """Return the frames, and of every model the response of each."""
    total = len(predictors) * len(frames) * job.steps
    responses: list[list[Response]] = []
    for predictor in predictors:
        only = None if job.object_id is None else {mask_frame: [job.object_id]}
        given = GivenMasks({mask_frame: path}, info, only=only)
        if not given.ids[mask_frame]:
            raise MaskError(f"{path}: has no object {job.object_id}")
        done = len(responses) * len(frames) * job.steps
        with oom_as_device_error(predictor.device):
            inputs = read_inputs(job, info, predictor, given, frames, truth)
            steps = compute_responses(job, predictor, inputs)
            responses.append([])
            for number, response in enumerate(steps, start=1):
                responses[-1].append(response)
                progress(done + number * job.steps, total, f"frame {response.frame.index}")
    return inputs, responses


def given_mask(job: ErfJob) -> tuple[int, Path]:
    """Return the mask to explain with its frame, the first unless it says so."""
    names = [path.stem for path in list_images(job.video)] if job.video.is_dir() else None
    masks = parse_mask_options([job.mask], 0, names)
    if len(masks) != 1:
        raise UsageError(f"--mask {job.mask}: expected one mask, found {len(masks)}")
    ((frame, path),) = masks.items()
    return frame, path


def true_masks(job: ErfJob, main: int) -> dict[int, Path]:
    """Return the true masks by frame; one without a number is for the main frame."""
    names = [path.stem for path in list_images(job.video)] if job.video.is_dir() else None
    return parse_mask_options(job.truth, main, names)


def choose_frames(job: ErfJob, info: VideoInfo, mask_frame: int) -> tuple[int, list[int]]:
    """Return the main frame, and all to look into: spread evenly over the video, and the main.

    Raises UsageError for a frame that does not come after the mask's.
    """
    last = info.frames - 1 if info.frames else job.frame
    if last is None:
        raise UsageError(f"expected --frame: {job.video} does not tell how many frames it has")
    main = (mask_frame + last + 1) // 2 if job.frame is None else job.frame
    if not mask_frame < main <= last:
        raise UsageError(f"--frame {main}: expected one from {mask_frame + 1} to {last}")
    spread = np.linspace(mask_frame, last, job.strip + 1).round().astype(int).tolist()[1:]
    return main, sorted({main, *(frame for frame in spread if frame > mask_frame)})


def read_inputs(
    job: ErfJob,
    info: VideoInfo,
    predictor: Predictor,
    given: GivenMasks,
    frames: Sequence[int],
    truth: dict[int, Path],
) -> ErfInputs:
    """Read the frames; where their objects are says the truth, or else the model itself."""
    (mask_frame,) = given.paths
    pictures = read_undamaged(job.video, mask_frame, frames[-1] + 1)
    labelled: Iterator[tuple[Frame, LabelMap | None]]
    if set(frames) <= set(truth):
        labelled = ((frame, None) for frame in pictures)
    else:
        labelled = iter(follow(pictures, given, predictor, Stopwatch()))
    wanted = {mask_frame, *frames}
    taken = {frame.index: (frame, labels) for frame, labels in labelled if frame.index in wanted}
    missing = wanted - set(taken)
    if missing:
        raise InputError(f"{job.video}: ends before frame {min(missing)}")
    ids = given.ids[mask_frame]
    objects: dict[int, LabelMap] = {}
    for frame in frames:
        labels = taken[frame][1]
        if frame in truth:
            labels = read_mask(truth[frame], info.width, info.height, allow_empty=True)
        assert labels is not None
        objects[frame] = np.where(np.isin(labels, ids), labels, 0).astype(np.uint8)
    shown = {frame: taken[frame][0] for frame in frames}
    return ErfInputs(taken[mask_frame][0], given.labels(mask_frame), shown, objects)


@torch.no_grad()
def compute_responses(job: ErfJob, predictor: Predictor, inputs: ErfInputs) -> Iterator[Response]:
    """Yield the cycle-ERF of frame after frame."""
    size = predictor.working_size(*inputs.reference.rgb.shape[:2])

    def encode(frame: Frame) -> Any:
        return predictor.segmenter.encode(image_tensor(frame.rgb, size, predictor.device))

    annotation = annotation_of(inputs.given, size, predictor.device)
    reference = Reference(encode(inputs.reference), annotation.masks(annotation.ids))
    for index, frame in inputs.frames.items():
        steps = receptive_field(predictor.segmenter, encode(frame), reference, job.rate)
        history = [field[0].amax(dim=0).cpu().numpy() for field in islice(steps, job.steps)]
        labels = inputs.objects[index]
        inside = object_tensor((labels > 0).astype(np.uint8), [1], size, torch.device("cpu"))
        covered = inside[0, 0].numpy() > 0 if labels.any() else np.zeros(size, bool)
        total = float(history[-1].sum())
        share = float(history[-1][covered].sum()) / total if total > 0 else None
        kept = history if index == job.frame else []
        yield Response(frame, history[-1], kept, share, float(covered.mean()))


def describe(
    job: ErfJob,
    predictors: Sequence[Predictor],
    info: VideoInfo,
    mask_frame: int,
    responses: Sequence[Sequence[Response]],
    truth: set[int],
) -> dict[str, Any]:
    """Return the report: what was looked into, and how much of the response is on the object."""
    return {
        "schema_version": SCHEMA_VERSION,
        "versions": {"vostool": __version__, "torch": torch.__version__},
        "networks": [predictor.identity for predictor in predictors],
        "options": {
            **asdict(job),
            "device": str(predictors[0].device),
            "precision": str(predictors[0].precision).removeprefix("torch."),
            "size": predictors[0].size,
        },
        "input": asdict(info),
        "mask_frame": mask_frame,
        "responses": [
            {
                "weights": title,
                "frame": each.frame.index,
                "inside": "truth" if each.frame.index in truth else "prediction",
                "share": each.share,
                "area": each.area,
                "highest": float(each.field.max()),
            }
            for title, responses in zip(name_models(predictors), responses, strict=True)
            for each in responses
        ],
        "picture": str(job.output / "erf.png"),
        "strip": str(job.output / "strip.png") if job.strip else None,
        "animation": str(job.output / "steps.mp4"),
        "array": str(job.output / "erf.npy"),
    }


def write(
    job: ErfJob,
    predictors: Sequence[Predictor],
    inputs: ErfInputs,
    responses: Sequence[Sequence[Response]],
    report: dict[str, Any],
) -> None:
    """Write all files; the report comes last."""
    (job.output / "erf.json").unlink(missing_ok=True)  # it belongs to the files as they were
    titles = name_models(predictors)
    mains = [each for row in responses for each in row if each.frame.index == job.frame]
    highest = top_of_scale(each.field for each in mains)
    shown = Panel(
        f"mask, frame {inputs.reference.index}", paint(inputs.reference.rgb, inputs.given)
    )
    panels = [shown]
    for title, each in zip(titles, mains, strict=True):
        panels.append(panel(f"{title}, frame {each.frame.index}", each, highest))
    save_figure(job.output / "erf.png", draw_panels([panels], highest, LABEL))
    if job.strip:
        most = top_of_scale(each.field for row in responses for each in row)
        rows = [
            [panel(f"{title}, frame {each.frame.index}", each, most) for each in row]
            for title, row in zip(titles, responses, strict=True)
        ]
        save_figure(job.output / "strip.png", draw_panels(rows, most, LABEL))
    else:
        (job.output / "strip.png").unlink(missing_ok=True)
    animate(job.output / "steps.mp4", mains, highest)
    save_array(
        job.output / "erf.npy", np.array([[each.field for each in row] for row in responses])
    )
    save_json(job.output / "erf.json", report)


def name_models(predictors: Sequence[Predictor]) -> list[str]:
    """Return what each model is called: by its file, or by folder and file if that says more."""
    files = [predictor.weights or Path(predictor.name) for predictor in predictors]
    names = [file.stem for file in files]
    if len(set(names)) == len(names):
        return names
    return [f"{file.parent.name}/{file.stem}" for file in files]


def panel(title: str, response: Response, highest: float) -> Panel:
    """Return a response over its frame, with its share inside the object in the title."""
    share = "" if response.share is None else f", {response.share:.0%} inside"
    return Panel(title + share, heat(response.frame.rgb, response.field, highest))


def animate(path: Path, responses: Sequence[Response], highest: float) -> None:
    """Write the steps as a video, the models side by side."""
    height, width = responses[0].frame.rgb.shape[:2]
    rate = Fraction(STEPS_PER_SECOND)
    with VideoWriter(path, width=width * len(responses), height=height, rate=rate) as writer:
        for step in range(len(responses[0].history)):
            pictures = [heat(each.frame.rgb, each.history[step], highest) for each in responses]
            writer.write(np.concatenate(pictures, axis=1), Fraction(step) / rate)
