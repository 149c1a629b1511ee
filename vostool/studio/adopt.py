"""The results of `vostool segment` become a project: what it was given counts as painted.

Only a run that a studio could have made itself is taken, with the states from which it can go on;
whether these fit is known once the network is loaded, and what does not is refused then, too.

Shapes: labels (H, W), uint8.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from vostool import defaults
from vostool.errors import InputError, MaskError, OutputError, WeightsError
from vostool.inference.options import ModelOptions, option_name
from vostool.media.labels import LabelMap, ids_in
from vostool.media.mask_options import MaskFiles, parse_object_masks
from vostool.media.masks import encode_mask, read_mask
from vostool.model.weights import find_weights, weights_names
from vostool.segment.report import REPORT, RunReport, read_report
from vostool.studio.names import FrameNames
from vostool.studio.project import Opened, Project

# options of `segment` that may differ: a studio has them too, or they are about this one run
FREE = ("video", "masks", "output", "end", "backward", "overwrite", "states", "check")
REMEDY = "go on with it by vostool segment --resume, or choose another -o"
# as reports name them, but for int8, which has one name
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
STATES = ".state/*.safetensors"


def adopt(folder: Path, video: Path | None) -> Opened:
    """Return the project that a run's folder becomes; its video may lie elsewhere by now.

    Raises InputError if the report cannot be read, OutputError for a run that a studio could not
    have made or go on with, MaskError if a mask that was given to it is no longer there.
    """
    report = read_report(folder)
    if report is None:
        raise InputError(f"{folder / REPORT}: cannot be read as the report of vostool segment")
    refuse_unlike(folder, report)
    video = Path(str(report.options["video"])) if video is None else video
    options = options_of(report)
    project = Project(
        video=str(video.resolve()),
        names={id_: f"Object {id_}" for id_ in report.objects} or {1: "Object 1"},
        options=options,
        backward=bool(report.options.get("backward")),
        valid=report.frames or len(list((folder / "masks").glob("*.png"))),  # 0: it was killed
        adopted=True,
    )
    return Opened(project, folder, video, given_to(report, video, folder))


def refuse_unlike(folder: Path, report: RunReport) -> None:
    """Raise OutputError for a run that a studio could not have made, or cannot go on with."""
    if report.outputs.get("masks") is None:
        raise OutputError(f"{folder}: holds a run without masks; choose another -o")
    if next(folder.glob(STATES), None) is None:
        raise OutputError(
            f"{folder}: holds a run without states (--no-state), so that a repair would follow "
            "everything again; choose another -o"
        )
    from vostool.segment.job import Job  # once for a run, although PyTorch takes seconds

    usual = {field.name: field.default for field in fields(Job) if field.name not in FREE}
    for name, found in {
        **report.options,
        "absent": tuple(report.options.get("absent", ())),
    }.items():
        if found != usual.get(name, found):
            option = option_name(name)
            raise OutputError(f"{folder}: was made with {option}, which a studio lacks; {REMEDY}")
    if report.options.get("disturbance"):
        raise OutputError(f"{folder}: was made with --disturb, which a studio lacks; {REMEDY}")


def given_to(report: RunReport, video: Path, folder: Path) -> dict[tuple[int, int], bytes]:
    """Return the masks that a run was given, of single objects, as PNG by frame and object."""
    names = FrameNames(video).pictures
    try:
        masks = parse_object_masks(report.options["masks"], 0, names, video)
        return {
            (frame, id_): encode_mask(labels)
            for frame, files in masks.items()
            for id_, labels in objects_of(files, report)
        }
    except MaskError as error:
        words = "run vostool studio where vostool segment was run, so that --mask is found"
        raise MaskError(f"{folder}: {error}; {words}") from error


def objects_of(files: MaskFiles, report: RunReport) -> Iterator[tuple[int, LabelMap]]:
    """Yield each object of a frame's masks, as `GivenMasks` reads them; later ones are in front."""
    size = report.input.width, report.input.height
    if isinstance(files, dict):
        whole = np.zeros(size[::-1], np.uint8)
        for id_, path in files.items():
            whole[read_mask(path, *size, allow_empty=True) > 0] = id_
        ids = tuple(files)
    else:
        whole = read_mask(files, *size, allow_empty=True)
        ids = ids_in(whole) or tuple(report.objects)  # empty: no object is there
    for id_ in ids:
        yield id_, np.where(whole == id_, np.uint8(id_), np.uint8(0))


def options_of(report: RunReport) -> ModelOptions:
    """Return the options of the network that a run was made with."""
    before, network = report.options, report.network
    is_plugin = network.settings is None and network.published is None
    references = before["references"]
    correction = before.get("correction") or {}
    chosen = {
        "model": network.model if is_plugin else defaults.MODEL,
        "weights": weights_of(network.file),
        "device": before["device"],
        "precision": PRECISIONS.get(before["precision"], before["precision"]),
        "size": None if before.get("box") else before["size"],
        "zoom": before.get("zoom", 1),
        "reach": before.get("reach", 0),
        "reference": reference_of(references),
        "memory_every": before.get("memory_every", references["every"]),
        "memory_frames": before["memory_frames"],
        "objects_at_once": before["objects_at_once"],
        "compile": before.get("compiled", False),
        "gc_every": correction.get("every"),
        "gc_iters": correction.get("steps"),
        "gc_rate": None if correction.get("length") else correction.get("rate"),
        "gc_length": correction.get("length"),
        "gc_smooth": correction.get("smooth"),
        "gc_stop": correction.get("tolerance"),
        "gc_memory_only": correction.get("memory_only", False),
    }
    return ModelOptions().changed({k: v for k, v in chosen.items() if v is not None})


def reference_of(references: Mapping[str, Any]) -> str | None:
    """Return the name of a set of reference frames; None: what is usual."""
    if references["every"] is None:
        both = "first+previous" if references["annotated"] else "previous"
        return both if references["previous"] else "first"
    return None if references["previous"] else "kept"


def weights_of(file: str | None) -> str:
    """Return the name of weights by their file, the file itself if it has none."""
    if file is None:
        return defaults.WEIGHTS
    for name in (defaults.WEIGHTS, *weights_names()):
        try:
            if find_weights(name).resolve() == Path(file).resolve():
                return name
        except WeightsError:  # not downloaded
            continue
    return file
