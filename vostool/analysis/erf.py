"""`vostool erf`: which pixels of a frame explain the mask of another (journal 3.4).

The cycle-ERF starts from a mask without objects on a frame of the video and descends the cycle
loss (Eq. 12). It is shown over that frame, over several frames, step by step, and for several
weights side by side, on one scale.

Shapes: fields (h, w), at the size at which the network works.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vostool import __version__
from vostool.analysis.erf_plan import ErfJob, ErfPlan, make_plan
from vostool.analysis.reports import ErfReport, ResponseReport
from vostool.device import oom_as_device_error, precision_name
from vostool.errors import InputError, MaskError, UsageError
from vostool.files import output_folder
from vostool.files.claims import refuse_to_replace
from vostool.inference.given_mask import annotation_of
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.tracker import Tracker
from vostool.inference.video import Stopwatch, follow
from vostool.media.figures import (
    Panel,
    Values,
    draw_panels,
    heat,
    save_array,
    save_figure,
    save_json,
    top_of_scale,
    with_colour_bar,
)
from vostool.media.frame import Frame
from vostool.media.labels import LabelMap
from vostool.media.masks import read_mask
from vostool.media.overlay import paint
from vostool.media.video import read_undamaged
from vostool.media.writer import VideoWriter
from vostool.model.interface import Reference
from vostool.preprocess import object_tensor, resize
from vostool.progress import ProgressCallback, no_progress
from vostool.propagation.correction import receptive_field

STEPS_PER_SECOND = 10  # of the animation
FILES = ("erf.png", "strip.png", "steps.mp4", "erf.npy", "erf.json")
LABEL = "cycle-ERF"


@dataclass(frozen=True)
class ErfInputs:
    """The frames to analyse, each with where its object is."""

    reference: Frame
    given: LabelMap  # of the reference
    frames: dict[int, Frame]
    objects: dict[int, LabelMap]
    warnings: tuple[str, ...]  # about the video and the mask


@dataclass(frozen=True)
class Response:
    """The cycle-ERF of a frame."""

    frame: Frame
    field: Values
    history: list[Values]  # after each step; kept of the main frame only
    share: float | None  # of the response that lies inside the object; None if there is none
    area: float  # the object's share of the frame: the share of a uniform response


def erf(
    job: ErfJob, predictors: Sequence[Predictor], progress: ProgressCallback = no_progress
) -> ErfReport:
    """Return the report on a video under one model or several, and write it with its pictures.

    `progress` counts steps. Raises InputError, MaskError, OutputError, DeviceError or UsageError.
    """
    plan = make_plan(job)
    if not job.overwrite:
        refuse_to_replace(job.output / name for name in FILES)
    with output_folder(job.output):
        inputs, responses = run_models(plan, predictors, progress)
        report = describe(plan, predictors, inputs, responses)
        write(plan, predictors, inputs, responses, report)
    return report


def run_models(
    plan: ErfPlan, predictors: Sequence[Predictor], progress: ProgressCallback
) -> tuple[ErfInputs, list[list[Response]]]:
    """Return the frames, and for every model the response of each."""
    job = plan.job
    steps = len(plan.frames) * job.steps  # of one model
    responses: list[list[Response]] = []
    for predictor in predictors:
        given = given_masks(plan)
        done = len(responses) * steps
        with oom_as_device_error(predictor.device):
            inputs = read_inputs(plan, predictor, given)
            responses.append([])
            for response in compute_responses(plan, predictor, inputs):
                responses[-1].append(response)
                reached = done + len(responses[-1]) * job.steps
                progress(reached, len(predictors) * steps, f"frame {response.frame.index}")
    return inputs, responses


def given_masks(plan: ErfPlan) -> GivenMasks:
    """Return the mask to explain, of one object if the job asks for it; raises MaskError."""
    frame, object_id = plan.mask_frame, plan.job.object_id
    only = None if object_id is None else {frame: [object_id]}
    given = GivenMasks({frame: plan.mask}, plan.info, only=only)
    if not given.ids[frame]:
        raise MaskError(f"{plan.mask}: has no object {object_id}")
    return given


def read_inputs(plan: ErfPlan, predictor: Predictor, given: GivenMasks) -> ErfInputs:
    """Return the frames; their objects are those of the truth, else as the model predicts them."""
    notes = list(given.warnings)
    pictures = read_undamaged(plan.job.video, plan.mask_frame, plan.frames[-1] + 1, notes)
    labelled: Iterator[tuple[Frame, LabelMap | None]]
    if set(plan.frames) <= set(plan.truth):
        labelled = ((frame, None) for frame in pictures)
    else:
        labelled = iter(follow(pictures, given, Tracker(predictor=predictor), Stopwatch()))
    wanted = {plan.mask_frame, *plan.frames}
    taken = {frame.index: (frame, labels) for frame, labels in labelled if frame.index in wanted}
    missing = wanted - set(taken)
    if missing:
        raise InputError(f"{plan.job.video}: ends before frame {min(missing)}")
    ids = given.ids[plan.mask_frame]
    objects: dict[int, LabelMap] = {}
    for frame in plan.frames:
        labels = taken[frame][1]
        if frame in plan.truth:
            size = plan.info.width, plan.info.height
            labels = read_mask(plan.truth[frame], *size, allow_empty=True)
        assert labels is not None
        objects[frame] = np.where(np.isin(labels, ids), labels, 0).astype(np.uint8)
    frames = {frame: taken[frame][0] for frame in plan.frames}
    return ErfInputs(
        reference=taken[plan.mask_frame][0],
        given=given.labels(plan.mask_frame),
        frames=frames,
        objects=objects,
        warnings=tuple(notes),
    )


@torch.no_grad()
def compute_responses(plan: ErfPlan, predictor: Predictor, inputs: ErfInputs) -> Iterator[Response]:
    """Yield the cycle-ERF of frame after frame; raises UsageError if one diverges."""
    place = predictor.placement(*inputs.reference.rgb.shape[:2])
    rate = plan.job.rate

    def encode(frame: Frame) -> Any:
        return predictor.segmenter.encode(place.image(frame.rgb, predictor.device))

    annotation = annotation_of(inputs.given, place, predictor.device)
    reference = Reference(encode(inputs.reference), annotation.masks(annotation.ids))
    for index, frame in inputs.frames.items():
        steps = receptive_field(predictor.segmenter, encode(frame), reference, rate)
        fields = (place.padding.crop(field) for field in islice(steps, plan.job.steps))
        history = [field[0].amax(dim=0).cpu().numpy() for field in fields]
        total = float(history[-1].sum())
        if not math.isfinite(total):
            raise UsageError(f"--rate {rate:g}: the response diverges; expected a smaller rate")
        labels = inputs.objects[index]
        inside = object_tensor((labels > 0).astype(np.uint8), [1], place.frame, torch.device("cpu"))
        covered = inside[0, 0].numpy() > 0 if labels.any() else np.zeros(place.frame, bool)
        share = float(history[-1][covered].sum()) / total if total > 0 else None
        kept = history if index == plan.main else []
        yield Response(frame, history[-1], kept, share, float(covered.mean()))


def describe(
    plan: ErfPlan,
    predictors: Sequence[Predictor],
    inputs: ErfInputs,
    responses: Sequence[Sequence[Response]],
) -> ErfReport:
    """Return the report: what was analysed, and how much of the response is on the object."""
    output, first = plan.job.output, predictors[0]
    return ErfReport(
        versions={"vostool": __version__, "torch": torch.__version__},
        networks=[predictor.identity for predictor in predictors],
        options={
            **asdict(replace(plan.job, frame=plan.main)),
            "device": str(first.device),
            "precision": precision_name(first.precision),
            "size": first.size,
            "sizes": [each.size for each in predictors],
        },
        input=asdict(plan.info),
        mask_frame=plan.mask_frame,
        warnings=list(inputs.warnings),
        responses=[
            ResponseReport(
                weights=title,
                frame=each.frame.index,
                inside="truth" if each.frame.index in plan.truth else "prediction",
                share=each.share,
                area=each.area,
                highest=float(each.field.max()),
            )
            for title, row in zip(name_models(predictors), responses, strict=True)
            for each in row
        ],
        picture=str(output / "erf.png"),
        strip=str(output / "strip.png") if plan.job.strip else None,
        animation=str(output / "steps.mp4"),
        array=str(output / "erf.npy"),
    )


def write(
    plan: ErfPlan,
    predictors: Sequence[Predictor],
    inputs: ErfInputs,
    responses: Sequence[Sequence[Response]],
    report: ErfReport,
) -> None:
    """Write all files; the report comes last."""
    output = plan.job.output
    (output / "erf.json").unlink(missing_ok=True)  # it describes the older files
    titles = name_models(predictors)
    mains = [each for row in responses for each in row if each.frame.index == plan.main]
    highest = top_of_scale(each.field for each in mains)
    shown = Panel(
        f"mask, frame {inputs.reference.index}", paint(inputs.reference.rgb, inputs.given)
    )
    panels = [shown]
    for title, each in zip(titles, mains, strict=True):
        panels.append(panel(f"{title}, frame {each.frame.index}", each, highest))
    save_figure(output / "erf.png", with_colour_bar(draw_panels([panels]), highest, LABEL))
    if plan.job.strip:
        most = top_of_scale(each.field for row in responses for each in row)
        rows = [
            [panel(f"{title}, frame {each.frame.index}", each, most) for each in row]
            for title, row in zip(titles, responses, strict=True)
        ]
        save_figure(output / "strip.png", with_colour_bar(draw_panels(rows), most, LABEL))
    else:
        (output / "strip.png").unlink(missing_ok=True)
    animate(output / "steps.mp4", mains, highest)
    shape = responses[0][0].field.shape  # weights with another border may have others
    fields = [[resized(each.field, shape) for each in row] for row in responses]
    save_array(output / "erf.npy", np.array(fields))
    save_json(output / "erf.json", report)


def resized(field: Values, shape: Sequence[int]) -> Values:
    """Return a response at another size."""
    if field.shape == tuple(shape):
        return field
    return resize(torch.from_numpy(field)[None, None], (shape[0], shape[1]))[0, 0].numpy()


def name_models(predictors: Sequence[Predictor]) -> list[str]:
    """Return a title for each model: its file's name, with the folder where two files share one.

    Models of one network that differ in memory design are told apart by that.
    """
    files = [predictor.weights or Path(predictor.name) for predictor in predictors]
    names = [file.stem for file in files]
    if len(set(names)) < len(set(files)):
        names = [f"{file.parent.name}/{file.stem}" for file in files]
    designs = [
        getattr(getattr(each.network, "settings", None), "memory", None) for each in predictors
    ]
    if len(set(designs)) == 1:
        return names
    return [
        name if memory is None else f"{name}, {memory}"
        for name, memory in zip(names, designs, strict=True)
    ]


def panel(title: str, response: Response, highest: float) -> Panel:
    """Return a response over its frame, with its share inside the object in the title."""
    share = "" if response.share is None else f", {response.share:.0%} inside"
    return Panel(title + share, heat(response.frame.rgb, response.field, highest))


def animate(path: Path, responses: Sequence[Response], highest: float) -> None:
    """Write the steps as a video, the models side by side; raises OutputError."""
    height, width = responses[0].frame.rgb.shape[:2]
    rate = Fraction(STEPS_PER_SECOND)
    with VideoWriter(path, width=width * len(responses), height=height, rate=rate) as writer:
        for step in range(len(responses[0].history)):
            pictures = [heat(each.frame.rgb, each.history[step], highest) for each in responses]
            writer.write(np.concatenate(pictures, axis=1), Fraction(step) / rate)
