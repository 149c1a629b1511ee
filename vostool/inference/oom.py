"""When a device runs out of memory: go on with less, from the very frame that did not fit.

First fewer objects at a time, which changes no mask; then fewer remembered frames; then smaller
ones. A memory belongs to the limits it was made in, so that after each step the frames that it
held are remembered anew: `ReplayBuffer` keeps their pictures and masks for that, in RAM. It has
as many as --memory-frames says; a memory of more, as gcm's mean over all, loses the others.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, Self

import torch
from torch import Tensor

from vostool.inference.prefetch import read_ahead
from vostool.media.frame import Frame
from vostool.preprocess import Size, image_tensor, resize
from vostool.propagation.frame_loop import Known, Prediction, References

MIN_SHORT_SIDE = 96  # pixels, short side; in smaller frames objects are lost anyway


@dataclass(frozen=True)
class Limits:
    """What bounds the memory that a model takes; the names are those of its options."""

    size: int  # short side of the frames that the network sees, pixels
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
    """A step down: on which frame of the video, to which limits, and in words."""

    frame: int
    limits: Limits
    words: str

    @property
    def report(self) -> dict[str, Any]:
        """The step as JSON has it."""
        return {"frame": self.frame, **asdict(self.limits)}


class ReplayBuffer:
    """The frames to remember anew: their pictures and masks, as the network takes them.

    They are those that stay in memory, the latest `most` of them; the latest `most` that were
    annotated; all on which objects entered; and the previous one.
    """

    def __init__(self, references: References, most: int | None) -> None:
        self.objects = 0  # that there are by now
        self._references = references
        self._entries: deque[Known] = deque()
        self._annotated: deque[Known] = deque(maxlen=most)
        self._others: deque[Known] = deque(maxlen=most)
        self._latest: Known | None = None
        self._kind: deque[Known] | None = None  # where the latest one goes, if it stays

    def add(self, image: Tensor, prediction: Prediction[Any], annotated: bool) -> None:
        """Add the next frame, image (1, 3, h, w)."""
        last = self._latest
        number = last.index + 1 if last else 0
        if last and self._kind is not None:
            self._kind.append(replace(last, image=offload(last.image), masks=offload(last.masks)))
        self._latest = Known(number, image, prediction.ids, prediction.remembered)
        entered, self.objects = len(prediction.ids) > self.objects, len(prediction.ids)
        if entered:
            self._kind = self._entries
        elif annotated:
            self._kind = self._annotated
        else:
            self._kind = self._others if self._references.keep(number, annotated) else None

    def __len__(self) -> int:
        return len(self._entries) + len(self._annotated) + len(self._others) + bool(self._latest)

    def at(self, size: Size, device: torch.device) -> Iterator[Known]:
        """Yield the frames in order, at this size and on this device."""
        kept = (*self._entries, *self._annotated, *self._others)
        latest = (self._latest,) if self._latest else ()
        for known in sorted((*kept, *latest), key=lambda known: known.index):
            image, masks = (fit(each, size, device) for each in (known.image, known.masks))
            yield replace(known, image=image, masks=masks)


class PendingFrames:
    """Frames as the network takes them, read ahead; each comes again until it is done.

    `size` may be changed on the way.
    """

    def __init__(self, frames: Iterable[Frame], size: Size, device: torch.device) -> None:
        self.size, self._device = size, device
        self._ready = read_ahead(self._make(frames))
        self._work: list[tuple[Frame, Tensor | None]] = []  # the frame at work, if any

    def _make(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Tensor | None]]:
        for frame in frames:
            try:
                image = image_tensor(frame.rgb, self.size, self._device)
            except torch.OutOfMemoryError:
                yield frame, None  # made when its turn comes: here it would end the thread
            else:
                yield frame, image

    def images(self) -> Iterator[Tensor]:
        """Yield the image of the frame at work, if any, and of those after it, (1, 3, h, w)."""
        for frame, image in chain(tuple(self._work), self._ready):
            self._work = [(frame, image)]
            if image is None or image.shape[2:] != self.size:
                image = image_tensor(frame.rgb, self.size, self._device)
            self._work = [(frame, image)]
            yield image

    @property
    def at_work(self) -> Frame | None:
        """The frame whose image was taken and that is not done."""
        return self._work[0][0] if self._work else None

    def done(self) -> tuple[Frame, Tensor]:
        """Return the frame at work and its image, and be done with it.

        Raises ValueError if its image was not taken.
        """
        frame, image = self._work.pop()
        if image is None:
            raise ValueError(f"frame {frame.index} was not taken")
        return frame, image

    def close(self) -> None:
        """Stop reading."""
        self._ready.close()


def offload(tensor: Tensor) -> Tensor:
    """Return colours or probabilities in RAM; 16 bits hold all that a picture of 8 has."""
    return tensor.half().cpu()


def fit(images: Tensor, size: Size, device: torch.device) -> Tensor:
    """Return (1, C, h, w) in 32 bits on a device, at a size."""
    images = images.to(device).float()
    return images if images.shape[2:] == size else resize(images, size)
