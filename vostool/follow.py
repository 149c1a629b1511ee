"""A model, ready to run, and the way through a video: frames and given masks in, label maps out.

`follow` puts the frame loop to work for every command that reads a video: a thread decodes
ahead while the network follows the objects.
"""

import logging
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from copy import copy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from vostool.backoff import Limits, Lowered, Past, Supply
from vostool.cycle import GradientCorrection
from vostool.device import (
    choose_device,
    choose_precision,
    is_want_of_memory,
    out_of_memory_is_told,
    release_memory,
    synchronize,
)
from vostool.errors import MaskError, UsageError
from vostool.media.frame import Frame, VideoInfo
from vostool.media.labels import LabelMap
from vostool.media.masks import read_mask
from vostool.model.check import check_segmenter, random_frames
from vostool.model.checkpoint import load_checkpoint, read_header
from vostool.model.chunks import InChunks
from vostool.model.foreign import load_foreign
from vostool.model.interface import Segmenter
from vostool.model.stm import Stm, StmSettings
from vostool.options import OWN_MODEL, ModelOptions
from vostool.prepare import Size, label_map, object_tensor, working_size
from vostool.propagate import MEMORY, REFERENCE_SETS, Annotation, Prediction, References, propagate
from vostool.weights import find_weights, sha256

log = logging.getLogger(__name__)

MOST_DOUBTS = 5  # about masks that are told one by one


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
    def limits(self) -> Limits:
        """What bounds the memory it takes; of the frames remembered only where it heeds that."""
        heeded = getattr(self.network, "memory_frames", None)
        return Limits(self.size, self.objects_at_once, heeded)

    def within(self, limits: Limits) -> Self:
        """Return this model in other limits."""
        network = self.network
        if limits.memory_frames != self.limits.memory_frames:
            network = copy(network)  # the weights are shared
            network.memory_frames = limits.memory_frames  # type: ignore[attr-defined]
        return replace(self, network=network, **asdict(limits))

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
    changes = options.model_dump(include={"memory", "top_k", "kernel_sigma"}, exclude_none=True)
    network: Segmenter[Any, Any]
    path: Path | None
    if options.model == OWN_MODEL:
        precision = choose_precision(options.precision, device)
        path = find_weights(options.weights)
        check_memory(options.memory, path)
        network = load_checkpoint(path, options.memory_frames, changes)
    else:
        if changes:
            given = " ".join(f"--{name}".replace("_", "-") for name in changes)
            raise UsageError(f"{given}: --model {options.model} has its own memory")
        precision = choose_precision("fp32", device)  # what others can be trusted to run in
        path = None if options.weights == "default" else find_weights(options.weights)
        network = load_foreign(options.model, path)
    if isinstance(network, nn.Module):
        with out_of_memory_is_told(device):
            network.requires_grad_(False).eval().to(device, precision)
    if options.model != OWN_MODEL:
        images, masks = random_frames(network.stride)
        check_segmenter(network, images.to(device), masks.to(device))
    # a foreign model has none: the papers' size and rate
    advice = network.settings if isinstance(network, Stm) else StmSettings()
    return Model(
        network=network,
        weights=path,
        device=device,
        precision=precision,
        size=options.size or advice.short_side,
        references=references_of(options),
        memory_frames=options.memory_frames,
        objects_at_once=options.objects_at_once,
        correction=correction_of(options, advice.correction_rate),
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


def correction_of(options: ModelOptions, rate: float) -> GradientCorrection | None:
    """Return the correction of the masks, if there is to be one; `rate` unless another is given."""
    if options.gc_every is None:
        return None
    return GradientCorrection(options.gc_every, **{"rate": rate, **options.of_correction()})


class GivenMasks(Mapping[int, Annotation]):
    """The masks given for some frames, read when their frame comes.

    `paths` are by frame number; as a mapping, of the masks that hold an object, frames count
    from `start`. A mask that is all background says that no object is to be seen there. Of a
    mask in `only`, no other ids are taken. `size` is that at which the model sees the frames.
    `warnings` says what is doubtful about the masks, but taken.
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
        threshold: float | None = None,
    ) -> None:
        """Read and check every mask by `read_mask`; raises MaskError, also if all are empty."""
        self.paths = paths
        self._start, self._info, self._device = start, info, model.device
        self.size = self.size_for(model)
        self._only, self._doubt, self._threshold = only or {}, doubt, threshold
        doubts: list[str] = []
        self.ids = {
            frame: [int(id_) for id_ in np.unique(self.labels(frame, doubts)) if id_]
            for frame in paths
        }
        self.warnings = doubts[:MOST_DOUBTS]
        if more := len(doubts) - len(self.warnings):
            self.warnings.append(f"{more} more warnings of this kind about masks")
        self._frames = [frame for frame, ids in self.ids.items() if ids]
        if not self._frames and not self._only:
            others = f", as are {len(paths) - 1} others" if len(paths) > 1 else ""
            path = next(iter(paths.values()))
            below = "" if threshold is None else f" (nothing reaches --threshold {threshold:g})"
            raise MaskError(
                f"{path}: expected at least one object, all is background{below}{others}"
            )

    def size_for(self, model: Model) -> Size:
        """Return the size at which a model sees the frames."""
        return working_size(self._info.height, self._info.width, model.size, model.network.stride)

    def at(self, size: Size) -> Self:
        """Return the same masks for frames that are seen at another size."""
        other = copy(self)
        other.size = size
        return other

    def check_reached(self, frames: int) -> None:
        """Raise MaskError if the video had too few frames to come to any of the masks."""
        first = min(self._frames)
        if first >= frames:
            raise MaskError(f"{self.paths[first]}: is for frame {first}, the video has {frames}")

    @property
    def first(self) -> int:
        """The first frame whose mask holds an object, numbered as in the video."""
        return min(self._frames)

    def is_empty(self, frame: int) -> bool:
        """Return whether the mask of a frame, numbered as in the video, says: no object here."""
        return frame in self.paths and not self.ids[frame] and frame not in self._only

    def labels(self, frame: int, warnings: list[str] | None = None) -> LabelMap:
        """Read the mask of a frame, numbered as in the video; adds to `warnings`."""
        labels = read_mask(
            self.paths[frame],
            self._info.width,
            self._info.height,
            allow_empty=frame not in self._only,
            doubt=self._doubt,
            threshold=self._threshold,
            warnings=warnings,
        )
        if frame in self._only:
            labels[~np.isin(labels, list(self._only[frame]))] = 0
        return labels

    def __getitem__(self, index: int) -> Annotation:
        labels = self.labels(index + self._start)
        ids = self.ids[index + self._start]
        return Annotation(tuple(ids), object_tensor(labels, ids, self.size, self._device))

    def __contains__(self, index: object) -> bool:  # the mixin would read the mask
        return isinstance(index, int) and bool(self.ids.get(index + self._start))

    def __iter__(self) -> Iterator[int]:
        return (frame - self._start for frame in self._frames)

    def __len__(self) -> int:
        return len(self._frames)


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
    frames: Iterable[Frame],
    given: GivenMasks,
    model: Model,
    watch: Stopwatch,
    lowered: list[Lowered] | None = None,
) -> Generator[tuple[Frame, Prediction[Any]], None, None]:
    """Yield every frame with what the network makes of it, at the size at which it works.

    Where memory runs out, it goes on with less, says so in the log, and adds that to
    `lowered`. Raises what PyTorch does once nothing is left to lower.
    """
    past = Past(model.references, model.memory_frames)
    with closing(Supply(frames, given.size, model.device)) as supply:
        while True:
            try:
                yield from attempt(supply, given.at(supply.size), model, watch, past)
                return
            except (RuntimeError, MemoryError) as error:
                limits = model.limits.lower(past.objects, len(past))
                if limits is None or supply.at_work is None or not is_want_of_memory(error):
                    raise
            # behind the block, where the error holds nothing any more of what did not fit
            release_memory(model.device)
            frame, words = supply.at_work.index, limits.since(model.limits)
            kind = " GPU" if model.device.type == "cuda" else ""
            log.warning("frame %d: out of%s memory: going on %s", frame, kind, words)
            if lowered is not None:
                lowered.append(Lowered(frame, limits, words))
            model = model.within(limits)
            supply.size = given.size_for(model)


def attempt(
    supply: Supply, given: GivenMasks, model: Model, watch: Stopwatch, past: Past
) -> Iterator[tuple[Frame, Prediction[Any]]]:
    """Follow the frames from the one at work on, behind those of the past; adds to these."""

    def images() -> Iterator[Tensor]:
        for image in supply.images():
            watch.start()
            yield image

    known = past.at(supply.size, model.device)
    for seen in propagate(
        images(), given, model.segmenter, model.references, model.correction, known
    ):
        synchronize(model.device)
        watch.stop()
        frame, image = supply.done()
        past.add(image, seen, bool(given.ids.get(frame.index)))
        yield frame, seen


def follow(
    frames: Iterable[Frame],
    given: GivenMasks,
    model: Model,
    watch: Stopwatch,
    lowered: list[Lowered] | None = None,
) -> Iterator[tuple[Frame, LabelMap]]:
    """Yield every frame with its label map, at the frame's own size; `lowered` as for `predict`.

    Where a mask is given, its objects come out just as they went in.
    """
    with closing(predict(frames, given, model, watch, lowered)) as predictions:
        for frame, seen in predictions:
            labels = labels_of(seen, frame.rgb.shape[:2])
            if given.is_empty(frame.index):
                labels[:] = 0
            elif frame.index in given.paths:
                truth = given.labels(frame.index)
                labels[np.isin(labels, given.ids[frame.index])] = 0
                labels = np.where(truth > 0, truth, labels)
            yield frame, labels


def labels_of(seen: Prediction[Any], size: Size) -> LabelMap:
    """Return a prediction's label map (H, W); made in RAM if its device has no room for that."""
    try:
        return label_map(seen.masks, seen.ids, size)
    except torch.OutOfMemoryError:
        masks = seen.masks.cpu()
    return label_map(masks, seen.ids, size)
