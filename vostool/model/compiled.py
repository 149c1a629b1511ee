"""Compile a network's parts, and on NVIDIA GPUs replay them as CUDA graphs.

Frames of one size, with as many objects, run the same kernels in the same order. torch.compile
fuses them; a CUDA graph launches them all at once, as a GPU computes a small frame in less time
than it takes to launch its kernels one by one. What is read of the memory is not compiled, as its
size changes, nor what needs a gradient.

A graph works in fixed places of the GPU's memory. Arguments are copied there and results from
there: to callers both are values, as without it.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import fields, is_dataclass, replace
from threading import Lock
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

log = logging.getLogger(__name__)

Part = Callable[..., Any]
Arguments = tuple[Any, ...]

KEPT = 16  # graphs of a part: sizes and numbers of objects; the least used one makes room
VARIANTS = 64  # as many PyTorch may compile of a part; its default is 8
WARM_UP = 3  # calls before one is recorded, in which libraries choose their algorithms


@runtime_checkable
class CompilableModel(Protocol):
    """A model whose time is spent in methods with the same work for frames of the same size."""

    # their names; they take and return tensors, or tuples and dataclasses of them
    compiled_parts: ClassVar[tuple[str, ...]]


class Graph(Protocol):
    """A part that was recorded with some arguments, to be replayed with others like them."""

    def __init__(self, part: Part, arguments: Arguments) -> None: ...

    def replay(self, arguments: Arguments) -> Any:
        """Return what the part returns."""


class CudaGraph:
    """A part's kernels on a GPU, launched together."""

    def __init__(self, part: Part, arguments: Arguments) -> None:
        """Record the part, in a stream of its own as CUDA asks for."""
        self._arguments = mapped(Tensor.clone, arguments)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                part(*self._arguments)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        # what other threads do meanwhile, such as reading ahead, is none of its business
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._result = part(*self._arguments)

    def replay(self, arguments: Arguments) -> Any:
        """See `Graph.replay`."""
        for own, given in zip(tensors_in(self._arguments), tensors_in(arguments), strict=True):
            own.copy_(given)
        self._graph.replay()
        return mapped(Tensor.clone, self._result)


class CompiledPart:
    """A part of a network, compiled, and recorded once for each shape of its arguments.

    With gradients it is the part as it was; so it is from when compiling fails, which is logged.
    """

    def __init__(self, part: Part, graph: type[Graph] | None) -> None:
        """Take the part and, where its kernels can be recorded, how."""
        self.exact = part
        self._fast: Part = torch.compile(part, dynamic=False)
        self._record = graph
        self._graphs: OrderedDict[Hashable, Graph] = OrderedDict()
        self._lock = Lock()  # a graph is replayed for one caller at a time

    def __call__(self, *arguments: Any) -> Any:
        """Return what the part returns."""
        if torch.is_grad_enabled() or self._fast is self.exact:
            return self.exact(*arguments)
        try:
            return self._run(arguments)
        except torch.OutOfMemoryError:
            self._graphs.clear()
            raise
        except Exception as error:
            reason = " ".join(str(error).split("\n")[:2])  # the backend, and what it says
            log.warning("compiling failed, going on without: %s", reason)
            self._fast = self.exact
            self._graphs.clear()
        return self.exact(*arguments)

    def _run(self, arguments: Arguments) -> Any:
        if self._record is None:
            return self._fast(*arguments)
        with self._lock:
            return self._graph_for(self._record, arguments).replay(arguments)

    def _graph_for(self, record: type[Graph], arguments: Arguments) -> Graph:
        """Return the graph of arguments like these, recorded if there is none."""
        like = mapped(description, arguments)
        if like not in self._graphs:
            while len(self._graphs) >= KEPT:
                self._graphs.popitem(last=False)
            self._graphs[like] = record(self._fast, arguments)
        self._graphs.move_to_end(like)
        return self._graphs[like]


def compile_parts(network: CompilableModel, device: torch.device) -> None:
    """Have the parts of a network on a device compiled, each when it is first called."""
    torch._dynamo.config.recompile_limit = max(VARIANTS, torch._dynamo.config.recompile_limit)
    for name in network.compiled_parts:
        graph = CudaGraph if device.type == "cuda" else None
        setattr(network, name, CompiledPart(getattr(network, name), graph))


def mapped(call: Callable[[Tensor], Any], value: Any) -> Any:
    """Return a value with what `call` makes of each tensor in place of that."""
    if isinstance(value, Tensor):
        return call(value)
    if isinstance(value, tuple):
        return tuple(mapped(call, each) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        return replace(value, **{name: mapped(call, getattr(value, name)) for name in names})
    return value


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield each tensor of a value, in the order of `mapped`."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from tensors_in(each)
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors_in(getattr(value, field.name))


def description(tensor: Tensor) -> Hashable:
    """Return what a graph takes as given of a tensor."""
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device
