"""Recovery from running out of memory: lower the limits and retry the frame that did not fit.

First fewer objects at a time, which changes no mask; then fewer frames in the memory bank; then
smaller frames. A memory bank is tied to the limits it was made with, so that after each step the
frames of the track's history, kept in RAM, are memorised again. What a memory holds of other
frames, such as gcm's mean, or the state and the long-term memory of XMem, is carried over: as it is
if only the objects are distributed anew, else as far as it fits (see `DivisibleMemory`). That of a
plug-in model which cannot be divided is lost, and the log says so.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any, Self, TypeAlias

import torch
from torch import Tensor

from vostool.inference.device_queue import Handover, stream_beside
from vostool.inference.given_mask import annotation_of
from vostool.inference.placement import Placement
from vostool.inference.prefetch import read_ahead
from vostool.media.frame import Frame, Rgb
from vostool.media.labels import LabelMap
from vostool.model.interface import DivisibleMemory, StoredMemory
from vostool.model.object_chunks import parts_of
from vostool.propagation.frame_loop import Track, overwrite
from vostool.propagation.frames import Annotation, MaskedFrame
from vostool.propagation.group import Group

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
    frames: Iterable[Frame],
    place_of: Callable[[Rgb], Placement | None],
    device: torch.device,
) -> Generator[tuple[Frame, Tensor | None], None, None]:
    """Yield frames as they are and resized for the network, made ahead in a thread.

    `place_of` gives the placement of a frame, and may change on the way. A frame is resized when
    its turn comes, and None here, where that is not known yet or there was no memory for it.
    """

    beside = stream_beside(device)

    def make() -> Iterator[tuple[Frame, Handover | None]]:
        for frame in frames:
            place = place_of(frame.rgb)
            if place is None:
                yield frame, None
                continue
            try:
                with beside():
                    resized = Handover(place.resized(frame.rgb, device))
            except torch.OutOfMemoryError:
                yield frame, None  # raised here, it would end the thread
            else:
                yield frame, resized

    with closing(read_ahead(make())) as ahead:
        for frame, made in ahead:
            yield frame, made.take() if made is not None else None


def image_at(rgb: Rgb, resized: Tensor | None, place: Placement, device: torch.device) -> Tensor:
    """Return the image (1, 3, h, w) of a frame, which may have been resized, to any size."""
    if resized is not None and place.region is None and resized.shape[2:] == place.frame:
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


Stored: TypeAlias = dict[str, Tensor]  # the tensors of a memory by name
# by the ids of objects that entered together, of each of them
Carried: TypeAlias = dict[tuple[int, ...], tuple[Stored, ...]]


def carried_of(track: Track[Any, Any]) -> Carried:
    """Return what the memories of all objects hold beside their latest frames, in RAM."""
    return {
        group.ids: tuple(
            stored
            for memory, count in zip(group.bank or (), chunk_sizes(group), strict=True)
            for stored in of_each_object(memory, count)
        )
        for group in track.groups
        if group.bank and all(object_axes(memory) is not None for memory in group.bank)
    }


def with_carried(track: Track[Any, Any], carried: Carried) -> Track[Any, Any]:
    """Return a track, just made again, whose memories take that up.

    Raises ValueError if it is of other objects or of another network.
    """

    def restored(group: Group[Any, Any]) -> Group[Any, Any]:
        objects = iter(carried.get(group.ids, ()))
        bank = tuple(
            memory.with_tensors(joined(list(islice(objects, count)), object_axes(memory) or {}))
            if group.ids in carried
            else memory
            for memory, count in zip(group.bank or (), chunk_sizes(group), strict=True)
        )
        return replace(group, bank=bank, recent=bank) if bank else group

    return replace(track, groups=tuple(map(restored, track.groups)))


def forgets(track: Track[Any, Any]) -> bool:
    """Return whether a memory holds more than its latest frames, and cannot be carried over."""
    return any(
        isinstance(memory, StoredMemory) and object_axes(memory) is None and memory.to_tensors()
        for group in track.groups
        for memory in group.bank or ()
    )


def object_axes(memory: object) -> Mapping[str, int] | None:
    """Return where the objects of a memory lie, see `DivisibleMemory`; None: it has no such."""
    return memory.object_axes if isinstance(memory, DivisibleMemory) else None


def chunk_sizes(group: Group[Any, Any]) -> list[int]:
    """Return how many objects each memory of a group is of."""
    chunks = len(group.bank or ())
    return [len(part) for part in parts_of(len(group.ids), chunks)] if chunks else []


def of_each_object(memory: DivisibleMemory, count: int) -> Iterator[Stored]:
    """Yield the tensors of each object of a memory, in RAM; what they share is not copied."""
    axes = memory.object_axes or {}
    tensors = {name: tensor.detach().cpu() for name, tensor in memory.to_tensors().items()}
    parts = {name: tensors[name].chunk(count, axis) for name, axis in axes.items()}
    for place in range(count):
        yield {**tensors, **{name: own[place] for name, own in parts.items()}}


def joined(objects: Sequence[Stored], axes: Mapping[str, int]) -> Stored:
    """Return the tensors of several objects as those of one memory."""
    own = {
        name: torch.cat([stored[name] for stored in objects], dim=axis)
        for name, axis in axes.items()
        if len(objects) > 1
    }
    return {**objects[0], **own}


def fit(
    frame: MaskedFrame,
    place: Placement,
    device: torch.device,
    given: LabelMap | None = None,
) -> MaskedFrame:
    """Return a frame placed otherwise, on a device; what is placed so already is not changed.

    Its latest placement is the one that it has; where none is known, one with the same border if
    the size is the same, else without one. Its region stays. What is annotated stays 0 or 1, and
    comes from the `given` mask (H, W), where that is at hand.
    """
    height, width = frame.image.shape[2:]
    made = replace(place, region=None)
    if made.size != (height, width):
        made = Placement((height, width))
    known = frame.placements or (made,)
    place = replace(place, region=known[-1].region)
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
