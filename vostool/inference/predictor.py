"""A loaded network and its inference settings."""

from copy import copy
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel
from torch import nn

from vostool import defaults
from vostool.device import (
    choose_device,
    choose_precision,
    forbid_tf32,
    oom_as_device_error,
    precision_name,
)
from vostool.errors import UsageError
from vostool.inference.cuts import OnCut
from vostool.inference.disturbance import MemoryDisturbance, disturbance_of
from vostool.inference.oom import Limits
from vostool.inference.options import OWN_MODEL, ModelOptions
from vostool.inference.placement import Placement
from vostool.inference.reports import Network
from vostool.model.borders import NO_PADDING, Bordered, to_multiples
from vostool.model.check import check_segmenter, random_frames
from vostool.model.checkpoint import load_checkpoint
from vostool.model.compiled import compile_parts
from vostool.model.int8 import use_int8
from vostool.model.interface import (
    AdvisedModel,
    CompilableModel,
    LimitedMemory,
    RecurrentModel,
    Segmenter,
    memory_limit,
)
from vostool.model.object_chunks import InChunks
from vostool.model.plugin import load_plugin
from vostool.model.policy import Border, Policy
from vostool.model.published.kinds import licence_of
from vostool.model.weights import find_weights, sha256
from vostool.preprocess import Size, size_in_box, working_size
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.group import FrameLoop
from vostool.propagation.references import EVERY_FRAME, MEMORY, REFERENCE_SETS, References


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
    border: Border = "stretch"  # see `Policy`
    box: Size | None = None  # that frames are placed in, at the size of its height
    compiled: bool = False  # the network, unless that failed; see `vostool.model.compiled`

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

    def placement(self, height: int, width: int) -> Placement:
        """Return how frames of this height and width lie in the input of the frame loop.

        A black border is not in it: the segmenter adds that itself.
        """
        if self.box is not None:
            tall, wide = self.box
            box = self.size, round(self.size * wide / tall)
            return Placement(size_in_box(height, width, box))
        stride = self.network.stride
        if self.border == "stretch":
            return Placement(working_size(height, width, self.size, stride))
        size = working_size(height, width, self.size, 1)
        return Placement(size, to_multiples(size, stride) if self.border == "mean" else NO_PADDING)

    @property
    def segmenter(self) -> Segmenter[Any, Any]:
        """The network, with borders, run on at most `objects_at_once` objects at a time."""
        network = self.network
        if self.box is not None or self.border == "black":
            network = Bordered(network, self.box)
        return InChunks(network, self.objects_at_once)

    @cached_property
    def loop(self) -> FrameLoop[Any, Any]:
        """The frame loop that runs it; always the same object, which tells its tracks apart."""
        most = memory_limit(self.network) or self.memory_frames
        disturbance = None if self.disturbance is None else self.disturbance.method
        return FrameLoop(
            self.segmenter,
            self.references,
            self.correction,
            most,
            disturbance,
            recurrent=isinstance(self.network, RecurrentModel),
        )

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
            published=self.published,
            licence=self.licence,
        )

    def check_cuts(self, cuts: OnCut) -> None:
        """Raise UsageError if nothing would be left to seek objects by after a scene cut."""
        if cuts is OnCut.RESET and not self.references.annotated:
            raise UsageError("--cuts reset: --reference previous remembers no given mask")

    @property
    def licence(self) -> str | None:
        """The licence of published weights, as far as their makers state one."""
        return licence_of(self.published)

    @property
    def published(self) -> str | None:
        """The kind of published weights that these are, a key of `KINDS`; None: others."""
        return getattr(getattr(self.network, "settings", None), "published", None)

    @property
    def memory_every(self) -> int | None:
        """How often a recurrent model memorises a frame itself; None: `references` say so."""
        return self.network.memory_every if isinstance(self.network, RecurrentModel) else None

    @property
    def options(self) -> dict[str, Any]:
        """All settings but the weights that affect the masks, JSON-serialisable."""
        # without what a subclass adds, such as a clock
        names = [field.name for field in fields(GradientCorrection)]
        moving = self.correction if self.correction and self.correction.moves else None
        disturbed = {"disturbance": self.disturbance.options} if self.disturbance else {}
        box = None if self.box is None else list(self.box)  # as JSON has it
        placed = {"border": self.border, "box": box} if self.border != "stretch" else {}
        compiled = {"compiled": True} if self.compiled else {}
        kept = {} if self.memory_every is None else {"memory_every": self.memory_every}
        return {
            "device": str(self.device),
            "precision": precision_name(self.precision),
            "size": self.size,
            "references": asdict(self.references),
            "memory_frames": self.memory_frames,
            "objects_at_once": self.objects_at_once,
            "correction": moving and {name: getattr(moving, name) for name in names},
            **placed,
            **kept,
            **compiled,
            **disturbed,
        }


def load_predictor(options: ModelOptions) -> Predictor:
    """Load weights onto a device.

    Raises WeightsError, DeviceError or UsageError, and ContractError for a plug-in model that
    violates the contract.
    """
    device = choose_device(options.device)
    choose_precision(options.precision, device)  # before anything is loaded
    path = None
    if options.model == OWN_MODEL or options.weights != defaults.WEIGHTS:
        path = find_weights(options.weights)
    network = load_segmenter(options, path)
    policy = policy_of(network)
    chosen = advised(options, policy)
    set_memory(network, options, chosen)
    precision = choose_precision(chosen.precision, device)
    prepare(network, options, device, precision)
    return Predictor(
        network=network,
        weights=path,
        device=device,
        precision=precision,
        size=chosen.size or policy.short_side,
        references=references_of(chosen, network),
        memory_frames=chosen.memory_frames,
        objects_at_once=options.objects_at_once,
        correction=correction_of(options, policy.correction_rate),
        name=getattr(network, "name", OWN_MODEL) if options.model == OWN_MODEL else options.model,
        disturbance=disturbance_of(options, load_predictor),
        border=policy.border,
        box=policy.box if options.size is None else None,
        compiled=options.compile,
    )


def prepare(
    network: Segmenter[Any, Any],
    options: ModelOptions,
    device: torch.device,
    precision: torch.dtype,
) -> None:
    """Bring a network to a device in a precision, and compile it if the options ask for that.

    Raises DeviceError, ContractError, and UsageError if it cannot be compiled.
    """
    int8 = precision is torch.int8
    if precision is torch.float32:
        forbid_tf32()
    if isinstance(network, nn.Module):
        with oom_as_device_error(device):
            network.requires_grad_(False).eval().to(device, torch.float32 if int8 else precision)
    if options.model != OWN_MODEL:
        images, masks = random_frames(network.stride)
        check_segmenter(network, images.to(device), masks.to(device))
    if int8 and isinstance(network, nn.Module):
        use_int8(network)
    if options.compile:
        if not isinstance(network, CompilableModel):
            raise UsageError(f"--compile: --model {options.model} cannot be compiled; leave it out")
        compile_parts(network)


def predictor_of(network: Segmenter[Any, Any], size: int, device: torch.device) -> Predictor:
    """Return a network on a device, in float32, with frames of a size and else as it advises."""
    policy = policy_of(network)
    chosen = advised(ModelOptions(), policy)
    return Predictor(
        network=network,
        weights=None,
        device=device,
        precision=torch.float32,
        size=size,
        references=references_of(chosen, network),
        memory_frames=chosen.memory_frames,
        border=policy.border,
        box=policy.box,
    )


def policy_of(network: Segmenter[Any, Any]) -> Policy:
    """Return how a network is best used, as far as it says so."""
    return network.policy if isinstance(network, AdvisedModel) else Policy()


def load_segmenter(options: ModelOptions, path: Path | None) -> Segmenter[Any, Any]:
    """Return a network of vostool's own, or a plug-in model; None: with its own weights."""
    changes = options.model_dump(include={"memory", "top_k", "kernel_sigma"}, exclude_none=True)
    if options.model == OWN_MODEL and path is not None:
        return load_checkpoint(path, options.memory_frames, changes)
    if changes:
        given = " ".join(f"--{name}".replace("_", "-") for name in changes)
        raise UsageError(f"{given}: --model {options.model} has its own memory")
    return load_plugin(options.model, path)


def advised(options: ModelOptions, policy: Policy) -> ModelOptions:
    """Return options of which those that the user left open are as the model advises.

    Raises UsageError for a precision that a plug-in model may not support.
    """
    given = options.precision
    usual = policy.precision or (defaults.AUTO if options.model == OWN_MODEL else "fp32")
    if options.model != OWN_MODEL and given not in (defaults.AUTO, "fp32", usual):
        raise UsageError(
            f"--precision {given}: --model {options.model} runs in {usual}; leave it out"
        )
    return options.model_copy(
        update={
            "size": options.size or policy.short_side,
            "reference": options.reference or policy.reference or defaults.REFERENCE,
            "memory_every": options.memory_every or policy.memory_every or defaults.MEMORY_EVERY,
            "memory_frames": options.memory_frames
            or policy.memory_frames
            or defaults.MEMORY_FRAMES,
            "precision": usual if given == defaults.AUTO else given,
        }
    )


def set_memory(network: Segmenter[Any, Any], options: ModelOptions, chosen: ModelOptions) -> None:
    """Set how often and how many frames a network remembers, as far as it has a say.

    Raises UsageError if the user chose references for a recurrent model, or a limit for a plug-in
    model that has none.
    """
    if isinstance(network, RecurrentModel):
        if options.reference is not None:
            raise UsageError(
                f"--reference {options.reference}: the state of this model depends on every frame; "
                "leave it out"
            )
        network.memory_every = chosen.memory_every or 1
    if isinstance(network, LimitedMemory):
        if isinstance(network, AdvisedModel) or options.memory_frames is not None:
            network.memory_frames = chosen.memory_frames
    elif options.model != OWN_MODEL and options.memory_frames is not None:
        raise UsageError(
            f"--memory-frames {options.memory_frames}: --model {options.model} has no such limit; "
            "leave it out"
        )


def references_of(options: ModelOptions, network: Segmenter[Any, Any]) -> References:
    """Return the frames to predict from."""
    if isinstance(network, RecurrentModel):
        return EVERY_FRAME
    chosen = REFERENCE_SETS[options.reference or defaults.REFERENCE]
    return replace(chosen, every=options.memory_every) if chosen.every else chosen


def correction_of(options: ModelOptions, rate: float) -> GradientCorrection | None:
    """Return the correction, if it is enabled; at `rate` unless the options set another."""
    if options.gc_every is None:
        return None
    return GradientCorrection(options.gc_every, **{"rate": rate, **options.of_correction()})
