"""The way back: objects followed from a mask to the frames before it.

The frames from the last given mask down to the first are followed as if they were a video of
their own, mirrored in time at that mask: frame n of the video is number 2 T - n of the mirrored
one, which begins with T, the turning point. The soft masks of the way back lie on disk, one file
a frame; while the video is then followed forward, `merge` puts them in where they are nearer to
a given mask of their object, or where that is in the same scene, if scene cuts count.
"""

import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from vostool.device import oom_as_device_error
from vostool.errors import OutputError
from vostool.files import atomic_write, make_folder
from vostool.files.claims import OVERWRITE
from vostool.inference.cuts import OnCut
from vostool.inference.predictor import Predictor
from vostool.inference.prompts import GivenMasks
from vostool.inference.states import FOLDER, States
from vostool.inference.tracker import Tracker
from vostool.inference.video import Stopwatch, predict
from vostool.media.backward import BackwardReader
from vostool.media.frame import Frame
from vostool.media.scene_cuts import AHEAD, with_scenes
from vostool.preprocess import Size, resize
from vostool.propagation.correction import admissible, with_background
from vostool.propagation.frames import Prediction
from vostool.propagation.group import Group

# ids, masks (1, N, h, w) in [0, 1], and the last frame of the scene as far as it is known
SoftMasks: TypeAlias = tuple[tuple[int, ...], Tensor, int]
STEPS = 255  # in which a probability is written


@dataclass
class WayBack:
    """The masks of a video's frames as followed backward, on disk in a folder of their own."""

    video: Path
    start: int  # the first frame
    given: GivenMasks
    folder: Path
    # the share of the way forward, so many frames after a mask of the object and before another
    between: Callable[[int, int], float] = lambda since, until: until / (since + until)
    stride: int = 1  # from one frame to the next; masks are of such frames only

    _tracker: Tracker | None = None

    @cached_property
    def reader(self) -> BackwardReader:
        """The frames up to the last mask with an object, and a few more; raises InputError."""
        return BackwardReader(self.video, self.given.last + 1 + AHEAD * self.stride)

    @cached_property
    def turn(self) -> int | None:
        """The turning point: the last frame with a mask that the video has; None if it is first."""
        shown = [frame for frame in self.given.frames if self.start < frame < self.reader.frames]
        return max(shown, default=None)

    @property
    def _minds_cuts(self) -> bool:
        return self.given.cuts is not OnCut.IGNORE

    @property
    def frames(self) -> int:
        """How many frames are followed backward."""
        return 0 if self.turn is None else len(self._numbers(self.turn))

    def follow(
        self, predictor: Predictor, watch: Stopwatch, keep: bool = False
    ) -> Iterator[tuple[int, Tracker]]:
        """Follow the objects backward; yield how many frames are done, with the tracker.

        What the folder holds of the same way back, begun before, is not done again. `keep` writes
        states from which that is possible. Raises OutputError if frames differ from what a state
        remembers.
        """
        if self.turn is None:
            return
        states, tracker = self._states(self.turn), Tracker(predictor=predictor)
        self._tracker, given = tracker, states.given
        done = states.resume(tracker, self._written(self.turn))
        make_folder(self.folder)
        yield done, tracker
        frames = self._frames(self.turn, done)
        with (
            oom_as_device_error(predictor.device),
            closing(predict(frames, given, tracker, watch)) as found,
        ):
            for frame, prediction in found:
                self._write(2 * self.turn - frame.index, prediction, frame.scene)
                done += 1
                if keep and (states.due(done) or done == self.frames):
                    states.writing(tracker, done)()
                yield done, tracker

    def kept(self, predictor: Predictor) -> int:
        """Return how many of its frames the folder holds, so that they are not followed again."""
        if self.turn is None:
            return 0
        state = self._states(self.turn).usable(predictor, self._written(self.turn))
        return 0 if state is None else state.provenance.frames

    def _states(self, turn: int) -> States:
        given = self.given.mirrored(turn)
        return States(self.folder, self.video, turn, given, self.stride, backward=True)

    def _frames(self, turn: int, done: int) -> Iterator[Frame]:
        """Yield the frames of the mirrored video, without the first ones, which are done."""
        numbers = self._numbers(turn)
        end = turn + 1 - done * self.stride
        if self._minds_cuts:  # scenes are found from the frames before
            end = min(turn + 1 + AHEAD * self.stride, self.reader.frames)
        shown = self.reader.read(self.start, end) if done < len(numbers) else ()
        frames = (
            replace(frame, index=2 * turn - frame.index)
            for frame in shown
            if (frame.index - self.start) % self.stride == 0
        )
        marked = with_scenes(frames) if self._minds_cuts else frames
        return (frame for frame in marked if frame.index >= turn + done * self.stride)

    def _written(self, turn: int) -> int:
        """Return how many frames are there already, from the turning point on."""
        there = (self._path(frame).exists() for frame in self._numbers(turn))
        return sum(1 for _ in takewhile(bool, there))

    def _numbers(self, turn: int) -> range:
        """Return the numbers of the frames that are followed, from the turning point on."""
        return range(turn, self.start - 1, -self.stride)

    @property
    def groups(self) -> tuple[Group[Any, Any], ...]:
        """The objects with their references, once they are followed."""
        return () if self._tracker is None else self._tracker.track.groups

    def merge(self, frame: Frame, prediction: Prediction[Any]) -> Prediction[Any]:
        """Return the prediction for a frame followed forward, merged with that of the way back."""
        shares = {id_: self.share(id_, frame.index) for id_ in sorted(self.given.objects)}
        if all(share == 1 for share in shares.values()):
            return prediction
        ids, objects, last = self._read(frame.index, prediction.masks.device)
        if self._minds_cuts:
            scene = frame.scene, last
            shares = {id_: self.share(id_, frame.index, *scene) for id_ in shares}
        ahead, objects = at_finer_size(prediction.masks[:, 1:], objects)
        forward = dict(zip(prediction.ids, ahead.unbind(dim=1), strict=True))
        backward = dict(zip(ids, objects.unbind(dim=1), strict=True))
        nothing = objects.new_zeros(1, *objects.shape[2:])
        merged = {
            id_: share * forward.get(id_, nothing) + (1 - share) * backward.get(id_, nothing)
            for id_, share in shares.items()
            if id_ in forward or id_ in backward
        }
        if not merged:
            return prediction
        stacked = admissible(torch.stack(list(merged.values()), dim=1))
        return replace(prediction, ids=tuple(merged), masks=with_background(stacked))

    def share(self, id_: int, frame: int, first: int = 0, last: int = sys.maxsize) -> float:
        """Return how much of an object's mask on a frame comes from the way forward, 0 to 1.

        Of two masks around it, one in its scene, from `first` to `last`, counts alone.
        """
        shown = self.given.shows(id_)
        before = max((each for each in shown if each <= frame), default=None)
        after = min((each for each in shown if each > frame), default=None)
        if after is None or self.turn is None or after > self.turn:
            return 1
        if before is None:
            return 0
        if (first <= before) != (after <= last):
            return int(first <= before)
        return self.between(frame - before, after - frame)

    def _path(self, frame: int) -> Path:
        return self.folder / f"{frame:05d}.npz"

    def _write(self, frame: int, prediction: Prediction[Any], scene: int = 0) -> None:
        """Write the soft masks of a frame, all or nothing; raises OutputError."""
        last = 2 * (self.turn or 0) - scene  # a scene begins backward with its last frame
        masks = (prediction.masks[0, 1:] * STEPS).round().to(torch.uint8).cpu().numpy()
        with atomic_write(self._path(frame), sync=False) as part, part.open("wb") as file:
            ids = np.array(prediction.ids, np.uint8)
            np.savez_compressed(file, ids=ids, masks=masks, last=np.array(last))

    def _read(self, frame: int, device: torch.device) -> SoftMasks:
        """Return the soft masks of a frame; raises OutputError."""
        path = self._path(frame)
        try:
            with np.load(path) as file:
                ids, masks, last = file["ids"], file["masks"], int(file["last"])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise OutputError(f"{path}: cannot be read again; {OVERWRITE}") from error
        objects = torch.from_numpy(masks).to(device, torch.float32)[None] / STEPS
        return tuple(map(int, ids)), objects, last


def at_finer_size(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return two frames' masks (1, ., h, w) in the size of the finer ones."""
    sizes = ((each.shape[2], each.shape[3]) for each in (one, other))
    size = max(sizes, key=lambda size: size[0] * size[1])
    first, second = (
        each if each.shape[2:] == size else resized(each, size) for each in (one, other)
    )
    return first, second


def resized(masks: Tensor, size: Size) -> Tensor:
    """Return masks (1, N, h, w), of which there may be none, in another size."""
    return resize(masks, size) if masks.shape[1] else masks.new_zeros(1, 0, *size)


def folder_of(output: Path) -> Path:
    """Return the folder of the way back of a run."""
    return output / FOLDER / "backward"


def discard(folder: Path) -> None:
    """Remove the folder of a way back, if there is one, and the one above if that is then empty."""
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):  # something else is in it, or it is not there
        folder.parent.rmdir()
