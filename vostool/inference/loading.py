"""From options to a predictor: which network is loaded, and how it is used."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vostool import defaults
from vostool.device import choose_device, choose_precision, forbid_tf32, oom_as_device_error
from vostool.errors import UsageError
from vostool.inference.disturbance import disturbance_of
from vostool.inference.options import OWN_MODEL, ModelOptions
from vostool.inference.predictor import Predictor
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
)
from vostool.model.plugin import load_plugin
from vostool.model.policy import Policy
from vostool.model.weights import find_weights
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.references import EVERY_FRAME, REFERENCE_SETS, References


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
        **views_of(options, network, policy),
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
    views = views_of(chosen, network, policy)
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
        zoom=views["zoom"],
        reach=views["reach"],
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


def views_of(
    options: ModelOptions, network: Segmenter[Any, Any], policy: Policy
) -> dict[str, float]:
    """Return zoom and reach, by these names.

    Raises UsageError for either with a recurrent model, whose state is of whole frames and of what
    it predicted, and with a disturbance, which is measured by itself.
    """
    other = "--disturb" if options.disturb else ""
    if isinstance(network, RecurrentModel):
        other = f"the recurrent model of {options.weights}"
    views = {"zoom": (options.zoom, policy.zoom, 1.0), "reach": (options.reach, policy.reach, 0.0)}
    found = {}
    for name, (asked, usual, off) in views.items():
        if other and asked not in (None, off):
            raise UsageError(f"--{name} {asked:g}: cannot be used with {other}; leave it out")
        found[name] = off if other else usual if asked is None else asked
    return found


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
