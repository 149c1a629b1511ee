"""Options that several commands take."""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

Weights = Annotated[str, typer.Option(help="A weights file, or a name.", rich_help_panel="Model")]
ModelName = Annotated[
    str,
    typer.Option(help="stm, or a model that another package offers.", rich_help_panel="Model"),
]
Size = Annotated[
    int | None,
    typer.Option(
        min=32,
        help="Short side at which the network works, pixels.",
        rich_help_panel="Model",
        show_default="as the weights say",
    ),
]
MemoryEvery = Annotated[
    int, typer.Option(min=1, help="Remember every Nth frame.", rich_help_panel="Model")
]
MemoryFrames = Annotated[
    int,
    typer.Option(
        min=2,
        help="Remember at most N frames: the annotated, and the latest of the others.",
        rich_help_panel="Model",
    ),
]
ObjectsAtOnce = Annotated[
    int,
    typer.Option(
        min=1,
        help="Work on at most N objects at a time: less memory, the same masks.",
        rich_help_panel="Compute",
    ),
]
MemoryDesign = Annotated[
    str | None,
    typer.Option(
        help="How frames are remembered: stm, kmn or gcm.",
        rich_help_panel="Model",
        show_default="as the weights were trained",
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        min=0,
        help="Remembered positions that each position of a frame goes by; 0: all.",
        rich_help_panel="Model",
        show_default="as the weights say: all",
    ),
]
KernelSigma = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Width of the kernel of kmn, in positions of 16 pixels at the working size.",
        rich_help_panel="Model",
        show_default="as the weights were trained",
    ),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or cuda:NUMBER.", rich_help_panel="Compute")
]
Precision = Annotated[
    str, typer.Option(help="auto, fp32, bf16 or fp16.", rich_help_panel="Compute")
]
Reference = Annotated[
    str,
    typer.Option(
        help="Frames to predict from: first, previous, first+previous or memory.",
        rich_help_panel="Model",
    ),
]
GcEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Correct every Kth frame by its cycle with the mask given, and the memory with it.",
        rich_help_panel="Gradient correction",
        show_default="off; papers: 5",
    ),
]
GcIters = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Steps for a frame, at most.",
        rich_help_panel="Gradient correction",
        show_default="10",
    ),
]
GcRate = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Length of a step, in the papers' unit at every --size.",
        rich_help_panel="Gradient correction",
        show_default="as the weights say; papers: 180",
    ),
]
GcLength = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Length of a step as the root mean square change of a mask, in place of --gc-rate.",
        rich_help_panel="Gradient correction",
        show_default=False,
    ),
]
GcSmooth = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Weight of the smoothness of the mask.",
        rich_help_panel="Gradient correction",
        show_default="0; papers: 0.75",
    ),
]
GcStop = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Stop before the steps are up once one lowers the loss by less than this share.",
        rich_help_panel="Gradient correction",
        show_default="never",
    ),
]
GcMemoryOnly = Annotated[
    bool,
    typer.Option(
        "--gc-memory-only",
        help="Remember the corrected masks, but write the others.",
        rich_help_panel="Gradient correction",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of paths.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no words; errors only.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace a result.", rich_help_panel="Output")
]

# what every command that runs a model takes: name, declaration and default
MODEL: dict[str, tuple[Any, object]] = {
    "model": (ModelName, "stm"),
    "weights": (Weights, "default"),
    "size": (Size, None),
    "reference": (Reference, "memory"),
    "memory_every": (MemoryEvery, 5),
    "memory_frames": (MemoryFrames, 8),
    "memory": (MemoryDesign, None),
    "top_k": (TopK, None),
    "kernel_sigma": (KernelSigma, None),
    "gc_every": (GcEvery, None),
    "gc_iters": (GcIters, None),
    "gc_rate": (GcRate, None),
    "gc_length": (GcLength, None),
    "gc_smooth": (GcSmooth, None),
    "gc_stop": (GcStop, None),
    "gc_memory_only": (GcMemoryOnly, False),
    "device": (Device, "auto"),
    "precision": (Precision, "auto"),
    "objects_at_once": (ObjectsAtOnce, 8),
}

Command = Callable[..., None]


def takes_model(**defaults: object) -> Callable[[Command], Command]:
    """Give a command the options of a model, which come to it as one value, `model`.

    `defaults` are those that differ for this command.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_model(**arguments: Any) -> None:
            from vostool.inference.options import ModelOptions

            chosen = {name: arguments.pop(name) for name in MODEL}
            command(model=ModelOptions().changed(chosen), **arguments)

        signature = inspect.signature(command)
        own = [each for each in signature.parameters.values() if each.name != "model"]
        added = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, default),
                annotation=declared,
            )
            for name, (declared, default) in MODEL.items()
        ]
        with_model.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
        with_model.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
        return with_model

    return decorate
