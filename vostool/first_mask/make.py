"""`vostool mask`: the mask of one frame, drawn or taken from a file, as an indexed PNG.

Never interactive. A mask to start from comes first, then the shapes over it, then the network's
reading of it, then the repairs.

Shapes: rgb (H, W, 3), uint8; labels (H, W), uint8.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from pydantic import Field

from vostool.errors import MaskError, OutputError, UsageError
from vostool.files import make_folder, write_bytes
from vostool.files.claims import refuse_to_replace
from vostool.files.documents import Document
from vostool.first_mask.drawing import Drawing, paint
from vostool.first_mask.refine import change_objects, fill_holes, grow, largest
from vostool.first_mask.starting_mask import read_starting_mask
from vostool.media.frame import Frame, Rgb
from vostool.media.labels import BoolMask, LabelMap, ids_in
from vostool.media.mask_checks import background_warnings
from vostool.media.masks import encode_mask
from vostool.media.time_codes import Position, frame_number
from vostool.media.video import read_frames

if TYPE_CHECKING:
    from vostool.inference.predictor import Predictor

SUFFIX = ".png"


@dataclass(frozen=True)
class MaskJob:
    """What to make a mask from, and where to write it."""

    video: Path
    output: Path
    frame: Position = 0
    given: Path | None = None  # a mask to start from
    threshold: float | None = None  # 0 to 1, if that is a soft one of one object
    drawings: tuple[Drawing, ...] = ()  # each over those before it
    snap: bool = False
    largest: bool = False
    fill_holes: bool = False
    grow: int = 0  # pixels; negative: shrink
    frame_only: bool = False  # write the picture of the frame instead
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Raise UsageError if there is nothing to make a mask of, or too many options."""
        if self.output.suffix.lower() != SUFFIX:
            raise UsageError(f"-o {self.output}: expected a name that ends in {SUFFIX}")
        if self.frame_only:
            changes = (self.snap, self.largest, self.fill_holes, self.grow)
            if self.given or self.threshold is not None or self.drawings or any(changes):
                raise UsageError("--frame-only writes the picture alone: give no other options")
            return
        if self.given is None and not self.drawings:
            raise UsageError(
                "nothing to make a mask of: expected --polygon, --box, --ellipse or --from; "
                "--frame-only writes the picture to paint on"
            )
        if self.threshold is not None and self.given is None:
            raise UsageError(f"--threshold {self.threshold:g}: expected a soft mask as --from")


class ObjectReport(Document):
    """An object of a mask."""

    id: int
    name: str | None  # in the file that it comes from
    pixels: int


class MaskReport(Document):
    """What was written: a mask, or without objects the picture of a frame."""

    schema_version: int = 1
    output: str
    frame: int
    width: int
    height: int
    objects: list[ObjectReport]
    warnings: list[str] = Field(default_factory=list)


def make_mask(job: MaskJob, load: "Callable[[], Predictor]") -> MaskReport:
    """Write the mask of a frame, or its picture, and return a report.

    `load` is called for a network where one is needed, once all else has been read.
    Raises InputError, MaskError, UsageError, OutputError, WeightsError or DeviceError.
    """
    if not job.overwrite:
        refuse_to_replace([job.output])
    refuse_input(job)
    warnings: list[str] = []
    frame = read_frame(job, warnings)
    if job.frame_only:
        content, objects = encode_picture(frame.rgb), []
    else:
        labels, names = draw(job, frame, load, warnings)
        content, objects = encode_mask(labels), describe(labels, names)
    make_folder(job.output.parent)
    write_bytes(job.output, content)
    height, width = frame.rgb.shape[:2]
    return MaskReport(
        output=str(job.output),
        frame=frame.index,
        width=width,
        height=height,
        objects=objects,
        warnings=warnings,
    )


def refuse_input(job: MaskJob) -> None:
    """Raise OutputError if the output would replace the video, or become a frame of it."""
    place, video = job.output.resolve(), job.video.resolve()
    if place == video:
        raise OutputError(f"{job.output}: is an input, and would be replaced; choose another -o")
    if place.parent == video:
        raise OutputError(f"{job.output}: would be a frame of {job.video}; choose another -o")


def read_frame(job: MaskJob, warnings: list[str]) -> Frame:
    """Return the frame to make a mask of; raises InputError."""
    number = frame_number(job.frame, job.video)
    (frame,) = read_frames(job.video, number, number + 1, warnings)
    return frame


def draw(
    job: MaskJob, frame: Frame, load: "Callable[[], Predictor]", warnings: list[str]
) -> tuple[LabelMap, dict[int, str]]:
    """Return the objects of a frame and their names, as far as they have any."""
    labels, names = np.zeros(frame.rgb.shape[:2], np.uint8), {}
    if job.given is not None:
        given = read_starting_mask(job.given, frame, job.threshold, warnings)
        labels, names = given.labels, given.names
    labels = paint(job.drawings, frame.rgb, labels, warnings)
    if not labels.any():
        raise UsageError("nothing to make a mask of: the shapes cover no pixel")
    if job.snap:
        from vostool.first_mask.snap import snap  # torch takes seconds to import

        labels = snap(load(), frame.rgb, labels)
    before = ids_in(labels)
    for change in repairs(job):
        labels = change_objects(labels, change)
    if not labels.any():
        raise MaskError(f"--grow {job.grow}: nothing is left; shrink the objects less")
    lost = sorted(set(before) - set(ids_in(labels)))
    warnings += [f"object {id_}: --grow {job.grow} leaves nothing of it" for id_ in lost]
    if job.given is None:  # its reader has looked already
        warnings += background_warnings(labels)
    return labels, names


def repairs(job: MaskJob) -> list[Callable[[BoolMask], BoolMask]]:
    """Return what to do to the mask of each object, in order."""
    chosen: list[Callable[[BoolMask], BoolMask]] = []
    if job.largest:
        chosen.append(largest)
    if job.fill_holes:
        chosen.append(fill_holes)
    if job.grow:
        chosen.append(partial(grow, pixels=job.grow))
    return chosen


def describe(labels: LabelMap, names: dict[int, str]) -> list[ObjectReport]:
    """Return id, name and size of the objects of a mask."""
    return [
        ObjectReport(id=id_, name=names.get(id_), pixels=int(np.count_nonzero(labels == id_)))
        for id_ in ids_in(labels)
    ]


def encode_picture(rgb: Rgb) -> bytes:
    """Return a picture (H, W, 3) as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "PNG")
    return buffer.getvalue()
