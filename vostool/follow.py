"""A model, ready to run, and the way through a video: frames and given masks in, label maps out.

`follow` puts the frame loop to work for every command that reads a video: a thread decodes
ahead while the network follows the objects.
"""

import time
from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from vostool.ahead import read_ahead
from vostool.cycle import GradientCorrection
from vostool.device import choose_device, choose_precision, out_of_memory_is_told, synchronize
from vostool.errors import MaskError, UsageError
from vostool.media.frame import Frame, VideoInfo
from vostool.media.labels import LabelMap
from vostool.media.masks import read_mask
from vostool.model.check import check_segmenter, random_frames
from vostool.model.checkpoint import load_checkpoint, read_header
from vostool.model.chunks import InChunks
from vostool.model.foreign import load_foreign
from vostool.model.interface import Segmenter
from vostool.options import OWN_MODEL, ModelOptions
from vostool.prepare import image_tensor, label_map, object_tensor, working_size
from vostool.propagate import MEMORY, REFERENCE_SETS, Annotation, Prediction, References, propagate
from vostool.weights import find_weights, sha256


@dataclass(frozen=True)
class Model:
    """A network, ready to run, and how."""

    network: Segmenter[Any, Any]
    weights: Path | None  # None: those that a foreign model has of its own
    device: torch.device
    precision: torch.dtype
    size: int = 240  # short side of the frames that the network sees, pixels
    references: References = MEMORY
    memory_frames: int | None = None  # the most that are remembered at a time
    objects_at_once: int | None = None  # the most that the network works on at a time
    correction: GradientCorrection | None = None
    name: str = OWN_MODEL  # of the model

    @property
    def segmenter(self) -> Segmenter[Any, Any]:
        """The network, at work on no more objects at a time than it may."""
        return InChunks(self.network, self.objects_at_once)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Which network this is, as JSON has it: its model, weights file and settings.

        Kept, as the file is read for its hash.
        """
        settings = getattr(self.network, "settings", None)
        return {
            "model": self.name,
            "file": self.weights and str(self.weights),
            "sha256": self.weights and sha256(self.weights),
            "settings": settings.model_dump(mode="json")
            if isinstance(settings, BaseModel)
            else None,
        }

    @property
    def options(self) -> dict[str, Any]:
        """All but the weights that decides about the masks, as JSON has it."""
        correction = self.correction
        return {
            "device": str(self.device),
            "precision": str(self.precision).removeprefix("torch."),
            "size": self.size,
            "references": asdict(self.references),
            "memory_frames": self.memory_frames,
            "objects_at_once": self.objects_at_once,
            "correction": asdict(correction) if correction and correction.moves else None,
        }


def load_model(options: ModelOptions) -> Model:
    """Load weights onto a device.

    Raises WeightsError, DeviceError or UsageError, and ContractError for a foreign model that
    is none.
    """
    device = choose_device(options.device)
    changes = {"memory": options.memory, "kernel_sigma": options.kernel_sigma}
    changes = {name: value for name, value in changes.items() if value is not None}
    network: Segmenter[Any, Any]
    path: Path | None
    if options.model == OWN_MODEL:
        precision = choose_precision(options.precision, device)
        path = find_weights(options.weights)
        check_memory(options.memory, path)
        network = load_checkpoint(path, options.memory_frames, changes)
    else:
        if changes:
            raise UsageError(f"--memory --kernel-sigma: --model {options.model} has its own memory")
        precision = choose_precision("fp32", device)  # what others can be trusted to run in
        path = None if options.weights == "default" else find_weights(options.weights)
        network = load_foreign(options.model, path)
    if isinstance(network, nn.Module):
        with out_of_memory_is_told(device):
            network.requires_grad_(False).eval().to(device, precision)
    if options.model != OWN_MODEL:
        images, masks = random_frames(network.stride)
        check_segmenter(network, images.to(device), masks.to(device))
    return Model(
        network=network,
        weights=path,
        device=device,
        precision=precision,
        size=options.size,
        references=references_of(options),
        memory_frames=options.memory_frames,
        objects_at_once=options.objects_at_once,
        correction=correction_of(options),
        name=options.model,
    )


def check_memory(design: str | None, weights: Path) -> None:
    """Raise UsageError for a memory design that weights cannot have been trained for."""
    if design is None:
        return
    settings = read_header(weights).get("settings")
    trained = settings.get("memory", "stm") if isinstance(settings, dict) else design
    if (design == "gcm") != (trained == "gcm"):
        raise UsageError(
            f"--memory {design}: {weights} is trained for {trained}; expected weights of its own"
        )


def references_of(options: ModelOptions) -> References:
    """Return the frames to predict from."""
    chosen = REFERENCE_SETS[options.reference]
    return replace(chosen, every=options.memory_every) if chosen.every else chosen


def correction_of(options: ModelOptions) -> GradientCorrection | None:
    """Return the correction of the masks, if there is to be one."""
    if options.gc_every is None:
        return None
    return GradientCorrection(options.gc_every, **options.of_correction())


class GivenMasks(Mapping[int, Annotation]):
    """The masks given for some frames, read when their frame comes.

    `paths` are by frame number; as a mapping, frames count from `start`. Of a mask in `only`,
    no other ids are taken. `size` is that at which the model sees the frames.
    """

    def __init__(
        self,
        paths: Mapping[int, Path],
        info: VideoInfo,
        model: Model,
        *,
        start: int = 0,
        only: Mapping[int, Collection[int]] | None = None,
        doubt: bool = True,
    ) -> None:
        """Read and check every mask; raises MaskError."""
        self.paths = paths
        self.size = working_size(info.height, info.width, model.size, model.network.stride)
        self._start, self._info, self._device = start, info, model.device
        self._only, self._doubt = only or {}, doubt
        self.ids = {
            frame: [int(id_) for id_ in np.unique(self.labels(frame)) if id_] for frame in paths
        }

    def check_reached(self, frames: int) -> None:
        """Raise MaskError if the video had too few frames to come to any of the masks."""
        first = min(self.paths)
        if first >= frames:
            raise MaskError(f"{self.paths[first]}: is for frame {first}, the video has {frames}")

    def labels(self, frame: int) -> LabelMap:
        """Read the mask of a frame, numbered as in the video."""
        info = self._info
        labels = read_mask(self.paths[frame], info.width, info.height, doubt=self._doubt)
        if frame in self._only:
            labels[~np.isin(labels, list(self._only[frame]))] = 0
        return labels

    def __getitem__(self, index: int) -> Annotation:
        labels = self.labels(index + self._start)
        ids = self.ids[index + self._start]
        return Annotation(tuple(ids), object_tensor(labels, ids, self.size, self._device))

    def __contains__(self, index: object) -> bool:  # the mixin would read the mask
        return isinstance(index, int) and index + self._start in self.paths

    def __iter__(self) -> Iterator[int]:
        return (frame - self._start for frame in self.paths)

    def __len__(self) -> int:
        return len(self.paths)


@dataclass
class Stopwatch:
    """Seconds of the network, and of all from the first frame asked for to the last written."""

    network: float = 0.0
    total: float = 0.0
    _since: float = 0.0

    def start(self) -> None:
        """Let the network's clock run."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stop the network's clock."""
        self.network += time.perf_counter() - self._since


@torch.no_grad()
def predict(
    frames: Iterable[Frame], given: GivenMasks, model: Model, watch: Stopwatch
) -> Generator[tuple[Frame, Prediction[Any]], None, None]:
    """Yield every frame with what the network makes of it, at the size at which it works."""
    shown: deque[Frame] = deque()
    pairs = ((frame, image_tensor(frame.rgb, given.size, model.device)) for frame in frames)

    def images(ready: Iterator[tuple[Frame, Tensor]]) -> Iterator[Tensor]:
        for frame, image in ready:
            shown.append(frame)
            watch.start()
            yield image

    with closing(read_ahead(pairs)) as ready:
        for seen in propagate(
            images(ready), given, model.segmenter, model.references, model.correction
        ):
            synchronize(model.device)
            watch.stop()
            yield shown.popleft(), seen


def follow(
    frames: Iterable[Frame], given: GivenMasks, model: Model, watch: Stopwatch
) -> Iterator[tuple[Frame, LabelMap]]:
    """Yield every frame with its label map, at the frame's own size.

    Where a mask is given, its objects come out just as they went in.
    """
    with closing(predict(frames, given, model, watch)) as predictions:
        for frame, seen in predictions:
            labels = label_map(seen.masks, seen.ids, frame.rgb.shape[:2])
            if frame.index in given.paths:
                truth = given.labels(frame.index)
                labels[np.isin(labels, given.ids[frame.index])] = 0
                labels = np.where(truth > 0, truth, labels)
            yield frame, labels
