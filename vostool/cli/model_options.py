"""The options of commands that run a model, and how a command takes them."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any

import typer

from vostool import defaults
from vostool.cli.groups import Command, with_parameters
from vostool.cli.options import offer
from vostool.model.memory_designs import MEMORIES
from vostool.model.policy import REACH, ZOOM
from vostool.threads import limit_threads


def by_weights(usual: object) -> str:
    """Return the default that --help shows of an option that published weights may set."""
    return f"{usual}; published weights: their makers'"


Weights = Annotated[
    str,
    typer.Option(help="A weights file, or the name of shipped weights.", rich_help_panel="Model"),
]
ModelName = Annotated[
    str,
    typer.Option(
        help="stm for the built-in network, or the name of a plug-in model.",
        rich_help_panel="Model",
    ),
]
Size = Annotated[
    int | None,
    typer.Option(
        min=32,
        help="Short side of the network's input, in pixels.",
        rich_help_panel="Model",
        show_default="set by the weights",
    ),
]
Zoom = Annotated[
    float | None,
    typer.Option(
        min=1,
        max=defaults.MOST_ZOOM,
        help="Crop frames to a region around the objects, magnified at most N times; 1: always the "
        "whole frame.",
        rich_help_panel="Model",
        show_default=f"{ZOOM:g}; 1 for published weights and plug-in models",
    ),
]
Reach = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=defaults.MOST_REACH,
        help="Remove parts of a mask that do not touch the object's box on the frame before, its "
        "sides enlarged N times (1 or more), to at least a quarter of the frame's; 0: keep all.",
        rich_help_panel="Model",
        show_default=f"{REACH:g}; 0 for published weights and plug-in models",
    ),
]
MemoryEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Memorise every Nth frame.",
        rich_help_panel="Model",
        show_default=by_weights(defaults.MEMORY_EVERY),
    ),
]
MemoryFrames = Annotated[
    int | None,
    typer.Option(
        min=2,
        help="Keep at most N frames in the memory bank: annotated frames and the latest others.",
        rich_help_panel="Model",
        show_default=by_weights(defaults.MEMORY_FRAMES),
    ),
]
ObjectsAtOnce = Annotated[
    int,
    typer.Option(
        min=1,
        help="Process at most N objects at a time: saves RAM or GPU memory, gives the same masks.",
        rich_help_panel="Compute",
    ),
]
MemoryDesign = Annotated[
    str | None,
    typer.Option(
        help=f"Memory design of the built-in network: {', '.join(MEMORIES)} "
        "(this stm is a design, --model stm the network).",
        rich_help_panel="Model",
        show_default="set by the weights",
        autocompletion=offer(*MEMORIES),
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        min=0,
        help="Attend only to the K most similar memory positions; 0: all.",
        rich_help_panel="Model",
        show_default="set by the weights: all",
    ),
]
KernelSigma = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Width of kmn's kernel, in feature positions (16 pixels of the network's input).",
        rich_help_panel="Model",
        show_default="set by the weights",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        help=f"{defaults.DEVICES}.",
        rich_help_panel="Compute",
        autocompletion=offer(defaults.AUTO, "cpu", "cuda"),
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        help=f"{defaults.AUTO}, or one of {', '.join(defaults.PRECISIONS)}; on a CPU without bf16 "
        "int8 is the fastest.",
        rich_help_panel="Compute",
        autocompletion=offer(defaults.AUTO, *defaults.PRECISIONS),
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the network by torch.compile, for each frame size and number of objects: the "
        "first frames take up to a minute longer, the others a little less.",
        rich_help_panel="Compute",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Threads of the network on a CPU, and at most so many of the decoder and of the "
        "encoder each.",
        rich_help_panel="Compute",
        show_default="OMP_NUM_THREADS, else one for each core that is available and idle",
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        help="Frames to predict from: first, previous, first+previous, memory, or kept (memory "
        "without the previous frame).",
        rich_help_panel="Model",
        show_default=by_weights(defaults.REFERENCE),
        autocompletion=offer("first", "previous", "first+previous", "memory", "kept"),
    ),
]
GcEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Apply gradient correction to every Nth frame before it is memorised.",
        rich_help_panel="Gradient correction",
        show_default=f"off; papers: {defaults.GC_EVERY}",
    ),
]
GcIters = Annotated[
    int | None,
    typer.Option(
        min=0,
        help=f"Steps per frame, at most; {defaults.GC_ITERS} unless given.",
        rich_help_panel="Gradient correction",
        show_default=False,
    ),
]
GcRate = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Step size (alpha in Eq. 8 of the journal paper), independent of --size.",
        rich_help_panel="Gradient correction",
        show_default=f"set by the weights; papers: {defaults.GC_RATE:g}",
    ),
]
GcLength = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Instead of --gc-rate: scale each step so that the mask changes by this much (RMS).",
        rich_help_panel="Gradient correction",
        show_default=False,
    ),
]
GcSmooth = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Weight of the smoothness term (lambda in Eq. 10 of the journal paper).",
        rich_help_panel="Gradient correction",
        show_default=f"off; papers: {defaults.PAPER_SMOOTH:g}",
    ),
]
GcStop = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Stop once a step lowers the loss by less than this fraction.",
        rich_help_panel="Gradient correction",
        show_default="never",
    ),
]
GcMemoryOnly = Annotated[
    bool,
    typer.Option(
        "--gc-memory-only",
        help="Memorise the corrected masks, but write the uncorrected ones.",
        rich_help_panel="Gradient correction",
    ),
]
Disturb = Annotated[
    str | None,
    typer.Option(
        metavar="KIND",
        help="Disturb what frames are remembered by, to see how robust a model is: box, "
        "masks:FOLDER (those of another run), fgsm or mi-fgsm; the correction starts from there.",
        rich_help_panel="Disturbed memory",
        show_default="off",
        autocompletion=offer("box", "masks:", *defaults.ATTACKS),
    ),
]
BoxDisturb = Annotated[
    str | None,
    typer.Option(
        metavar="box",
        help="Remember frames by the boxes of their objects, to see how robust a model is; the "
        "correction starts from there.",
        rich_help_panel="Disturbed memory",
        show_default="off",
        autocompletion=offer("box"),
    ),
]
DisturbEvery = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Disturb every Nth frame, if it stays in memory; "
        f"{defaults.DISTURB_EVERY} unless given.",
        rich_help_panel="Disturbed memory",
        show_default=False,
    ),
]
Attacker = Annotated[
    str | None,
    typer.Option(
        help="The weights whose gradient an attack follows (black box).",
        rich_help_panel="Disturbed memory",
        show_default="those attacked: white box",
    ),
]
Strength = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=255,
        help="The most that an attack changes a pixel of a mask (epsilon), in 1/255; "
        f"{defaults.STRENGTH:g} unless given.",
        rich_help_panel="Disturbed memory",
        show_default=False,
    ),
]
AttackSteps = Annotated[
    int | None,
    typer.Option(
        min=1,
        help=f"Steps of mi-fgsm (T); {defaults.ATTACK_STEPS} unless given.",
        rich_help_panel="Disturbed memory",
        show_default=False,
    ),
]
Declared = tuple[Any, object]  # an option: its annotation, and its default

# options of every command that runs a model, by name
MODEL: dict[str, Declared] = {
    "model": (ModelName, defaults.MODEL),
    "weights": (Weights, defaults.WEIGHTS),
    "size": (Size, None),
    "zoom": (Zoom, None),
    "reach": (Reach, None),
    "reference": (Reference, None),
    "memory_every": (MemoryEvery, None),
    "memory_frames": (MemoryFrames, None),
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
    "device": (Device, defaults.AUTO),
    "precision": (Precision, defaults.AUTO),
    "objects_at_once": (ObjectsAtOnce, defaults.OBJECTS_AT_ONCE),
    "compile": (Compile, False),
}

# options that disturb the memory: all of them where the truth is known, else boxes alone
DISTURBANCE: dict[str, Declared] = {
    "disturb": (Disturb, None),
    "disturb_every": (DisturbEvery, None),
    "attacker": (Attacker, None),
    "strength": (Strength, None),
    "attack_steps": (AttackSteps, None),
}
BOXES: dict[str, Declared] = {
    "disturb": (BoxDisturb, None),
    "disturb_every": (DisturbEvery, None),
}


def takes_model(
    more: Mapping[str, Declared] = MappingProxyType({}),
    only: Sequence[str] = tuple(MODEL),
    **changes: object,
) -> Callable[[Command], Command]:
    """Return a decorator that adds the model options to a command, which gets one value, `model`.

    `more` are further options of it that the command takes, `only` the names of those that it
    takes if these are not all, in the order of its help, and `changes` defaults that differ.
    """
    options = {**{name: MODEL[name] for name in only}, **more}

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_model(**arguments: Any) -> None:
            from vostool.inference.options import ModelOptions

            limit_threads(arguments.pop("threads"))
            chosen = {name: arguments.pop(name) for name in options}
            command(model=ModelOptions().changed(chosen), **arguments)

        declared = inspect.signature(command).parameters.values()
        added = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=changes.get(name, default),
                annotation=annotation,
            )
            for name, (annotation, default) in {**options, "threads": (Threads, None)}.items()
        ]
        own = [each for each in declared if each.name != "model"]
        return with_parameters(with_model, [*own, *added])

    return decorate
