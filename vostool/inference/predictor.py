"""A loaded network and its inference settings."""

from copy import copy
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel
from torch import nn

from vostool.device import (
    choose_device,
    choose_precision,
    oom_as_device_error,
    precision_name,
)
from vostool.errors import UsageError
from vostool.inference.disturbance import MemoryDisturbance, disturbance_of
from vostool.inference.oom import Limits
from vostool.inference.options import OWN_MODEL, ModelOptions
from vostool.inference.reports import Network
from vostool.model.check import check_segmenter, random_frames
from vostool.model.checkpoint import load_checkpoint, read_settings
from vostool.model.interface import LimitedMemory, Segmenter, memory_limit
from vostool.model.memory_designs import memory_design
from vostool.model.object_chunks import InChunks
from vostool.model.plugin import load_plugin
from vostool.model.stm import Stm, StmSettings
from vostool.model.weights import find_weights, sha256
from vostool.preprocess import Size, working_size
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.frame_loop import MEMORY, REFERENCE_SETS, FrameLoop, References


@dataclass(frozen=True)
class Predictor:
    """A loaded network and its inference settings."""

    network: Segmenter[Any, Any]
    weights: Path | None  # None: a plug-in model's own
    device: torch.device
    precision: torch.dtype
    size: int = 240  # short side of the network's input, pixels
    references: References = MEMORY
    memory_frames: int | None = None  # the most that the memory bank holds
    objects_at_once: int | None = None  # the most that the network processes at a time
    correction: GradientCorrection | None = None
    name: str = OWN_MODEL  # of the model
    disturbance: MemoryDisturbance | None = None

    @property
    def limits(self) -> Limits:
        """What bounds its memory use; of `memory_frames` only if the network has such a limit."""
        return Limits(self.size, self.objects_at_once, memory_limit(self.network))

    def within(self, limits: Limits) -> Self:
        """Return this predictor with other limits."""
        other = replace(
            self,
            size=limits.size,
            objects_at_once=limits.objects_at_once,
            disturbance=self.disturbance and self.disturbance.within(limits.objects_at_once),
        )
        if limits.memory_frames == memory_limit(self.network):
            return other
        network = copy(self.network)  # the weights are shared
        if isinstance(network, LimitedMemory):
            network.memory_frames = limits.memory_frames
        return replace(other, network=network, memory_frames=limits.memory_frames)

    def working_size(self, height: int, width: int) -> Size:
        """Return the size of the network's input for frames of this height and width."""
        return working_size(height, width, self.size, self.network.stride)

    @property
    def segmenter(self) -> Segmenter[Any, Any]:
        """The network, run on at most `objects_at_once` objects at a time."""
        return InChunks(self.network, self.objects_at_once)

    @cached_property
    def loop(self) -> FrameLoop[Any, Any]:
        """The frame loop that runs it; always the same object, which tells its tracks apart."""
        most = memory_limit(self.network) or self.memory_frames
        disturbance = None if self.disturbance is None else self.disturbance.method
        return FrameLoop(self.segmenter, self.references, self.correction, most, disturbance)

    @cached_property
    def identity(self) -> Network:
        """Model, weights file and settings.

        Cached, as the whole file is read for its hash.
        """
        settings = getattr(self.network, "settings", None)
        return Network(
            model=self.name,
            file=str(self.weights) if self.weights else None,
            sha256=sha256(self.weights) if self.weights else None,
            settings=settings.model_dump(mode="json") if isinstance(settings, BaseModel) else None,
        )

    @property
    def options(self) -> dict[str, Any]:
        """All settings but the weights that affect the masks, JSON-serialisable."""
        # without what a subclass adds, such as a clock
        names = [field.name for field in fields(GradientCorrection)]
        moving = self.correction if self.correction and self.correction.moves else None
        disturbed = {"disturbance": self.disturbance.options} if self.disturbance else {}
        return {
            "device": str(self.device),
            "precision": precision_name(self.precision),
            "size": self.size,
            "references": asdict(self.references),
            "memory_frames": self.memory_frames,
            "objects_at_once": self.objects_at_once,
            "correction": moving and {name: getattr(moving, name) for name in names},
            **disturbed,
        }


def load_predictor(options: ModelOptions) -> Predictor:
    """Load weights onto a device.

    Raises WeightsError, DeviceError or UsageError, and ContractError for a plug-in model that
    violates the contract.
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
        precision = choose_precision("fp32", device)  # the only one that any model supports
        path = None if options.weights == "default" else find_weights(options.weights)
        network = load_plugin(options.model, path)
    if isinstance(network, nn.Module):
        with oom_as_device_error(device):
            network.requires_grad_(False).eval().to(device, precision)
    if options.model != OWN_MODEL:
        images, masks = random_frames(network.stride)
        check_segmenter(network, images.to(device), masks.to(device))
    # a plug-in model recommends none: the papers' size and rate
    advice = network.settings if isinstance(network, Stm) else StmSettings()
    return Predictor(
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
        disturbance=disturbance_of(options, load_predictor),
    )


def check_memory(design: str | None, weights: Path) -> None:
    """Raise UsageError for a memory design that the weights cannot be used with."""
    if design is None:
        return
    trained = read_settings(weights).memory
    if memory_design(design).readout != memory_design(trained).readout:
        raise UsageError(
            f"--memory {design}: {weights} is trained for {trained}; expected weights of its own"
        )


def references_of(options: ModelOptions) -> References:
    """Return the frames to predict from."""
    chosen = REFERENCE_SETS[options.reference]
    return replace(chosen, every=options.memory_every) if chosen.every else chosen


def correction_of(options: ModelOptions, rate: float) -> GradientCorrection | None:
    """Return the correction, if it is enabled; at `rate` unless the options set another."""
    if options.gc_every is None:
        return None
    return GradientCorrection(options.gc_every, **{"rate": rate, **options.of_correction()})
