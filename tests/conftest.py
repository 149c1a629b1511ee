"""Synthetic truth for every test: a bright square that crosses a dark scene.

The scene comes as tensors (`clip`) and as a real file with its mask (`video`); a segmenter
that goes by colour (`ColourSegmenter`) stands in for the network where no weights are needed,
and `network` is a real one, small and untrained.
"""

import copy
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from vostool.device import cpu_has_int8
from vostool.files.claims import CLAIM, Holder
from vostool.inference.soft import WHITE, SegmentedFrame, SoftMasks
from vostool.media.frame import Frame
from vostool.media.masks import write_mask
from vostool.media.writer import VideoWriter
from vostool.model.stm import Stm
from vostool.model.stm_settings import StmSettings

HEIGHT, WIDTH, FRAMES, SIDE = 48, 64, 8, 16
DARK, ORANGE, BLUE = (20, 24, 30), (250, 150, 40), (40, 90, 250)
ARRIVAL = 3  # the frame on which the second square shows up
RATE = Fraction(25)
PATIENCE = 120.0  # seconds until what a test waits for must have happened
LONGEST = ("tests/test_kills.py", "tests/train/test_distributed.py")
SEED = 1  # of what a test draws without a generator of its own
needs_int8 = pytest.mark.skipif(not cpu_has_int8(), reason="needs oneDNN, and a CPU with AVX2")
TINY = StmSettings(key_channels=8, value_channels=16, decoder_channels=(16, 8, 8))

Picture = NDArray[np.uint8]
ColourMemory = tuple[Tensor, ...]


class ColourSegmenter:
    """Remembers the mean colour of each mask; a pixel belongs to the colour it is closest to."""

    stride = 1

    def encode(self, image: Tensor) -> Tensor:
        return image

    def memorize(
        self,
        features: Tensor,
        masks: Tensor,
        memory: ColourMemory | None = None,
        annotated: bool = False,
    ) -> ColourMemory:
        area = masks.sum(dim=(2, 3)).clamp(min=1).unsqueeze(2)
        return (*(memory or ()), torch.einsum("bnhw,bchw->bnc", masks, features) / area)

    def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
        colours = torch.stack(memory).mean(dim=0)[..., None, None]  # (B, N + 1, 3, 1, 1)
        distance = (features.unsqueeze(1) - colours).square().sum(dim=2)
        return 5 * (distance[:, :1] - distance[:, 1:])


class ColourNetwork(ColourSegmenter, torch.nn.Module):
    """The segmenter by colour in the place of the network; does something else at a frame."""

    settings = TINY

    def __init__(self, frame: int = 0, act: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.memory_frames: int | None = None
        self.left, self.act = frame, act

    def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.act()
        return super().segment(features, memory)


def interrupt() -> None:
    """Press Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds, which it need not do soon on a busy machine."""
    waited, now = 0.0, time.monotonic()
    while not condition():
        assert waited < seconds, "nothing happened"
        time.sleep(0.005)
        before, now = now, time.monotonic()
        waited += min(now - before, 1.0)  # the machine may stand still meanwhile


def copy_as_killed(folder: Path, copy: Path, state: Path) -> Callable[[], None]:
    """Return a call that copies the folder of a run: what a kill at that moment would leave.

    It waits until a state of the run is there.
    """
    nobody = 2**22 + 1  # no process of Linux has a higher number than 2^22

    def copy_one(source: str, target: str) -> None:
        with suppress(FileNotFoundError):  # older states go
            shutil.copy2(source, target)

    def act() -> None:
        wait_for(state.exists)
        shutil.copytree(folder, copy, copy_function=copy_one)
        for claim in copy.rglob(CLAIM):
            claim.write_text(json.dumps(asdict(replace(Holder.here(), pid=nobody))))

    return act


class Scene(NamedTuple):
    """Frames and their true masks, as the network takes them."""

    images: Tensor  # (T, 1, 3, H, W) in [0, 1]
    masks: Tensor  # (T, 1, N + 1, H, W), background first


class Footage(NamedTuple):
    """A video file with the mask of its first frame, and the true labels of every frame."""

    path: Path
    mask: Path
    labels: list[Picture]


def draw(index: int, two: bool = False) -> tuple[Picture, Picture]:
    """Draw a frame, (H, W, 3), and its labels, (H, W): object 1 moves, object 2 joins late."""
    rgb = np.full((HEIGHT, WIDTH, 3), DARK, np.uint8)
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    left = 4 + 4 * index
    squares = [(1, ORANGE, np.s_[26:42, left : left + SIDE])]
    if two and index >= ARRIVAL:
        squares.append((2, BLUE, np.s_[6:20, 44:60]))
    for id_, colour, place in squares:
        rgb[place] = colour
        labels[place] = id_
    return rgb, labels


def scene(count: int = FRAMES, two: bool = False) -> Scene:
    """Return the scene as tensors."""
    drawn = [draw(index, two) for index in range(count)]
    images = torch.stack([torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255 for rgb, _ in drawn])
    ids = range(3 if two else 2)
    masks = [np.stack([labels == id_ for id_ in ids]) for _, labels in drawn]
    return Scene(images, torch.from_numpy(np.stack(masks)).unsqueeze(1).float())


def film(path: Path, mask: Path, count: int = FRAMES, two: bool = False) -> Footage:
    """Write the scene as a video, and the mask of its first frame."""
    path.write_bytes(encoded(path.suffix, count, two))
    labels = [draw(index, two)[1] for index in range(count)]
    write_mask(mask, labels[0])
    return Footage(path, mask, labels)


@cache
def encoded(suffix: str, count: int, two: bool) -> bytes:
    """Return the scene as the content of a video."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"scene{suffix}"
        with VideoWriter(path, width=WIDTH, height=HEIGHT, rate=RATE) as writer:
            for index in range(count):
                writer.write(draw(index, two)[0], Fraction(index) / RATE)
        return path.read_bytes()


def segmented(frame: Frame, labels: Picture) -> SegmentedFrame:
    """Return a frame as the network hands it out, its soft masks of a third of the size."""
    size = labels.shape[0], labels.shape[1]
    ids = tuple(np.unique(labels[labels > 0]).tolist())
    small = np.stack([cv2.resize((labels == id_) * 1.0, (22, 16)) for id_ in (0, *ids)])
    soft = SoftMasks(ids, (WHITE * small).astype(np.uint16), size)
    return SegmentedFrame(frame, labels, soft)


def pytest_configure() -> None:
    """Let nothing in the environment have Rich and Typer take a stream for a terminal, or none."""
    for name in ("FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PY_COLORS"):
        os.environ.pop(name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, which else a process would end with while others are idle."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Let a test draw the same whichever tests ran before it in its process."""
    random.seed(SEED)
    np.random.seed(SEED)
    torch.manual_seed(SEED)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from more; what a command sets in the environment is forgotten."""
    torch.set_num_threads(1)
    before = dict(os.environ)
    os.environ["COLUMNS"] = "80"  # a terminal's own may have more or fewer
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update({n: value for n, value in before.items() if os.environ.get(n) != value})


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_works() -> None:
    """A shell that starts the tests in the background has them ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def clip() -> Scene:
    return scene()


@pytest.fixture
def video(tmp_path: Path) -> Footage:
    return film(tmp_path / "square.mp4", tmp_path / "square.png")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file in the place of weights, for networks that need none."""
    path = tmp_path / "colours.safetensors"
    path.write_bytes(b"colours need no weights")
    return path


@pytest.fixture(scope="session")
def untrained() -> Stm:
    torch.manual_seed(0)
    return Stm(TINY).eval()


@pytest.fixture
def network(untrained: Stm) -> Stm:
    """A small network of the test's own: what uses one may change it, such as to bf16 or int8."""
    return copy.deepcopy(untrained)
