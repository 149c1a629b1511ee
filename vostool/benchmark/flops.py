"""The FLOPs of a frame, counted by PyTorch while the network runs; a precision does not matter."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from vostool.benchmark.report import BenchClip, FrameCost
from vostool.device import cpu_has_int8
from vostool.inference.predictor import Predictor
from vostool.preprocess import Size
from vostool.propagation.references import References


def frame_cost(predictor: Predictor, clip: BenchClip) -> FrameCost:
    """Return the network's GFLOP for a frame without correction, once the memory bank is full.

    As if all frames cost the same, though the first is not segmented, the last not memorised, and
    the memory bank is small at first: on a clip of few frames the share of the ceiling comes out
    too high, by 7 % on one of 8, by 1 % on one of 50 (measured).
    """
    size = predictor.placement(clip.height, clip.width).size
    references = kept_frames(predictor)
    remembered = frames_remembered(references, clip.frames, predictor.memory_frames)
    flops = frame_flops(predictor, size, clip.objects, remembered)
    return FrameCost(gflop=round(flops / 1e9, 3), remembered=remembered, working_size=size)


def kept_frames(predictor: Predictor) -> References:
    """Return which frames stay in memory; a recurrent model, which is given all, keeps some."""
    every = predictor.memory_every
    return predictor.references if every is None else References(previous=False, every=every)


def frames_remembered(references: References, frames: int, most: int | None) -> int:
    """Return how many frames the memory bank holds when a clip's last frame is segmented."""
    earlier = range(frames - 1)
    kept = {index for index in earlier if references.keep(index, annotated=index == 0)}
    if references.previous:
        kept |= set(earlier[-1:])
    return max(1, min(len(kept), most or len(kept)))


@torch.no_grad()
def frame_flops(predictor: Predictor, size: Size, objects: int, remembered: int) -> int:
    """Return the mean FLOPs of a frame without correction: encoded, segmented and memorised.

    It counts as memorised as often as that happens: STCN memorises only the frames that stay, and
    XMem does less for the others. A multiplication and an addition are two. `size` is that of the
    network's input.
    """
    network, references = predictor.segmenter, kept_frames(predictor)
    image = torch.rand(1, 3, *size, device=predictor.device)
    masks = torch.full((1, objects + 1, *size), 1 / (objects + 1), device=predictor.device)
    features, memory = network.encode(image), None
    for _ in range(remembered):
        memory = network.memorize(features, masks, memory, annotated=True)  # which all keep
    with counter() as seen:
        features = network.encode(image)
        network.segment(features, memory)
    with counter() as kept:
        network.memorize(features, masks)
    share = 1 / references.every if references.every else 0.0
    with counter() as passed:
        if references.previous:
            network.memorize(features, masks)
        elif predictor.memory_every is not None and share < 1:
            network.memorize(features, masks, memory)
    rest = (1 - share) * passed.get_total_flops()
    return round(seen.get_total_flops() + share * kept.get_total_flops() + rest)


def counter() -> FlopCounterMode:
    """Return a counter of FLOPs that also counts convolutions in 8 bits."""
    formulas = {torch.ops.onednn.qconv2d_pointwise: int8_flops} if cpu_has_int8() else {}
    return FlopCounterMode(display=False, custom_mapping=formulas)


def int8_flops(  # as PyTorch calls it: shapes in place of the tensors
    image: list[int],
    _scale: float,
    _zero_point: int,
    weight: list[int],
    *_: Any,
    out_shape: list[int],
) -> int:
    """Return the FLOPs of a convolution in 8 bits."""
    return conv_flop_count(image, weight, out_shape)
