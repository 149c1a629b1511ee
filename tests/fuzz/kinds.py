"""All that is fuzzed, by the name of its kind."""

from collections.abc import Callable

from hypothesis.strategies import SearchStrategy

from tests.fuzz import cases, options
from tests.fuzz.cases import Base, loud
from tests.fuzz.running import Case

KINDS: dict[str, Callable[[Base], SearchStrategy[Case]]] = {
    "video": lambda base: loud(cases.videos(base)),
    "mask": lambda base: loud(cases.masks(base)),
    "frames": lambda base: loud(cases.frames(base)),
    "names": cases.names,
    "table": lambda base: loud(cases.tables(base)),
    "report": lambda base: loud(cases.reports(base)),
    "results": cases.results,
    "benchmark": lambda base: loud(cases.benchmarks(base)),
    "recipe": cases.recipes,
    "coco": cases.coco,
    "weights": lambda base: loud(cases.weights(base)),
    "checkpoint": cases.checkpoints,
    "drawing": lambda base: loud(options.drawings(base)),
    "output": lambda base: loud(options.outputs(base)),
    "stretch": lambda base: loud(options.stretches(base)),
    "pipe": lambda base: loud(options.pipes(base)),
    "weights_command": options.weights_commands,
}
