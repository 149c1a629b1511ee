"""Inference on a GPU that is not there: fake tensors know their shape, dtype and device alone.

An operation on tensors of two devices, or of dtypes that do not go together, raises as it would on
a GPU; values are never computed.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.conftest import TINY, draw
from vostool.inference.oom import fit, in_ram
from vostool.inference.placement import Placement
from vostool.model.memory_designs import MEMORIES
from vostool.model.stm import Stm, StmFeatures, StmMemory
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.disturbance import Attack, Boxes, Disturbance
from vostool.propagation.frame_loop import Track, replay
from vostool.propagation.frames import Annotation, KnownFrame, MaskedFrame, Prediction
from vostool.propagation.group import FrameLoop
from vostool.propagation.references import References

GPU = torch.device("cuda:0")
SIZE, SMALLER = (48, 64), (32, 48)
FRAMES = 4
EVERY = References(every=2)

Precision = torch.dtype


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    """Have weights become fake where they are moved, and gradients be zeros: the autograd engine
    asks for the GPU itself."""

    def gradient(loss: Tensor, leaf: Tensor) -> tuple[Tensor]:
        assert loss.requires_grad
        return (torch.zeros_like(leaf),)

    monkeypatch.setattr(torch.autograd, "grad", gradient)
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    yield FakeTensorMode(allow_non_fake_inputs=True)
    torch.__future__.set_overwrite_module_params_on_conversion(before)


def known(index: int) -> KnownFrame:
    """Return a frame as it is read, on the GPU, with two objects."""
    image = Placement(SIZE).image(draw(index)[0], GPU)
    objects = torch.zeros(1, 2, *SIZE, device=GPU)
    return KnownFrame(image, Annotation((1, 2), objects))


def follow(loop: FrameLoop[Any, Any]) -> list[Prediction[Any]]:
    """Follow a short video; half-way the track is made again of frames that were in RAM."""
    track, predictions = Track(loop), []
    frames = [known(index) for index in range(FRAMES)]
    for index, frame in enumerate(frames):
        if index == FRAMES // 2:
            kept = [in_ram(each) for each in track.frames]
            assert all(each.masks.device.type == "cpu" for each in kept)
            fit(kept[0], Placement(SMALLER), GPU)
            track = replay(loop, [fit(each, Placement(SIZE), GPU) for each in kept])
        track, prediction = track.advance(
            frame.image, None if index else frame.objects, frames[index : index + 3]
        )
        predictions.append(prediction)
    return predictions


def run(
    fake: FakeTensorMode,
    network: Stm,
    precision: Precision,
    correction: GradientCorrection | None = None,
    disturbance: Disturbance | None = None,
) -> None:
    """Follow a video in a precision, and check what comes out."""
    with fake, torch.no_grad():
        network.eval().requires_grad_(False).to(GPU, precision)
        for prediction in follow(FrameLoop(network, EVERY, correction, 2, disturbance)):
            for masks in (prediction.masks, prediction.staying):
                if masks is not None:
                    assert (masks.device, masks.dtype) == (GPU, torch.float32)
                    assert masks.shape == (1, 3, *SIZE)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("values", ["own", "shared"])
@pytest.mark.parametrize("keys", ["own", "shared"])
@pytest.mark.parametrize("memory", MEMORIES)
def test_every_set_up_keeps_to_one_device_and_to_dtypes_that_go_together(
    memory: str, keys: str, values: str, precision: Precision, fake: FakeTensorMode
) -> None:
    settings = TINY.model_copy(update={"memory": memory, "keys": keys, "values": values})
    run(fake, Stm(settings, memory_frames=2), precision)


@pytest.mark.parametrize(
    "more",
    [
        {"similarity": "l2"},
        {"top_k": 4},
        {"location_cue": True},
        {"output_stride": 2},
        {"backbone": "resnet50", "stride_in_1x1": True},
    ],
    ids=str,
)
def test_every_other_setting_does_so_too(more: dict[str, object], fake: FakeTensorMode) -> None:
    settings = TINY.model_copy(update={"keys": "shared", **more})
    run(fake, Stm(settings, memory_frames=2), torch.bfloat16)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("correction", "disturbance"),
    [
        (GradientCorrection(every=2, steps=1, smooth=0.75), None),
        (GradientCorrection(every=2, steps=1, length=0.1), Boxes(every=2)),
        (None, Attack(every=2, steps=2, momentum=1.0)),
    ],
    ids=["rate", "length and boxes", "attack"],
)
def test_corrections_and_disturbances_do_so_too(
    correction: GradientCorrection | None,
    disturbance: Disturbance | None,
    precision: Precision,
    fake: FakeTensorMode,
) -> None:
    run(fake, Stm(TINY, memory_frames=2), precision, correction, disturbance)


def test_a_frame_in_ram_leaves_nothing_on_the_gpu(fake: FakeTensorMode) -> None:
    with fake:
        frame = known(0)
        masks = torch.zeros(1, 3, *SIZE, device=GPU)
        kept = in_ram(MaskedFrame(5, frame.image, (1, 2), masks, staying=masks))
        there = fit(kept, Placement(SMALLER), GPU)
        for each, place in ((kept, torch.device("cpu")), (there, GPU)):
            assert each.staying is not None
            found = {tensor.device for tensor in (each.image, each.masks, each.staying)}
            assert found == {place}
        assert there.staying is not None
        assert there.staying.shape[2:] == SMALLER


class OnTheCpu(Stm):
    """A network with a mistake: it makes a tensor without saying where."""

    def memorize(
        self,
        features: StmFeatures,
        masks: Tensor,
        memory: StmMemory | None = None,
        annotated: bool = False,
    ) -> StmMemory:
        weights = torch.from_numpy(np.ones(masks.shape[2:], np.float32))
        return super().memorize(features, masks * weights, memory, annotated)


class InThirtyTwoBits(Stm):
    """A network with a mistake: it takes masks in 32 bits to weights of 16."""

    def location(self, masks: Tensor) -> Tensor:
        return super().location(masks).float()


def test_a_tensor_that_was_left_on_the_cpu_is_found(fake: FakeTensorMode) -> None:
    with pytest.raises(RuntimeError, match=r"(?i)device"):
        run(fake, OnTheCpu(TINY, memory_frames=2), torch.float32)


def test_a_tensor_of_another_precision_than_the_weights_is_found(fake: FakeTensorMode) -> None:
    network = InThirtyTwoBits(TINY.model_copy(update={"location_cue": True}), memory_frames=2)
    with pytest.raises(RuntimeError, match=r"(?i)dtype|type"):
        run(fake, network, torch.bfloat16)
