"""Devices and precisions: chosen by name, described, and what to do when memory runs out."""

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

from vostool import defaults
from vostool.errors import DeviceError, UsageError

PRECISIONS = dict(
    zip(
        defaults.PRECISIONS,
        (torch.float32, torch.bfloat16, torch.float16, torch.int8),
        strict=True,
    )
)
CPU_OOM = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed")


def choose_device(name: str) -> torch.device:
    """Return the device of a name: "auto", "cpu", "cuda" or "cuda:1".

    "auto" is the first CUDA device if there is one, else the CPU. Raises DeviceError for a device
    that is absent, UsageError for an unknown name.
    """
    if name == defaults.AUTO:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    form = re.fullmatch(r"cpu|cuda(?::([0-9]+))?", name)
    if form is None:
        raise UsageError(f"--device {name}: expected {defaults.DEVICES}")
    if name == "cpu":
        return torch.device("cpu")
    if int(form[1] or 0) >= gpu_count():
        raise DeviceError(f"--device {name}: expected a CUDA device, PyTorch finds {gpu_count()}")
    return torch.device(name)


def gpu_count() -> int:
    """Return how many CUDA devices PyTorch finds."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of a name: "auto", "fp32", "bf16", "fp16" or "int8".

    "auto" is 16 bits where the device computes them faster: bf16 on CPUs and GPUs that have
    it in hardware, fp16 on older GPUs, else fp32. int8 is that of the convolutions alone (see
    `Int8Conv2d`). Raises UsageError.
    """
    if name != defaults.AUTO:
        if name not in PRECISIONS:
            raise UsageError(f"--precision {name}: expected auto, {', '.join(PRECISIONS)}")
        if name == "fp16" and device.type == "cpu":
            raise UsageError("--precision fp16: needs a CUDA device; a CPU has fp32, bf16 and int8")
        if name == "int8" and device.type != "cpu":
            raise UsageError("--precision int8: needs --device cpu; a GPU has bf16 and fp16")
        if name == "int8" and not cpu_has_int8():
            raise UsageError(
                "--precision int8: needs a CPU with AVX2, and PyTorch with oneDNN; use fp32"
            )
        return PRECISIONS[name]
    if device.type == "cpu":
        return torch.bfloat16 if cpu_has_bf16() else torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16


def precision_name(precision: torch.dtype) -> str:
    """Return a dtype as reports name it: "float32", "bfloat16" or "float16"."""
    return str(precision).removeprefix("torch.")


def hardware_name(device: torch.device) -> str:
    """Return the make of a device, as far as it is known: of a GPU its name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    make = platform.processor() or platform.machine()
    return f"{make}, {torch.backends.cpu.get_cpu_capability()}"


def cpu_has_bf16() -> bool:
    """Return whether this CPU multiplies bf16 in hardware; emulated, it is far too slow."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


@cache
def cpu_has_int8() -> bool:
    """Return whether PyTorch convolves in 8 bits on this CPU fast, and as `Int8Conv2d` expects.

    The trial is of the largest weights and activations that it uses. Their products fit into
    16 bits if those of channels 0 and 1, 2 and 3 and so on are added first, else they overflow.
    """
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        return False  # what oneDNN has for others is far too slow
    image = torch.full((1, 16, 1, 1), 255, dtype=torch.uint8)
    weight = torch.tensor([127, 0, 0, 127], dtype=torch.int8).repeat(16, 4)[..., None, None]
    scales, zero_points = torch.ones(16), torch.zeros(16, dtype=torch.int32)
    shape = [1, 1], [0, 0], [1, 1], 1
    kind: tuple[object, ...] = 1.0, 0, torch.float32, "none", [], ""
    try:
        packed = torch.ops.onednn.qconv_prepack(weight, scales, 1.0, 0, *shape)
        response = torch.ops.onednn.qconv2d_pointwise(
            image, 1.0, 0, packed, scales, zero_points, None, *shape, *kind
        )
    except (AttributeError, RuntimeError, TypeError):  # another PyTorch, or one without oneDNN
        return False
    return bool((response == 8 * 127 * 255).all())


def forbid_tf32() -> None:
    """Have convolutions in float32 be that on NVIDIA GPUs, too, from now on in this process.

    PyTorch would round what they multiply to TF32, 10 bits. Its matrix products are exact anyway.
    """
    torch.backends.cudnn.allow_tf32 = False


def synchronize(device: torch.device) -> None:
    """Wait until the device has finished all queued work; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def oom_as_device_error(
    device: torch.device, remedy: str = "a smaller --size, --memory-frames or --objects-at-once"
) -> Iterator[None]:
    """Raise running out of memory as a DeviceError that names a remedy."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(f"{device}: out of memory; try {remedy}") from error


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error is running out of memory."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    # on a CPU PyTorch raises a plain RuntimeError
    return isinstance(error, RuntimeError) and any(words in str(error) for words in CPU_OOM)


def release_memory(device: torch.device) -> None:
    """Release the device memory that PyTorch caches and does not use."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
