"""Compiled parts give what the parts give; CUDA graphs are stood in for by recorded operations."""

import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tests.conftest import TINY, draw
from tests.model.published.making import STCN, STM, XMEM, small
from vostool.inference.placement import Placement
from vostool.model import compiled
from vostool.model.compiled import CompilableModel, CompiledPart, CudaGraph, compile_parts
from vostool.model.interface import RecurrentModel
from vostool.model.object_chunks import InChunks
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.frame_loop import propagate
from vostool.propagation.frames import Annotation
from vostool.propagation.references import EVERY_FRAME, References

CPU, GPU = torch.device("cpu"), torch.device("cuda")
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


class Operation(NamedTuple):
    """What a GPU would repeat: an operation, with the tensors that it read and wrote."""

    call: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    result: Any


class RecordedGraph:
    """A CUDA graph on a CPU: the operations that were recorded, on the tensors that they had."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def replay(self) -> None:
        for call, arguments, options, result in self.operations:
            found = call(*arguments, **options)
            several = isinstance(result, list | tuple)
            pairs = zip(result, found, strict=True) if several else [(result, found)]
            for own, new in pairs:
                if isinstance(own, Tensor) and own.data_ptr() != new.data_ptr():
                    own.copy_(new)


class Recording(TorchDispatchMode):
    """Record all operations for a graph."""

    def __init__(self, graph: RecordedGraph) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.graph = graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.graph.operations.append(Operation(func, args, kwargs or {}, result))
        return result


class Stream:
    def wait_stream(self, other: "Stream") -> None:
        pass


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[RecordedGraph]:
    """Have CUDA graphs be recorded on the CPU; returns those that were."""
    recorded: list[RecordedGraph] = []

    @contextmanager
    def graph(into: RecordedGraph, capture_error_mode: str) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        recorded.append(into)
        with Recording(into):
            yield

    for name, stand_in in {
        "CUDAGraph": RecordedGraph,
        "graph": graph,
        "Stream": Stream,
        "current_stream": Stream,
        "stream": lambda stream: nullcontext(),
    }.items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    return recorded


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have parts run as they are where they would be compiled, which takes seconds."""
    monkeypatch.setattr(torch, "compile", lambda part, dynamic: partial(part))


def network_of(settings: Any) -> Any:
    return small(settings).requires_grad_(False).eval()


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


@pytest.mark.usefixtures("uncompiled")
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_masks_of_replayed_parts_are_those_of_the_parts(
    settings: Any, graphs: list[RecordedGraph]
) -> None:
    network = network_of(settings)
    sizes = SIZE, (32, 48)
    expected = [follow(network, size) for size in sizes]
    assert isinstance(network, CompilableModel)
    compile_parts(network, GPU)
    for size, masks in zip(sizes, expected, strict=True):
        torch.testing.assert_close(follow(network, size), masks)
    assert len(graphs) == len(sizes) * len(network.compiled_parts)


@pytest.mark.parametrize("name", ["shared keys and values", "outlines at half the size", "XMem"])
def test_the_masks_of_traced_parts_are_those_of_the_parts(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each is one whole to the compiler: what it could not trace, it would leave as it is."""
    whole = partial(torch.compile, backend="eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", whole)
    network = network_of(SETTINGS[name])
    expected = follow(network)
    compile_parts(network, CPU)
    torch.testing.assert_close(follow(network), expected)
    for part in network.compiled_parts:
        assert getattr(network, part)._fast is not getattr(network, part).exact


def doubled(x: Tensor, more: tuple[Tensor, ...] = (), factor: int = 2) -> tuple[Tensor, ...]:
    """Return the sum of all tensors times a factor."""
    return (factor * sum(more, x), x.clone())


@pytest.mark.usefixtures("uncompiled")
class TestGraphs:
    @pytest.fixture(autouse=True)
    def without_gradients(self) -> Iterator[None]:
        with torch.no_grad():
            yield

    def test_results_are_values_that_later_calls_leave_as_they_are(
        self, graphs: list[RecordedGraph]
    ) -> None:
        part = CompiledPart(doubled, CudaGraph)
        found = [part(torch.full((2,), float(number)), (torch.ones(2),)) for number in range(4)]
        assert [each[0].tolist() for each in found] == [[2.0 * (n + 1)] * 2 for n in range(4)]
        assert len(graphs) == 1

    def test_arguments_are_left_as_they_are_by_later_calls(
        self, graphs: list[RecordedGraph]
    ) -> None:
        part, first = CompiledPart(doubled, CudaGraph), torch.zeros(2)
        part(first)
        part(torch.ones(2))
        assert first.tolist() == [0.0, 0.0]

    @pytest.mark.parametrize(
        "other",
        [
            (torch.ones(3),),
            (torch.ones(2, dtype=torch.float64),),
            (torch.ones(2), (torch.ones(2),)),
            (torch.ones(2), (), 3),
            (torch.ones(4)[::2],),
        ],
        ids=["shape", "dtype", "number of tensors", "another value", "strides"],
    )
    def test_other_arguments_have_a_graph_of_their_own(
        self, other: tuple[Any, ...], graphs: list[RecordedGraph]
    ) -> None:
        part, usual = CompiledPart(doubled, CudaGraph), (torch.ones(2),)
        for arguments in (usual, other, usual, other):
            torch.testing.assert_close(part(*arguments), doubled(*arguments))
        assert len(graphs) == 2

    def test_the_least_used_graph_makes_room(
        self, graphs: list[RecordedGraph], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(compiled, "KEPT", 2)
        part = CompiledPart(doubled, CudaGraph)
        for length in (1, 2, 1, 3, 1):
            part(torch.ones(length))
        assert len(graphs) == 3
        part(torch.ones(2))
        assert len(graphs) == 4

    def test_graphs_are_forgotten_when_memory_runs_out(self, graphs: list[RecordedGraph]) -> None:
        def part(x: Tensor) -> Tensor:
            if len(x) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return x + 1

        fast = CompiledPart(part, CudaGraph)
        fast(torch.ones(2))
        with pytest.raises(torch.OutOfMemoryError):
            fast(torch.ones(3))
        fast(torch.ones(2))
        assert len([graph for graph in graphs if graph.operations]) == 2


@pytest.mark.usefixtures("uncompiled")
def test_what_needs_a_gradient_is_exact() -> None:
    calls = []

    def part(x: Tensor) -> Tensor:
        calls.append(x.requires_grad)
        return x.square()

    fast = CompiledPart(part, None)
    x = torch.ones(2, requires_grad=True)
    fast(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, 2.0]
    assert calls == [True]


def test_where_compiling_fails_all_goes_on_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def backend(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no compiler is installed\nand more")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    part = CompiledPart(doubled, None)
    with torch.no_grad(), caplog.at_level(logging.WARNING, compiled.__name__):
        for _ in range(2):
            assert part(torch.ones(2))[0].tolist() == [2.0, 2.0]
    assert len(caplog.messages) == 1
    assert "going on without: " in caplog.messages[0]
    assert "no compiler is installed" in caplog.messages[0]
    assert "\n" not in caplog.messages[0]


@pytest.mark.usefixtures("uncompiled")
def test_a_mistake_of_the_part_itself_is_raised() -> None:
    def part(x: Tensor) -> Tensor:
        raise ValueError("nothing is remembered")

    with torch.no_grad(), pytest.raises(ValueError, match="nothing is remembered"):
        CompiledPart(part, None)(torch.ones(2))


@pytest.mark.skipif(shutil.which("c++") is None, reason="needs a C++ compiler")
def test_compiled_code_gives_the_same() -> None:
    layer = nn.Conv2d(3, 4, 3, padding=1).requires_grad_(False)

    def part(x: Tensor) -> Tensor:
        return layer(x).relu() + 1

    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        fast = CompiledPart(part, None)
        torch.testing.assert_close(fast(x), part(x))
        assert fast._fast is not part
