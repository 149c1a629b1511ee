"""Compiled parts give what the parts give."""

import logging
import shutil
from functools import partial
from threading import Thread
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import TINY, draw
from tests.model.published.making import STCN, STM, XMEM, small
from vostool.inference.placement import Placement
from vostool.model import compiled
from vostool.model.compiled import CompiledPart, compile_parts
from vostool.model.interface import CompilableModel, RecurrentModel
from vostool.model.object_chunks import InChunks
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.frame_loop import propagate
from vostool.propagation.frames import Annotation
from vostool.propagation.references import EVERY_FRAME, References

CPU = torch.device("cpu")
SIZE = (48, 64)
SETTINGS = {
    "shared keys and values": TINY.model_copy(update={"keys": "shared", "values": "shared"}),
    "outlines at half the size": TINY.model_copy(
        update={"output_stride": 2, "location_cue": True, "values": "shared"}
    ),
    "STM": STM,
    "STCN": STCN,
    "XMem": XMEM,
}


@torch.no_grad()
def follow(network: Any, size: tuple[int, int] = SIZE) -> list[Tensor]:
    """Return the masks of two objects on some frames, every third of them corrected."""
    place = Placement(size)
    annotation = Annotation((1, 2), place.objects(draw(0, two=True)[1], (1, 2), CPU))
    images = [place.image(draw(index, two=True)[0], CPU) for index in range(5)]
    references = EVERY_FRAME if isinstance(network, RecurrentModel) else References(every=2)
    correction = GradientCorrection(every=3, steps=1)
    found = propagate(images, {0: annotation}, InChunks(network, 2), references, correction)
    return [each.masks for each in found]


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_masks_of_a_compiled_network_are_those_of_the_exact_one(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part is one whole to the compiler: what it could not trace, it would leave as it is."""
    traced = []

    def backend(graph: Any, inputs: Any) -> Any:
        traced.append(graph)
        return graph.forward

    whole = partial(torch.compile, backend=backend, fullgraph=True)
    monkeypatch.setattr(torch, "compile", whole)
    network = small(settings).requires_grad_(False)
    expected = follow(network)
    assert isinstance(network, CompilableModel)
    compile_parts(network)
    torch.testing.assert_close(follow(network), expected)
    assert len(traced) >= len(network.compiled_parts)
    assert not any(getattr(network, part).failed for part in network.compiled_parts)


def doubled(x: Tensor, more: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
    """Return twice the sum of all tensors, and the first."""
    return (2 * sum(more, x), x.clone())


def test_every_shape_is_compiled_in_any_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_for = []

    def backend(graph: Any, inputs: Any) -> Any:
        compiled_for.append(tuple(inputs[0].shape))
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    part, shapes = CompiledPart(doubled), [(length,) for length in range(2, 14)]

    def call() -> None:
        with torch.no_grad():
            for shape in shapes:
                assert part(torch.ones(shape))[0].tolist() == [2.0] * shape[0]

    thread = Thread(target=call)
    thread.start()
    thread.join()
    assert compiled_for == shapes


def test_what_needs_a_gradient_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", lambda part, dynamic: pytest.fail("compiled"))
    x = torch.ones(2, requires_grad=True)
    CompiledPart(doubled)(x)[0].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("at", ["the start", "the first call"])
def test_where_compiling_fails_all_goes_on_without(
    at: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def fails(*_: Any, **options: Any) -> Any:
        tries.append(options)
        raise RuntimeError("no compiler is installed\nand what to do\nand more")

    there = partial(torch.compile, backend=fails) if at == "the first call" else fails
    monkeypatch.setattr(torch, "compile", there)
    part = CompiledPart(doubled)
    with torch.no_grad(), caplog.at_level(logging.WARNING, compiled.__name__):
        for _ in range(2):
            assert part(torch.ones(2))[0].tolist() == [2.0, 2.0]
    (message,) = caplog.messages
    assert message.startswith("compiling failed, going on without: ")
    assert "no compiler is installed" in message
    assert "\n" not in message
    assert len(tries) == 1


@pytest.mark.parametrize(
    "error",
    [
        ValueError("nothing is remembered"),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=repr,
)
def test_what_the_part_itself_raises_is_raised_and_it_stays_compiled(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def part(x: Tensor) -> Tensor:
        if len(x) > 2:
            raise error
        return x + 1

    monkeypatch.setattr(torch, "compile", lambda part, dynamic: partial(part))
    fast = CompiledPart(part)
    with torch.no_grad(), caplog.at_level(logging.WARNING, compiled.__name__):
        with pytest.raises(type(error)):
            fast(torch.ones(3))
        assert fast(torch.ones(2)).tolist() == [2.0, 2.0]
    assert not fast.failed
    assert not caplog.messages


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_compiled_code_gives_the_same() -> None:
    layer = nn.Conv2d(3, 4, 3, padding=1).requires_grad_(False)

    def part(x: Tensor) -> Tensor:
        return layer(x).relu() + 1

    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        fast = CompiledPart(part)
        torch.testing.assert_close(fast(x), part(x))
    assert not fast.failed
