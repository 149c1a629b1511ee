"""The Python counterpart of `vostool segment`: a video and masks in, masks of every frame out."""

import logging
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any

from vostool.device import oom_as_device_error
from vostool.errors import UsageError
from vostool.inference import video
from vostool.inference.absence import Absence, Stretch
from vostool.inference.backward import WayBack
from vostool.inference.cuts import OnCut, read_on_cut
from vostool.inference.given_mask import Mask
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.tracker import Tracker, choose_predictor
from vostool.media.frame import Frame
from vostool.media.labels import LabelMap
from vostool.media.scene_cuts import with_scenes
from vostool.media.video import probe, read_frames

log = logging.getLogger(__name__)

Followed = Generator[tuple[Frame, LabelMap], None, None]


def follow(
    source: str | os.PathLike[str],
    masks: Mapping[int, Mask],
    *,
    start: int = 0,
    end: int | None = None,
    absent: Mapping[int, Sequence[Stretch]] = MappingProxyType({}),
    backward: bool = False,
    cuts: str = OnCut.IGNORE,
    predictor: Predictor | None = None,
    **options: Any,
) -> Followed:
    """Yield the frames of a video with their objects, from `start` up to but not including `end`.

    `source` is a file or a folder of images. `masks` are by the number of their frame, each an
    array (H, W) of ids, the path of a mask file, or by id such masks of single objects; where one
    is given, its objects are returned exactly as given. A frame has its number as `index`, its
    picture as `rgb`, (H, W, 3) uint8, and its `time` in seconds; its objects are (H, W) uint8, 0
    for the background. `absent` are stretches by object, each its first and its last frame (None:
    to the end), on which the object is not there: it gets no pixel, and nothing is remembered of
    it. With `backward`, the objects of a mask are followed to the frames before it as well, before
    the first frame is yielded; their masks lie in a temporary folder. At scene `cuts` objects
    "stop": they are empty until a mask shows them again; are sought by the given masks alone
    ("reset"); or are followed on ("ignore"). `predictor` and `options` as
    for `Tracker`.

    Raises UsageError, InputError, MaskError, WeightsError or DeviceError at once, and during
    iteration InputError where the video breaks off, DeviceError if even the lowest limits run
    out of memory. Damage that can be skipped, and masks after the end, are logged as warnings.
    """
    for frame in masks:
        if frame < start or (end is not None and frame >= end):
            last = "the end" if end is None else f"{end - 1}"
            raise UsageError(f"mask of frame {frame}: expected a frame from {start} to {last}")
    if not masks:
        raise UsageError("masks: expected one or more, by frame, found none")
    path = Path(source)
    on_cut = read_on_cut(cuts)
    given = GivenMasks(masks, probe(path), absence=Absence.of(absent), cuts=on_cut)
    warnings: list[str] = []
    frames: Iterable[Frame] = read_frames(path, start, end, warnings)
    if on_cut is not OnCut.IGNORE:
        frames = with_scenes(frames)
    chosen = choose_predictor(predictor, options)
    chosen.check_cuts(on_cut)
    if chosen.disturbance is not None:
        chosen.disturbance.check_without_truth()
    if not backward:
        return _follow(given, frames, warnings, Tracker(predictor=chosen))
    return _follow_both_ways(path, start, given, frames, warnings, chosen)


def _follow_both_ways(
    source: Path,
    start: int,
    given: GivenMasks,
    frames: Iterable[Frame],
    warnings: list[str],
    predictor: Predictor,
) -> Followed:
    with TemporaryDirectory(prefix="vostool-") as folder:
        way_back = WayBack(source, start, given, Path(folder) / "backward")
        tracker = Tracker(predictor=predictor)
        for _, back in way_back.follow(predictor, video.Stopwatch()):
            tracker.start_within(back.lowered)
        yield from _follow(given, frames, warnings, tracker, way_back.merge)


def _follow(
    given: GivenMasks,
    frames: Iterable[Frame],
    warnings: list[str],
    tracker: Tracker,
    finish: video.Finish | None = None,
) -> Followed:
    count, device = 0, tracker.predictor.device
    found = video.follow(frames, given, tracker, video.Stopwatch(), finish=finish)
    with oom_as_device_error(device), closing(found):
        for frame, labels in found:
            count = frame.index + 1
            yield frame, labels
    given.check_reached(count)
    late = [frame for frame in given.ids if frame >= count]
    warnings += [f"the video ended before frame {frame}, which has a mask" for frame in late]
    for warning in warnings:
        log.warning(warning)
