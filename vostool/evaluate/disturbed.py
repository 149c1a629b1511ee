"""What a disturbance knows of the clips of a benchmark: the truth, or the masks of another run."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vostool.errors import InputError, UsageError
from vostool.evaluate.protocols import Benchmark, BenchmarkClip
from vostool.evaluate.scoring import read_prediction, read_truth
from vostool.inference.disturbance import KnownObjects, MemoryDisturbance
from vostool.inference.predictor import Predictor
from vostool.media.folder import list_images
from vostool.media.frame import Frame, frame_name
from vostool.media.labels import LabelMap
from vostool.propagation.group import FrameLoop


def check_known(benchmark: Benchmark, predictor: Predictor) -> None:
    """Raise an error unless all is known that the disturbance of a run, if any, needs.

    UsageError if a benchmark without truth is to be disturbed by it, or if no frame is disturbed;
    InputError for a frame whose objects are unknown.
    """
    disturbance = predictor.disturbance
    if disturbance is None:
        return
    if disturbance.masks is None and not benchmark.scored:
        raise UsageError(
            f"--disturb {disturbance.kind}: needs the truth of every clip, {benchmark.root} holds "
            "none"
        )
    counts = [check_clip(clip, disturbance, predictor.loop) for clip in benchmark.clips]
    if not any(counts):
        raise UsageError(
            f"--disturb-every {disturbance.every}: no clip has a frame that is disturbed"
        )


def check_clip(
    clip: BenchmarkClip, disturbance: MemoryDisturbance, loop: FrameLoop[Any, Any]
) -> int:
    """Return how many frames of a clip are disturbed; raises InputError for an unknown one."""
    known = known_masks(clip, disturbance)
    names = frame_names(clip, known)
    first = next((index for index, name in enumerate(names) if name in clip.given), 0)
    scored = [index for index, name in enumerate(names) if name in clip.truth]
    last = scored[-1] if scored else len(names) - 1  # what comes later changes nothing
    disturbed = [index for index in range(first + 1, last) if loop.disturbs(index)]
    foresees = loop.disturbance is not None and loop.disturbance.foresees
    for index in disturbed:
        ahead = names[index + 1 : index + 1 + loop.look_ahead]
        needed = ahead if foresees else [names[index]]
        if known.keys().isdisjoint(needed):
            place = disturbance.masks or "the benchmark's truth"
            raise InputError(
                f"{clip.name}: --disturb {disturbance.kind}: expected a mask of frame {needed[0]} "
                f"in {place}, found none"
            )
    return len(disturbed)


def frame_names(clip: BenchmarkClip, known: Iterable[str]) -> list[str]:
    """Return the names of a clip's frames, in order; of a video those up to the last one known."""
    if clip.source is not None and clip.source.is_dir():
        return [path.stem for path in list_images(clip.source)]
    numbers = [int(name) for name in (*clip.truth, *known) if name.isdecimal()]
    return [frame_name(number) for number in range(max(numbers, default=-1) + 1)]


def known_masks(clip: BenchmarkClip, disturbance: MemoryDisturbance) -> Mapping[str, Path]:
    """Return the masks that a disturbance knows, by frame."""
    if disturbance.masks is None:
        return clip.truth
    return {path.stem: path for path in (disturbance.masks / clip.name).glob("[!.]*.png")}


def known_objects(clip: BenchmarkClip, disturbance: MemoryDisturbance) -> KnownObjects:
    """Return a function of a frame: its objects as a disturbance knows them, None if it does not.

    That raises MaskError for a mask that cannot be used.
    """
    masks = known_masks(clip, disturbance)

    def objects(frame: Frame) -> LabelMap | None:
        path = masks.get(frame.name)
        if path is None:
            return None
        if disturbance.masks is None:
            return read_truth(path, clip)
        return read_prediction(path, frame.rgb.shape[:2], clip)

    return objects
