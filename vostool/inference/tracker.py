"""A network together with the state of one video, advanced frame by frame.

If the device runs out of memory, limits are lowered as in `vostool.inference.oom`.

Shapes: a frame is H x W pixels, the network's input is h x w.
"""

import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vostool.device import is_out_of_memory, oom_as_device_error, release_memory
from vostool.errors import MaskError, UsageError
from vostool.inference.given_mask import Mask, annotation_of, put_over, read_given
from vostool.inference.loading import load_predictor
from vostool.inference.oom import (
    Carried,
    LimitChange,
    Limits,
    carried_of,
    fit,
    forgets,
    image_at,
    in_ram,
    offload,
    with_carried,
)
from vostool.inference.options import ModelOptions
from vostool.inference.placement import Placement
from vostool.inference.predictor import Predictor
from vostool.inference.reach import ReachFilter
from vostool.inference.saved_track import SavedTrack, Snapshot, read_track, snapshot
from vostool.inference.sighting import NOTHING, sighting
from vostool.inference.zoom import place_next
from vostool.media.frame import Rgb
from vostool.media.labels import LabelMap, ids_in
from vostool.preprocess import Size, label_map
from vostool.propagation.frame_loop import Track, replay
from vostool.propagation.frames import KnownFrame, MaskedFrame, Prediction

log = logging.getLogger(__name__)


class Tracker:
    """A loaded network applied to one video.

        tracker = Tracker(size=480)
        labels = tracker.step(first_frame, mask)
        labels = tracker.step(next_frame)

    A tracker is for one video; several can share a network, `Tracker(predictor=other.predictor)`.
    """

    def __init__(self, *, predictor: Predictor | None = None, **options: Any) -> None:
        """Load a network, or take one that is loaded.

        `options` are those of the command line, by the same names: `size`, `device`,
        `precision`, `weights`, `memory_frames`, `gc_every` and the others of `ModelOptions`.
        Raises UsageError, WeightsError or DeviceError.
        """
        self.predictor = choose_predictor(predictor, options)  # in lower limits if memory ran out
        self.lowered: list[LimitChange] = []
        self._track: Track[Any, Any] | None = Track(self.predictor.loop)
        self._frames: tuple[MaskedFrame, ...] = ()  # of the track, where that is to be made again
        self._carried: Carried = {}  # of its memory, beside those frames
        self._given: dict[int, LabelMap] = {}  # the masks given for frames of the track
        self._size: Size | None = None  # of the video's frames

    def step(self, rgb: Rgb, mask: Mask | None = None, absent: Collection[int] = ()) -> LabelMap:
        """Return the objects of the next frame, (H, W) uint8: 0 background, else an object's id.

        `rgb` is (H, W, 3) uint8. `mask`, an array (H, W) of ids or the path of a mask file, says
        where objects are on this frame: new ones enter, known ones are corrected, and all of them
        are returned exactly as given. Before the first mask all is background. Objects that are
        `absent` are not on this frame: they get no pixel, and nothing is remembered of them.
        Raises UsageError for another frame than that, MaskError for a mask that does not fit it
        or shows no object or an absent one, and DeviceError if even the lowest limits run out of
        memory; the track is then unchanged. UsageError also with a disturbance, which must know
        what follows.
        """
        if self.predictor.disturbance is not None:
            raise UsageError("disturb: expected a whole video, as for vostool.follow")
        number, given = self.frames, None
        size = check_frame(rgb, number, self._size)
        if mask is not None:
            given = read_given(mask, *size, name=f"mask of frame {number}", known=self.ids)
            if both := set(ids_in(given)) & set(absent):
                raise MaskError(
                    f"mask of frame {number}: shows object {min(both)}, said to be absent"
                )
        rgb = np.require(rgb, requirements=["C", "W"])  # as PyTorch needs it
        with oom_as_device_error(self.predictor.device):
            prediction = self.advance(rgb, given, number=number, absent=absent)
            self._size = size
            return labels_of(prediction.masks, prediction.ids, size, given)

    @property
    def ids(self) -> tuple[int, ...]:
        """The objects by now, in the order of `soft_masks`."""
        prediction = self.track.prediction
        return () if prediction is None else prediction.ids

    def soft_masks(self) -> NDArray[np.float32]:
        """Return the probabilities on the latest frame, (N + 1, H, W): background, then `ids`.

        They are at the frame's own size and sum to 1. A mask that was given is there as the
        network took it. Raises UsageError before the first frame.
        """
        prediction = self.track.prediction
        if prediction is None or self._size is None:
            raise UsageError("soft masks: expected a frame first, see Tracker.step")
        return self.latest_place(self._size).soft_masks(prediction.masks, self._size)

    @property
    def track(self) -> Track[Any, Any]:
        """The state after the latest frame, a value: keep it, and put it back to go on from it.

        A track that another network made, or this one in other limits, is made again from its
        frames.
        """
        if self._track is None:
            self._track = self._replay(self.predictor.placement(*(self._size or (1, 1))))
        return self._track

    @track.setter
    def track(self, track: Track[Any, Any]) -> None:
        self._track, self._frames, self._carried = track, (), {}
        self._given = {}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the track to a file, to go on from it another time; replaces an existing one.

        The pictures of the frames it remembers are not in it: `load` takes them again.
        Raises OutputError, and UsageError for a model whose memory cannot be written.
        """
        self.snapshot().write(Path(path))

    def snapshot(self) -> Snapshot:
        """Return what `save` writes, a value; raises UsageError as it does."""
        return snapshot(self.track, self.predictor)

    def load(
        self,
        path: str | os.PathLike[str],
        pictures: Mapping[int, Rgb] | str | os.PathLike[str],
        start: int = 0,
    ) -> None:
        """Go on from a track that was written.

        `pictures` are the frames that it remembers, (H, W, 3) uint8 by number, or the video, of
        which frame `start` is the track's first one. On the same device, with the same options
        and weights, what follows is the same bit for bit; else a warning is logged.
        Raises InputError for a file that is no track, or other pictures; UsageError for none.
        """
        saved = read_track(Path(path))
        if not isinstance(pictures, Mapping):
            pictures = saved.pictures_of(Path(pictures), start)
        size = None
        for number in saved.numbers:
            size = check_frame(pictures.get(number), number, size)
        with oom_as_device_error(self.predictor.device):
            self.resume(saved, pictures)
        self._size = size

    def start_within(self, lowered: Sequence[LimitChange]) -> None:
        """Start within limits that were lowered before."""
        if lowered:
            self.lowered = list(lowered)
            self.predictor = self.predictor.within(lowered[-1].limits)

    def resume(
        self,
        saved: SavedTrack,
        pictures: Mapping[int, Rgb],
        given: Mapping[int, LabelMap] | None = None,
    ) -> None:
        """Go on from a track that was read, as `load` does; its pictures are not checked.

        `given` are the masks that were given for frames that it remembers, (H, W): in other sizes
        the frames get theirs from these.
        """
        self.track = saved.restore(self.predictor, pictures)
        self._given = dict(given or {})

    def forget(self) -> None:
        """Forget all that was predicted, as at a scene cut; the masks that were given stay."""
        self.begin_scene()
        frames = self.track.annotated_frames
        self._track, self._frames, self._carried = None, tuple(map(in_ram, frames)), {}

    def begin_scene(self) -> None:
        """Look for the objects anywhere on the next frame, as one that begins another scene."""
        latest = self._latest
        if latest is None:
            return
        ended = replace(latest, ends_scene=True)
        if self._track is not None:
            self._track = replace(self._track, latest=ended)
        else:
            self._frames = (*self._frames[:-1], ended)

    @property
    def frames(self) -> int:
        """How many frames the track has: the number of the next one."""
        latest = self._latest
        return 0 if latest is None else latest.index + 1

    @torch.no_grad()
    def advance(
        self,
        rgb: Rgb,
        given: LabelMap | None = None,
        resized: Tensor | None = None,
        number: int = 0,
        window_at: Callable[[Placement], Sequence[KnownFrame]] | None = None,
        absent: Collection[int] = (),
    ) -> Prediction[Any]:
        """Return the network's prediction for the next frame, its masks those of the whole frame.

        As `step`, but unchecked: `given` is a label map, `resized` the frame at its size in the
        network's input, if it was prefetched, and `number` the frame's number in messages.
        `window_at` returns the frame and those to come, as they are placed, if it is disturbed.
        Raises PyTorch's error if even the lowest limits run out of memory.
        """
        while True:
            try:
                return self._advance(rgb, given, resized, window_at, absent)
            except (RuntimeError, MemoryError) as error:
                limits = self._lower_limits() if is_out_of_memory(error) else None
                if limits is None:
                    raise
            # outside of the block, where the error no longer holds tensors
            self._go_on_within(limits, number)

    def _advance(
        self,
        rgb: Rgb,
        given: LabelMap | None,
        resized: Tensor | None,
        window_at: Callable[[Placement], Sequence[KnownFrame]] | None,
        absent: Collection[int],
    ) -> Prediction[Any]:
        device, size = self.predictor.device, (rgb.shape[0], rgb.shape[1])
        looks = self.predictor.zoom != 1 or self.predictor.reach > 0  # else a GPU need not wait
        before = sighting(self._latest, size) if looks else NOTHING
        unzoomed, zoom = self.predictor.placement(*size), self.predictor.zoom
        place = place_next(unzoomed, size, zoom, before, given, absent)
        image = image_at(rgb, resized, place, device)
        annotation = None if given is None else annotation_of(given, place, device)
        disturbed = self.predictor.loop.disturbs(self.frames)
        window = window_at(place) if disturbed and window_at is not None else ()
        near = ReachFilter.of(before, self.predictor.reach, place, size)
        track = self._track_at(place)
        track, prediction = track.advance(image, annotation, window, absent, near)
        whole = place.whole(prediction)  # which may run out of memory: the track is then unchanged
        self._track = offload(placed(track, place))
        self._keep_given(given)
        return whole

    def place_ahead(self, rgb: Rgb) -> Placement | None:
        """Return how a frame to come, (H, W, 3), is placed; None: the frames before decide that.

        A thread beside the tracker's may call it.
        """
        size = rgb.shape[0], rgb.shape[1]
        return None if self.latest_place(size).region else self.predictor.placement(*size)

    def latest_place(self, size: Size) -> Placement:
        """Return how the latest frame, of this size, is placed."""
        latest = self._latest
        if latest is not None and latest.placements:
            place: Placement = latest.placements[-1]
            return place
        return self.predictor.placement(*size)

    @property
    def _latest(self) -> MaskedFrame | None:
        """The latest frame of the track, also where that is to be made again."""
        track, frames = self._track, self._frames  # as they are now: another thread may ask
        if track is not None:
            return track.latest
        return frames[-1] if frames else None

    def _keep_given(self, given: LabelMap | None) -> None:
        """Keep the mask given for the latest frame, and those of frames still in the history."""
        frames = () if self._track is None else self._track.frames
        if given is not None and frames:
            self._given[frames[-1].index] = given
        kept = {frame.index for frame in frames}
        self._given = {index: mask for index, mask in self._given.items() if index in kept}

    def _track_at(self, place: Placement) -> Track[Any, Any]:
        """Return the track, its memory of frames of this size and made by this predictor."""
        if self._track is not None and self._track.loop is not self.predictor.loop:
            self._forget_memory()
        if self._track is None:
            self._track = self._replay(place)
        latest = self._track.latest
        if latest is not None and latest.image.shape[2:] != place.size:
            found, expected = (f"{w}x{h}" for h, w in (place.size, latest.image.shape[2:]))
            raise UsageError(f"frame: input of {found} pixels, expected {expected} as in the track")
        return self._track

    @torch.no_grad()
    def _replay(self, place: Placement) -> Track[Any, Any]:
        """Make the track again from its frames."""
        device, given = self.predictor.device, self._given.get
        frames = (fit(each, place, device, given(each.index)) for each in self._frames)
        track = with_carried(replay(self.predictor.loop, frames), self._carried)
        self._carried = {}
        return track

    def _forget_memory(self) -> None:
        """Keep nothing but the frames from which the track can be made again, in RAM."""
        if self._track is not None:
            latest = () if self._track.latest is None else (in_ram(self._track.latest),)
            self._frames, self._track = (*self._track.history, *latest), None

    def _lower_limits(self) -> Limits | None:
        """Return the next lower limits; None: there is nothing left to lower."""
        frames = self._frames if self._track is None else self._track.frames
        objects = len(frames[-1].ids) if frames else 0
        return self.predictor.limits.lower(objects, len(frames))

    def _go_on_within(self, limits: Limits, number: int) -> None:
        """Release the memory bank and continue with lower limits."""
        device, words = self.predictor.device, limits.describe_change(self.predictor.limits)
        if self._track is not None:
            self._carried = carried_of(self._track)
            if forgets(self._track):
                words += "; its memory of all but the latest frames is lost"
        self._forget_memory()
        release_memory(device)
        kind = " GPU" if device.type == "cuda" else ""
        log.warning("frame %d: out of%s memory: going on %s", number, kind, words)
        self.lowered.append(LimitChange(number, limits, words))
        self.predictor = self.predictor.within(limits)


def check_frame(rgb: object, number: int, expected: Size | None) -> Size:
    """Return the size of a frame; raises UsageError if it is none, or not of the size expected."""
    if not isinstance(rgb, np.ndarray) or rgb.dtype != np.uint8 or rgb.shape[2:] != (3,):
        found = f"{rgb.shape} of {rgb.dtype}" if isinstance(rgb, np.ndarray) else type(rgb).__name__
        raise UsageError(f"frame {number}: expected an RGB array (H, W, 3) of uint8, found {found}")
    height, width = rgb.shape[:2]
    if not height or not width:
        raise UsageError(f"frame {number}: expected pixels, found {width}x{height}")
    if expected is not None and (height, width) != expected:
        raise UsageError(
            f"frame {number} is {width}x{height}, expected {expected[1]}x{expected[0]} like others"
        )
    return height, width


def placed(track: Track[Any, Any], place: Placement) -> Track[Any, Any]:
    """Return a track whose latest frame knows how its image was placed."""
    if track.latest is None:
        return track
    return replace(track, latest=replace(track.latest, placements=(place,)))


def choose_predictor(predictor: Predictor | None, options: dict[str, Any]) -> Predictor:
    """Return a predictor, or load one by options of `ModelOptions`; raises UsageError for both."""
    if predictor is None:
        return load_predictor(ModelOptions().changed(options))
    if options:
        raise UsageError(f"{', '.join(options)}: a predictor that is loaded has its own options")
    return predictor


def labels_of(masks: Tensor, ids: Sequence[int], size: Size, given: LabelMap | None) -> LabelMap:
    """Return the label map (H, W) of predicted masks (1, N + 1, h, w) under a given one.

    It is made in RAM if the device has no room for that.
    """
    try:
        labels = label_map(masks, ids, size)
    except torch.OutOfMemoryError:
        labels = label_map(masks.cpu(), ids, size)
    return put_over(labels, given)
