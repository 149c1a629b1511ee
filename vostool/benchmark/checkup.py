"""`vostool doctor`: is everything there that vostool needs, and does it work?"""

import platform
import shutil
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import numpy as np
import torch

from vostool import __version__, defaults
from vostool.device import (
    choose_device,
    choose_precision,
    cpu_has_int8,
    hardware_name,
    precision_name,
)
from vostool.errors import EXIT_CODES, DeviceError, InputError, OutputError, VostoolError
from vostool.files.documents import Document
from vostool.inference.tracker import Tracker
from vostool.media.codecs import can_decode, can_encode
from vostool.media.labels import LabelMap
from vostool.media.video import read_frames
from vostool.media.writer import VideoWriter
from vostool.model.checkpoint import read_settings
from vostool.model.stm_settings import StmSettings
from vostool.model.weights import find_weights, sha256
from vostool.segment.demo import HEIGHT, RATE, WIDTH, render_frame

PACKAGES = (
    "torch",
    "torchvision",
    "av",
    "numpy",
    "opencv-python-headless",
    "scenedetect-headless",
    "pillow",
    "imageio",
    "pycocotools",
    "matplotlib",
    "jinja2",
    "pydantic",
    "safetensors",
    "rich",
    "typer",
    "starlette",
    "uvicorn",
    "websockets",
    "tensorboard",
    "pyarrow",
    "fsspec",
)
OPTIONAL = ("tensorboard", "pyarrow", "fsspec")
READ = ("h264", "hevc", "av1", "vp9", "vp8", "mpeg4", "prores", "dnxhd", "mjpeg", "ffv1")
WRITTEN = ("libx264", "aac")
ROOM = 10**9  # bytes of free disk below which it is worth a word
FRAMES = 6  # of the self-test
ENOUGH = 0.8  # IoU with the truth; the shipped weights reach 0.95 there
SIZE = 160  # pixels, short side


class Check(Document):
    """One thing that was looked at."""

    name: str
    found: str
    problem: str | None = None  # with its remedy; None: all is well
    exit_code: int = 0


class Checkup(Document):
    """All checks; the exit code is that of the first problem."""

    checks: list[Check]

    @property
    def exit_code(self) -> int:
        """The exit code of the first problem, 0 without one."""
        return next((check.exit_code for check in self.checks if check.problem), 0)


def examine(device: str = "auto") -> Checkup:
    """Return what is there, what is missing, and whether a short video is segmented well."""
    parts: tuple[Callable[[], Iterator[Check]], ...] = (
        packages,
        lambda: devices(device),
        codecs,
        weights,
        disk,
        lambda: self_test(device),
    )
    return Checkup(checks=[check for part in parts for check in failing_as_check(part)])


def failing_as_check(part: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yield the checks of a part; an error of it is one too."""
    try:
        yield from part()
    except Exception as error:  # whatever is broken, the other checks are still of use
        code = error.exit_code if isinstance(error, VostoolError) else VostoolError.exit_code
        words = (
            str(error) if isinstance(error, VostoolError) else f"{type(error).__name__}: {error}"
        )
        yield Check(name=EXIT_CODES[code], found="failed", problem=words, exit_code=code)


def packages() -> Iterator[Check]:
    """Yield the versions of what is installed."""
    system = f"{platform.system()} {platform.machine()}"
    yield Check(
        name="vostool", found=f"{__version__}, Python {platform.python_version()}, {system}"
    )
    for name in PACKAGES:
        try:
            yield Check(name=name, found=version(name))
        except PackageNotFoundError:
            if name not in OPTIONAL:
                yield Check(
                    name=name,
                    found="not installed",
                    problem=f"pip install {name}",
                    exit_code=VostoolError.exit_code,
                )


def devices(name: str) -> Iterator[Check]:
    """Yield the devices, and how the chosen one would be used; raises DeviceError."""
    cpu = torch.device("cpu")
    yield Check(name="cpu", found=f"{hardware_name(cpu)}, threads: {torch.get_num_threads()}")
    for number in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(number)
        yield Check(name=f"cuda:{number}", found=f"{facts.name}, {facts.total_memory / 1e9:.0f} GB")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        why = f"PyTorch is built for CUDA {built}" if built else "PyTorch is built without CUDA"
        yield Check(name="cuda", found=f"none; {why}")
    device = choose_device(name)
    precision = choose_precision(defaults.AUTO, device)
    faster = device.type == "cpu" and precision is torch.float32 and cpu_has_int8()
    hint = "; --precision int8 is faster" if faster else ""
    yield Check(name="device", found=f"{device}, {precision_name(precision)}{hint}")


def codecs() -> Iterator[Check]:
    """Yield which codecs are there."""
    missing = [name for name in READ if not can_decode(name)]
    found = ", ".join(name for name in READ if name not in missing)
    yield Check(name="reads", found=found + (f"; not {', '.join(missing)}" if missing else ""))
    lacking = [name for name in WRITTEN if not can_encode(name)]
    yield Check(
        name="writes",
        found=", ".join(name for name in WRITTEN if name not in lacking),
        problem=f"no {', '.join(lacking)}: overlay.mp4 cannot be written; reinstall av"
        if lacking
        else None,
        exit_code=OutputError.exit_code if lacking else 0,
    )


def weights() -> Iterator[Check]:
    """Yield the shipped weights; raises WeightsError."""
    path = find_weights("default")
    settings = read_settings(path)
    network = settings.backbone if isinstance(settings, StmSettings) else settings.published
    yield Check(
        name="weights",
        found=f"{path.name}, {network}, {path.stat().st_size / 1e6:.0f} MB, "
        f"sha256 {sha256(path)[:12]}",
    )


def disk() -> Iterator[Check]:
    """Yield the free space where results and temporary files go."""
    for name, folder in (("disk, here", Path.cwd()), ("disk, temporary", Path(gettempdir()))):
        free = shutil.disk_usage(folder).free
        problem = None
        if free < ROOM:
            problem = f"{folder}: expected {ROOM / 1e9:.0f} GB of free space: make room"
        code = OutputError.exit_code if problem else 0
        yield Check(name=name, found=f"{free / 1e9:.1f} GB free", problem=problem, exit_code=code)


def self_test(device: str) -> Iterator[Check]:
    """Yield whether some frames are written, read and segmented as they should be."""
    started = time.perf_counter()
    drawn = [render_frame(index / FRAMES * 0.2) for index in range(FRAMES)]
    with TemporaryDirectory(prefix="vostool-doctor-") as folder:
        path = Path(folder) / "clip.mp4"
        with VideoWriter(path, width=WIDTH, height=HEIGHT, rate=RATE) as writer:
            for index, (rgb, _) in enumerate(drawn):
                writer.write(rgb, index / RATE)
        frames = [frame.rgb for frame in read_frames(path)]
    if len(frames) != FRAMES:
        raise InputError(f"the self-test's clip has {len(frames)} frames, expected {FRAMES}")
    tracker = Tracker(device=device, size=SIZE)
    first, *others = frames
    tracker.step(first, drawn[0][1])
    scores = [
        overlap(tracker.step(rgb), truth) for rgb, (_, truth) in zip(others, drawn[1:], strict=True)
    ]
    problem = None
    if min(scores) < ENOUGH:
        problem = (
            f"expected an IoU of {ENOUGH} at least: this device computes wrongly; try another "
            "--device, or another release of PyTorch"
        )
    yield Check(
        name="self-test",
        found=f"{FRAMES} frames in {time.perf_counter() - started:.1f} s, IoU {min(scores):.2f}",
        problem=problem,
        exit_code=DeviceError.exit_code if problem else 0,
    )


def overlap(labels: LabelMap, truth: LabelMap) -> float:
    """Return the IoU of all objects together with the truth."""
    common, either = (labels == truth) & (truth > 0), (labels > 0) | (truth > 0)
    return float(np.count_nonzero(common) / np.count_nonzero(either))
