"""Compare published weights with what their makers' programs make of the same frames.

    python -m tests.bench.published FIXTURES [--only MODEL]

FIXTURES is a folder of golden fixtures: fill.py, clip.npz, and for each MODEL keys.json and
golden.npz. Checkpoints are made of them, in the layout of their makers, and go through
`vostool segment`, the Python interface, and the classes. Each comparison is printed with its
tolerance; the exit status is 1 if one fails.
"""

import argparse
import copy
import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from itertools import pairwise
from pathlib import Path
from runpy import run_path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from tests.bench.choices import Choices, differing
from vostool.cli import main as main_of_vostool
from vostool.inference.tracker import Tracker
from vostool.media.labels import LabelMap
from vostool.media.masks import read_mask, write_mask
from vostool.model.aggregate import aggregate
from vostool.model.check import check_segmenter
from vostool.model.checkpoint import load_checkpoint
from vostool.model.interface import Reference, Segmenter
from vostool.model.published.long_term import LongTermMemory
from vostool.model.published.xmem import Xmem, XmemMemory
from vostool.model.stm import Stm
from vostool.propagation.correction import (
    PAPER_PIXELS,
    Goal,
    at_rate,
    descend,
    explain,
    with_background,
)
from vostool.propagation.frame_loop import propagate
from vostool.propagation.frames import Annotation
from vostool.propagation.references import EVERY_FRAME

SAME_PIXELS = 0.999  # share of pixels whose label is the same
SOFT = 1e-3  # of probabilities
CLOSE = 1e-4  # of losses and gradients, relative to the largest value
UNSWITCHED = 0.95  # share of pixels that no unit reaches which is on another side in their program
SWITCHED = 1e-6  # share of units that rounding moves to their other side
LOAD_SECONDS = 2.0

Arrays = dict[str, NDArray[Any]]


class Finding(NamedTuple):
    """A comparison: what was found, and what is allowed."""

    what: str
    found: float
    allowed: float
    at_least: bool = False

    @property
    def good(self) -> bool:
        """Whether it is within its tolerance."""
        return self.found >= self.allowed if self.at_least else self.found <= self.allowed


def main() -> int:
    """Compare, and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("fixtures", type=Path)
    parser.add_argument("--only", help="one of the models")
    given = parser.parse_args()
    models = sorted(path.parent.name for path in given.fixtures.glob("*/golden.npz"))
    clip = dict(np.load(given.fixtures / "clip.npz"))
    failed = 0
    for model in models:
        if given.only in (None, model):
            with TemporaryDirectory(prefix="vostool-published-") as folder:
                for finding in compare(given.fixtures, model, clip, Path(folder)):
                    sign = ">=" if finding.at_least else "<="
                    verdict = "ok  " if finding.good else "FAIL"
                    print(
                        f"{verdict} {model:21} {finding.what:44} "
                        f"{finding.found:10.3g} {sign} {finding.allowed:g}",
                        flush=True,
                    )
                    failed += not finding.good
    print(f"{failed} comparisons failed" if failed else "all within their tolerances")
    return 1 if failed else 0


def compare(fixtures: Path, model: str, clip: Arrays, folder: Path) -> Iterator[Finding]:
    """Yield all comparisons of a model."""
    golden, weights = dict(np.load(fixtures / model / "golden.npz")), folder / "model.pth"
    fill = run_path(str(fixtures / "fill.py"))["main"]
    fill(str(fixtures / model / "keys.json"), str(weights))
    since = time.process_time()
    network = load_checkpoint(weights)
    yield Finding("seconds of CPU to load", time.process_time() - since, LOAD_SECONDS)
    network.requires_grad_(False)
    check_segmenter(network)
    yield Finding("breaches of the contract", 0, 0)
    for case in ("even", "odd"):
        yield from compare_case(case, golden, clip, weights, folder)
    if "long/masks" in golden and isinstance(network, Xmem):
        yield from compare_long(network, golden, clip)
    if "cycle/loss" in golden and isinstance(network, Stm):
        yield from compare_cycle(network, golden, clip)
    yield from run_correction(folder, weights)


def compare_case(
    case: str, golden: Arrays, clip: Arrays, weights: Path, folder: Path
) -> Iterator[Finding]:
    """Yield the label maps of the command line, and the soft masks of the Python interface."""
    frames, labels = clip[f"{case}_frames"], clip[f"{case}_labels"]
    expected = golden[f"{case}/masks"].astype(np.float64) / 65535
    pictures, mask, output = folder / case, folder / f"{case}.png", folder / f"{case}-out"
    pictures.mkdir()
    for index, rgb in enumerate(frames):
        Image.fromarray(rgb).save(pictures / f"{index:05}.png")
    write_mask(mask, labels[0])
    options = options_of(case, golden)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    vostool("segment", pictures, "--mask", mask, "--weights", weights, *flags, "-o", output)
    height, width = labels.shape[1:]
    found = np.stack(
        [
            read_mask(output / "masks" / f"{index:05}.png", width, height, allow_empty=True)
            for index in range(1, len(frames))
        ]
    )
    same = found == label_maps(expected)
    what = " ".join(flags[2:]) or "its own policy"
    yield Finding(f"{case}, {what}: labels", float(same.mean()), SAME_PIXELS, at_least=True)
    tracker = Tracker(weights=str(weights), device="cpu", **options)
    tracker.step(frames[0], labels[0])
    differences = []
    for rgb, masks in zip(frames[1:], expected, strict=True):
        tracker.step(rgb)
        differences.append(np.abs(tracker.soft_masks()[1:] - masks).max())
    yield Finding(f"{case}, {what}: soft masks", float(max(differences)), SOFT)


def options_of(case: str, golden: Arrays) -> dict[str, Any]:
    """Return the options at which a case was made."""
    options: dict[str, Any] = {"size": {"even": 96, "odd": 100}[case], "precision": "fp32"}
    config = golden.get(f"{case}/config")
    every = int(golden[f"{case}/every"] if config is None else config[0])
    if every != 5:
        options["memory_every"] = every
    if golden.get(f"{case}/include_last", 0):
        options["reference"] = "memory"
    return options


def label_maps(objects: NDArray[np.float64]) -> LabelMap:
    """Return the most probable labels of masks (T, N, H, W) without background."""
    masks = np.concatenate([1 - objects.sum(axis=1, keepdims=True), objects], axis=1)
    return masks.argmax(axis=1).astype(np.uint8)


def vostool(*arguments: object) -> None:
    """Run a command in this process; raises SystemExit if it fails."""
    command = ["vostool", *map(str, arguments), "--device", "cpu", "--quiet"]
    with patch.object(sys, "argv", command), redirect_stdout(io.StringIO()):
        main_of_vostool()


def even_clip(clip: Arrays) -> tuple[list[Tensor], Annotation]:
    """Return the images of the clip whose sides are multiples of 16, and its first mask."""
    frames = torch.from_numpy(clip["even_frames"]).permute(0, 3, 1, 2).float() / 255
    first = torch.from_numpy(clip["even_labels"][0])
    objects = torch.stack([first == id_ for id_ in (1, 2)])[None].float()
    return list(frames.unsqueeze(1)), Annotation((1, 2), objects)


@torch.no_grad()
def compare_long(network: Xmem, golden: Arrays, clip: Arrays) -> Iterator[Finding]:
    """Yield masks and memory of a long-term memory that is consolidated twice."""
    images, truth = even_clip(clip)
    every, top = golden["long/config"].tolist()
    settings = network.settings
    network.settings = settings.model_copy(update={"top_k": top, "prototypes": 16, "long_term": 24})
    network.memory_frames, network.memory_every = 4, every
    recorder = Recorder(network)
    found = [each.masks[0, 1:] for each in propagate(images, {0: truth}, recorder, EVERY_FRAME)]
    expected = torch.from_numpy(golden["long/masks"].astype(np.float32) / 65535)
    yield Finding("long: soft masks", largest(torch.stack(found[1:]) - expected), SOFT)
    sizes = [[bank.working, bank.prototypes] for bank in recorder.banks]
    expected_sizes = golden["long/sizes"].tolist()[: len(sizes)]
    yield Finding("long: sizes that differ", float(sizes != expected_sizes), 0)
    # the last frame is not memorised, but the makers count its reading
    asked = network.encode(images[-1]).query
    bank = recorder.banks[-1].read(asked)[1]
    assert bank.elements is not None
    stored = bank.elements.span(0, bank.prototypes)
    for name, values, scale in (
        ("key", stored.key[0].T, 1e-3),
        ("shrinkage", stored.shrinkage[0].T, 1e-3),
        ("value", stored.value[0].T.unflatten(0, (2, -1))[:, :64], 1e-3),
        ("use", stored.use[0].T, 1e-3),
        ("life", stored.life[0].T, 1e-3),
    ):
        entry = f"long/{name if name in ('use', 'life') else f'long_{name}'}"
        entry = entry.replace("long/use", "long/usage_use").replace("long/life", "long/usage_life")
        yield Finding(f"long: {name}", largest(values - torch.from_numpy(golden[entry])), scale)
    network.settings, network.memory_frames, network.memory_every = settings, 10, 5


class Recorder:
    """A `Segmenter` that keeps the memory banks that another one makes."""

    def __init__(self, network: Xmem) -> None:
        self.network, self.stride = network, network.stride
        self.encode, self.segment = network.encode, network.segment
        self.banks: list[LongTermMemory] = []

    def memorize(
        self, features: Any, masks: Tensor, memory: Any = None, annotated: bool = False
    ) -> XmemMemory:
        """See `Segmenter.memorize`."""
        found = self.network.memorize(features, masks, memory, annotated)
        self.banks.append(found.bank)
        return found


def compare_cycle(network: Stm, golden: Arrays, clip: Arrays) -> Iterator[Finding]:
    """Yield loss, gradient and result of the makers' correction, by ours without projection.

    Each step begins at the makers' own masks. From the first ones alone the descent cannot be
    repeated: it leaves [0, 1] by far, and at their rate these weights make it chaotic. A change of
    1e-6 of the first masks changes those after three steps by a third of their largest value or
    more, and so can another number of threads.
    In float32 a gradient depends on the side of single units that are within rounding of
    switching. So the first one is compared in float64, and in float32 with every unit on the side
    that it has there: all pixels closely. The makers' later ones are on sides of their own.
    """
    images, truth = even_clip(clip)
    frame = int(golden["cycle/frame"])
    names = ("before", "after", "gradient_first", "gradient_last")
    before, after, first, last = (torch.from_numpy(golden[f"cycle/{name}"])[1:] for name in names)
    rate = float(golden["cycle/rate"])
    yield from compare_gradient(network, images, truth, frame, before, first)
    states = [before, before - rate * first, after + rate * last, after]
    pixels = before.shape[1] * before.shape[2]
    pace = at_rate(rate * PAPER_PIXELS / pixels)  # theirs does not depend on the size
    losses = losses_of(network, images, truth, frame)
    for number, (start, end) in enumerate(pairwise(states)):
        step = next(descend(losses, start[None], pace))
        expected = torch.from_numpy(golden["cycle/loss"][number : number + 1])
        yield Finding(f"cycle: loss {number}, relative", relative(step.loss, expected), CLOSE)
        distance = (step.after[0] - end).abs() / largest(after)
        what = f"cycle: masks after step {number}, within {SOFT:g}"
        yield Finding(what, float((distance <= SOFT).float().mean()), UNSWITCHED, at_least=True)
        typical = float((step.after[0] - end).abs().median()) / largest(start - end)
        yield Finding(f"cycle: gradient {number}, median pixel", typical, CLOSE)
    yield from compare_after(network, golden, images, truth, frame, after[None])


Losses = Callable[[Tensor], Iterator[Tensor]]


def losses_of(network: Stm, images: list[Tensor], truth: Annotation, frame: int) -> Losses:
    """Return the cycle loss of the objects of a frame; all in the precision of the network."""
    dtype = network.query_stem.weight.dtype
    with torch.no_grad():
        masks = truth.masks((1, 2)).to(dtype)
        reference = Reference(network.encode(images[0].to(dtype)), masks)
        later = network.encode(images[frame].to(dtype))

    def losses(objects: Tensor) -> Iterator[Tensor]:
        return explain(network, later, [Goal((0, 1, 2), reference)])(objects)

    return losses


def compare_gradient(
    network: Stm,
    images: list[Tensor],
    truth: Annotation,
    frame: int,
    objects: Tensor,
    expected: Tensor,
) -> Iterator[Finding]:
    """Yield the gradient in float64, and in float32 by the choices that units make there."""

    def gradient(net: Stm, imposed: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        dtype = net.query_stem.weight.dtype
        leaf = objects[None].to(dtype).requires_grad_()
        with Choices(imposed) as choices:
            (total,) = losses_of(net, images, truth, frame)(leaf)
            (found,) = torch.autograd.grad(total.sum(), leaf)
        return found[0].float(), choices.made

    exact, chosen = gradient(copy.deepcopy(network).double())
    yield Finding("cycle: first gradient in float64", relative(exact, expected), CLOSE)
    switched, units = differing(chosen, gradient(network)[1])
    yield Finding(f"cycle: units of {units} that float32 switches", switched, SWITCHED * units)
    same, _ = gradient(network, chosen)
    yield Finding("cycle: the same in float32, none switched", relative(same, expected), CLOSE)


@torch.no_grad()
def compare_after(
    network: Segmenter[Any, Any],
    golden: Arrays,
    images: list[Tensor],
    truth: Annotation,
    frame: int,
    after: Tensor,
) -> Iterator[Finding]:
    """Yield the masks of the frame after a corrected one, which is remembered."""
    memory = network.memorize(network.encode(images[0]), truth.masks((1, 2)), None, True)
    memory = network.memorize(network.encode(images[frame]), with_background(after), memory)
    masks = aggregate(network.segment(network.encode(images[frame + 1]), memory))[0, 1:]
    expected = torch.from_numpy(golden["cycle/masks_last"].astype(np.float32) / 65535)
    yield Finding("cycle: the next frame's masks", largest(masks - expected), SOFT)


def run_correction(folder: Path, weights: Path) -> Iterator[Finding]:
    """Yield whether correction and cycle-ERF run on two objects."""
    common = (folder / "even", "--mask", folder / "even.png", "--weights", weights, "--size", 96)
    vostool("segment", *common, "--gc-every", 2, "--gc-iters", 2, "-o", folder / "corrected")
    vostool("erf", *common, "--iters", 2, "--strip", 2, "-o", folder / "erf")
    field = np.load(folder / "erf" / "erf.npy")
    yield Finding(
        "cycle-ERF of two objects: highest response", float(field.max()), 1e-6, at_least=True
    )
    moved = sum(
        int((read(folder / "corrected", index) != read(folder / "even-out", index)).sum())
        for index in (2, 4, 6)
    )
    yield Finding("pixels moved by the correction", moved, 1, at_least=True)


def read(output: Path, index: int) -> LabelMap:
    """Return a mask that was written for the clip `even`."""
    return read_mask(output / "masks" / f"{index:05}.png", 128, 96, allow_empty=True)


def largest(difference: Tensor) -> float:
    """Return the largest magnitude."""
    return float(difference.abs().max())


def relative(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference in units of the largest value that is expected."""
    return largest(found - expected) / largest(expected)


if __name__ == "__main__":
    sys.exit(main())
