"""A track in a file, to resume from it later.

Of each frame that the track remembers the file holds the masks, in 32 bits and packed without
loss, and a checksum of the picture, but not the picture: the reader supplies it again,
and the frames are memorised again. A memory that is not made of frames is written as its own
tensors (`StoredMemory`). The file is safetensors, its header JSON under the key "vostool".
"""

import logging
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vostool.errors import InputError, UsageError
from vostool.files import atomic_write
from vostool.inference.oom import fit_masks
from vostool.inference.placement import Placement
from vostool.inference.predictor import Predictor
from vostool.inference.settings import completed, differences, settings_of
from vostool.media.frame import Rgb
from vostool.media.video import read_frames, read_undamaged
from vostool.model.interface import LimitedMemory, StoredMemory
from vostool.propagation.frame_loop import Track, replay
from vostool.propagation.frames import MaskedFrame
from vostool.propagation.group import Group

FORMAT = 1
KEY = "vostool"

log = logging.getLogger(__name__)


class SavedFrame(BaseModel):
    """A remembered frame; its masks are the tensor masks.INDEX."""

    model_config = ConfigDict(frozen=True)

    index: int
    ids: tuple[int, ...]
    annotated: tuple[int, ...]
    absent: tuple[int, ...] = ()
    shape: tuple[int, ...]  # of the masks
    checksum: int  # of the image as the network took it
    # of the image as it was made, and as it was resized to, in turn; 0.2.0 writes none
    places: tuple[Placement, ...] = ()
    moved: bool = False  # see `MaskedFrame`; 0.2.0 writes none, and has no model that needs it
    ends_scene: bool = False  # 0.2.0 writes none, and always looks at whole frames


class Header(BaseModel):
    """The header of a track's file."""

    model_config = ConfigDict(frozen=True)

    track_format: int = FORMAT
    settings: dict[str, Any]  # all that affects the masks that follow
    frames: tuple[SavedFrame, ...]
    notes: str = ""  # of whoever wrote it


@dataclass(frozen=True)
class SavedTrack:
    """A track as it was read, without the pictures of its frames."""

    path: Path
    header: Header
    masks: dict[int, Tensor]  # by frame
    memories: dict[str, Tensor]  # those that are not made of frames, see `memory_tensors`

    @property
    def numbers(self) -> tuple[int, ...]:
        """The frames whose pictures are needed, counted from the track's first one."""
        return tuple(frame.index for frame in self.header.frames)

    def pictures_of(
        self, video: Path, start: int, step: int = 1, pass_over_damage: bool = False
    ) -> dict[int, Rgb]:
        """Return the needed pictures of a video, whose frame `start` is the track's first.

        The next one is `step` frames on, or back if that is negative. Raises InputError if it
        cannot be read or has too few frames; also if some are missing before them, unless damage
        is passed over, as it was when the track was made.
        """
        if not self.numbers:
            return {}
        wanted = {start + step * n: n for n in self.numbers}
        read = read_frames if pass_over_damage else read_undamaged
        frames = read(video, min(wanted), max(wanted) + 1)
        found = {frame.index: frame.rgb for frame in frames if frame.index in wanted}
        if missing := set(wanted) - set(found):
            raise InputError(f"{video}: ends before frame {min(missing)} of {self.path}")
        return {wanted[frame]: rgb for frame, rgb in found.items()}

    def changes(self, predictor: Predictor) -> list[str]:
        """Return in what a predictor's settings differ from those that the track was made with."""
        before = completed(self.header.settings, predictor)
        return list(differences(before, settings_of(predictor)))

    def restore(self, predictor: Predictor, pictures: Mapping[int, Rgb]) -> Track[Any, Any]:
        """Return the track, its frames memorized again; warns if what follows may differ.

        Raises InputError for another picture than the one remembered, where that shows.
        """
        changes = self.changes(predictor)
        if changes:
            log.warning("%s: the masks that follow may differ: %s", self.path, "; ".join(changes))
        frames = [
            self._frame(saved, predictor, pictures[saved.index], exact=not changes)
            for saved in self.header.frames
        ]
        with torch.no_grad():
            track = replay(predictor.loop, frames)
        if changes:
            return track
        groups = tuple(self._with_memory(*pair) for pair in enumerate(track.groups))
        return replace(track, groups=groups)

    def _frame(self, saved: SavedFrame, predictor: Predictor, rgb: Rgb, exact: bool) -> MaskedFrame:
        place = predictor.placement(*rgb.shape[:2])
        if saved.places and (region := saved.places[-1].region) is not None:
            if region.frame != (rgb.shape[0], rgb.shape[1]):
                raise InputError(f"{self.path}: frame {saved.index} is of another size")
            place = replace(place, region=region)
        places = saved.places if exact and saved.places else (place,)
        image = places[0].image(rgb, predictor.device)
        for before, after in pairwise(places):
            image = after.image_from(image, before)
        if exact and checksum(image) != saved.checksum:
            raise InputError(f"{self.path}: frame {saved.index} is not the picture it remembers")
        masks = self.masks[saved.index]
        frame = MaskedFrame(
            index=saved.index,
            image=image,
            ids=saved.ids,
            masks=masks,
            annotated=saved.annotated,
            moved=saved.moved,
            ends_scene=saved.ends_scene,
            placements=places,
            absent=saved.absent,
        )
        return fit_masks(frame, place, predictor.device, before=(saved.places or (None,))[-1])

    def _with_memory(self, number: int, group: Group[Any, Any]) -> Group[Any, Any]:
        """Return a group with the memory that was written, if it was; raises InputError."""
        bank = []
        for chunk, memory in enumerate(group.bank or ()):
            prefix = f"memory.{number}.{chunk}."
            own = {
                name.removeprefix(prefix): tensor
                for name, tensor in self.memories.items()
                if name.startswith(prefix)
            }
            try:
                bank.append(memory.with_tensors(own) if own else memory)
            except ValueError as error:
                raise InputError(f"{self.path}: the memory does not fit: {error}") from error
        return replace(group, bank=tuple(bank), recent=tuple(bank)) if bank else group


@dataclass(frozen=True)
class Snapshot:
    """What is written of a track; a value, and without the memory that is made of frames."""

    frames: tuple[MaskedFrame, ...]
    memories: dict[str, Tensor]
    settings: dict[str, Any]

    @property
    def memory_bytes(self) -> int:
        """How much the memory that is not made of frames takes."""
        return sum(tensor.nbytes for tensor in self.memories.values())

    def write(self, path: Path, notes: str = "") -> None:
        """Write a track's file, with any notes; atomic. Raises OutputError."""
        masks = {f"masks.{frame.index}": pack(frame.masks) for frame in self.frames}
        saved = tuple(self._saved(frame) for frame in self.frames)
        header = Header(settings=self.settings, frames=saved, notes=notes)
        with atomic_write(path, SafetensorError) as part:
            save_file(self.memories | masks, part, metadata={KEY: header.model_dump_json()})
            part.chmod(0o644)  # it comes out readable by its owner alone

    def _saved(self, frame: MaskedFrame) -> SavedFrame:
        height, width = frame.image.shape[2:]
        return SavedFrame(
            index=frame.index,
            ids=frame.ids,
            annotated=frame.annotated,
            absent=frame.absent,
            shape=tuple(frame.masks.shape),
            # a track that no `Tracker` made is as it is, without a border
            places=frame.placements or (Placement((height, width)),),
            checksum=checksum(frame.image),
            moved=frame.moved,
            ends_scene=frame.ends_scene,
        )


def snapshot(track: Track[Any, Any], predictor: Predictor) -> Snapshot:
    """Return what is to be written of a track that the predictor made.

    Raises UsageError for a memory that cannot be written or is another's.
    """
    if track.loop is not predictor.loop:
        raise UsageError("expected a track of this network; go on with it for a frame")
    memories = dict(memory_tensors(track, predictor))
    return Snapshot(track.frames, memories, settings_of(predictor))


def read_track(path: Path) -> SavedTrack:
    """Read a track; raises InputError if the file is missing, damaged or none."""
    with opened(path) as (file, header):
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        masks = {
            frame.index: unpack(tensors.pop(f"masks.{frame.index}"), frame.shape)
            for frame in header.frames
        }
    return SavedTrack(path, header, masks, tensors)


def read_header(path: Path) -> Header:
    """Read what a track's file says of it; raises InputError as `read_track` does."""
    with opened(path) as (_, header):
        return header


@contextmanager
def opened(path: Path) -> Iterator[tuple[Any, Header]]:
    """Open a track's file, and read its header; raises InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            header = Header.model_validate_json((file.metadata() or {})[KEY])
            if header.track_format != FORMAT:
                raise InputError(
                    f"{path}: a track of format {header.track_format}, this vostool reads format "
                    f"{FORMAT}"
                )
            yield file, header
    except (SafetensorError, OSError, KeyError, ValueError, zlib.error) as error:
        raise InputError(f"{path}: not a track that vostool wrote, or damaged") from error


def memory_tensors(track: Track[Any, Any], predictor: Predictor) -> Iterator[tuple[str, Tensor]]:
    """Yield by name the tensors of memories that are not made of frames; raises UsageError."""
    for number, group in enumerate(track.groups):
        for chunk, memory in enumerate(group.bank or ()):
            if isinstance(memory, StoredMemory):
                for name, tensor in memory.to_tensors().items():
                    # a copy: tensors that share their storage, or are strided, cannot be saved
                    copy = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
                    yield f"memory.{number}.{chunk}.{name}", copy
            elif not isinstance(predictor.network, LimitedMemory):
                raise UsageError(
                    f"--model {predictor.name}: its memory cannot be written, as it is neither one "
                    "of `memory_frames` frames nor has `to_tensors`"
                )


def pack(masks: Tensor) -> Tensor:
    """Return masks in 32 bits without loss, as bytes (n,); `unpack` undoes it.

    The first bytes of all numbers come first, then the second ones: they are alike.
    """
    values = masks.detach().cpu().contiguous().numpy().astype("<f4", copy=False)
    planes = np.ascontiguousarray(values.reshape(-1, 1).view(np.uint8).T)
    return torch.frombuffer(bytearray(zlib.compress(planes.tobytes(), level=1)), dtype=torch.uint8)


def unpack(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the masks of `pack`, float32 of a shape."""
    planes = np.frombuffer(zlib.decompress(packed.numpy().tobytes()), np.uint8)
    values = np.ascontiguousarray(planes.reshape(4, -1).T).view("<f4")
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def checksum(image: Tensor) -> int:
    """Return the CRC-32 of an image."""
    return zlib.crc32(image.detach().cpu().contiguous().numpy().tobytes())
