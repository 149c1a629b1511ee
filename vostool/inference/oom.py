"""Recovery from running out of memory: lower the limits and retry the frame that did not fit.

First fewer objects at a time, which by itself changes no mask; then fewer frames in the memory
bank; then smaller frames. A memory bank is tied to the limits it was made with, so that after each
step the frames of the track's history, kept in RAM, are memorised again. A memory of all frames,
such as gcm's mean or XMem's long-term memory, loses those that are not in the history, so that even
fewer objects at a time change its masks; the state of a recurrent one is carried over.
"""

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor

from vostool.inference.placement import Placement
from vostool.inference.prefetch import read_ahead
from vostool.inference.prompts import annotation_of
from vostool.media.frame import Frame, Rgb
from vostool.media.labels import LabelMap
from vostool.model.interface import RecurrentMemory
from vostool.propagation.frame_loop import Group, Track, overwrite
from vostool.propagation.frames import Annotation, MaskedFrame

MIN_SHORT_SIDE = 96  # pixels, short side; in smaller frames most objects are lost


@dataclass(frozen=True)
class Limits:
    """What bounds the memory that a model takes; the names are those of its options."""

    size: int  # short side of the network's input, pixels
    objects_at_once: int | None = None  # None: all
    memory_frames: int | None = None  # None: the model has no such limit

    def lower(self, objects: int, frames: int) -> Self | None:
        """Return the next lower limits where so many objects and frames are remembered.

        None: there is nothing left to lower.
        """
        objects = min(objects, self.objects_at_once or objects)
        if objects > 1:
            return replace(self, objects_at_once=objects // 2)
        frames = min(frames, self.memory_frames or 0)
        if frames > 2:
            return replace(self, memory_frames=max(2, frames // 2))
        size = self.size * 3 // 4
        return replace(self, size=size) if size >= MIN_SHORT_SIDE else None

    def describe_change(self, higher: "Limits") -> str:
        """Say what is lower than before."""
        if self.size < higher.size:
            return f"at a size of {self.size} pixels"
        if self.memory_frames != higher.memory_frames:
            return f"with at most {self.memory_frames} remembered frames"
        s = "" if self.objects_at_once == 1 else "s"
        return f"with at most {self.objects_at_once} object{s} at a time"


@dataclass(frozen=True)
class LimitChange:
    """A lowering of the limits: the frame of the video, the new limits, and a description."""

    frame: int
    limits: Limits
    words: str

    @property
    def report(self) -> dict[str, Any]:
        """The change, JSON-serialisable."""
        return {"frame": self.frame, **asdict(self.limits)}


def resized_ahead(
    frames: Iterable[Frame], place_of: Callable[[Rgb], Placement], device: torch.device
) -> Generator[tuple[Frame, Tensor | None], None, None]:
    """Yield frames as they are and resized for the network, made ahead in a thread.

    `place_of` gives the placement of a frame, and may change on the way. A frame is resized when
    its turn comes, and None here, where there was no memory for it.
    """

    def make() -> Iterator[tuple[Frame, Tensor | None]]:
        for frame in frames:
            try:
                resized = place_of(frame.rgb).resized(frame.rgb, device)
            except torch.OutOfMemoryError:
                yield frame, None  # raised here, it would end the thread
            else:
                yield frame, resized

    return read_ahead(make())


def image_at(rgb: Rgb, resized: Tensor | None, place: Placement, device: torch.device) -> Tensor:
    """Return the image (1, 3, h, w) of a frame, which may have been resized, to any size."""
    if resized is not None and resized.shape[2:] == place.frame:
        return place.image_of(resized)
    return place.image(rgb, device)


def offload(track: Track[Any, Any]) -> Track[Any, Any]:
    """Return a track whose history lies in RAM."""
    return replace(track, history=tuple(in_ram(frame) for frame in track.history))


def in_ram(frame: MaskedFrame) -> MaskedFrame:
    """Return a frame whose image and masks lie in RAM."""
    staying = None if frame.staying is None else frame.staying.detach().cpu()
    image, masks = frame.image.detach().cpu(), frame.masks.detach().cpu()
    return replace(frame, image=image, masks=masks, staying=staying)


States: TypeAlias = dict[tuple[int, ...], Tensor]  # of objects that entered together, by id


def states_of(track: Track[Any, Any]) -> States:
    """Return the states of all objects, in RAM, where the memories are `RecurrentMemory`."""
    return {
        group.ids: torch.cat([memory.state.detach().cpu() for memory in group.bank])
        for group in track.groups
        if group.bank and all(isinstance(memory, RecurrentMemory) for memory in group.bank)
    }


def with_states(track: Track[Any, Any], states: States) -> Track[Any, Any]:
    """Return a track, just made again, whose memories go on from these states."""

    def restored(group: Group[Any, Any]) -> Group[Any, Any]:
        if group.bank is None or group.ids not in states:
            return group
        parts = states[group.ids].split([len(memory.state) for memory in group.bank])
        pairs = zip(group.bank, parts, strict=True)
        bank = tuple(memory.with_state(state) for memory, state in pairs)
        return replace(group, bank=bank, recent=bank)

    return replace(track, groups=tuple(map(restored, track.groups)))


def fit(
    frame: MaskedFrame,
    place: Placement,
    device: torch.device,
    given: LabelMap | None = None,
) -> MaskedFrame:
    """Return a frame placed otherwise, on a device; what is placed so already is not changed.

    Its latest placement is the one that it has; where none is known, one with the same border if
    the size is the same, else without one. What is annotated stays 0 or 1, and comes from the
    `given` mask (H, W), where that is at hand.
    """
    height, width = frame.image.shape[2:]
    made = place if place.size == (height, width) else Placement((height, width))
    known = frame.placements or (made,)
    image = place.image_from(frame.image.to(device), known[-1])
    placements = known if known[-1] == place else (*known, place)
    frame = replace(frame, image=image, placements=placements)
    return fit_masks(frame, place, device, given, known[-1])


def fit_masks(
    frame: MaskedFrame,
    place: Placement,
    device: torch.device,
    given: LabelMap | None = None,
    before: Placement | None = None,
) -> MaskedFrame:
    """Return a frame with its masks placed otherwise than `before`, on a device; as `fit`."""
    if frame.staying is not None:
        frame = replace(frame, staying=place.masks_from(frame.staying.to(device), before))
    masks = frame.masks.to(device)
    placed = place.masks_from(masks, before)
    if placed is masks:
        return replace(frame, masks=masks)
    if given is not None:
        _, placed = overwrite(frame.ids, placed, annotation_of(given, place, device))
    elif frame.annotated:
        objects = place.objects_from(frame.truth.objects.to(device), before)
        _, placed = overwrite(frame.ids, placed, Annotation(frame.annotated, objects))
    return replace(frame, masks=placed)
