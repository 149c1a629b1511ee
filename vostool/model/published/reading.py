"""A checkpoint of PyTorch to tensors by name, without running any code in it, and its kind.

PyTorch's files are pickles, which can run code when they are read. `weights_only` allows nothing
but tensors and plain containers; a file that needs more is refused, never read otherwise.
"""

import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vostool.device import is_out_of_memory
from vostool.errors import WeightsError

ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # how files begin; the latter before PyTorch 1.6
WRAPPINGS = ("state_dict", "network", "model")  # what training programs name their weights
PREFIX = "module."  # of networks that were trained on several GPUs

Has = Callable[[str], bool]


def is_pytorch(path: Path) -> bool:
    """Return whether a file begins as those of `torch.save` do."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(9)
    # a safetensors file begins with the length of its header, 8 bytes, and the header
    return start.startswith(ZIP) or (start.startswith(PICKLE) and start[8:] != b"{")


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint by name, without wrapping and prefix, on the CPU.

    Raises WeightsError if it is damaged, needs code to be read, or holds no weights.
    """
    found = load_without_code(path)
    for _ in WRAPPINGS:  # in any order, and not for ever: a table may hold itself
        table = found if isinstance(found, Mapping) else {}
        wrapped = [table[name] for name in WRAPPINGS if isinstance(table.get(name), Mapping)]
        found = wrapped[0] if wrapped else found
    if not isinstance(found, Mapping):
        raise WeightsError(
            f"{path}: expected a table of weights by name, found {type(found).__name__}"
        )
    state = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if not state or not all(isinstance(name, str) for name in state):
        raise WeightsError(f"{path}: expected weights by name, found {first_names(found)}")
    while all(name.startswith(PREFIX) for name in state):
        state = {name.removeprefix(PREFIX): value for name, value in state.items()}
    return state


def load_without_code(path: Path) -> Any:
    """Return what a checkpoint holds; raises WeightsError."""
    refuse_compressed(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats: nothing that the user can change
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = next((line for line in str(error).splitlines() if "GLOBAL" in line), "")
        if not reason:
            raise WeightsError(f"{path}: damaged, or no checkpoint of PyTorch") from error
        raise WeightsError(
            f"{path}: needs code of its own to be read, which is never run "
            f"({reason.strip().rstrip('.')}); expected a file of weights alone, a state dict"
        ) from error
    except Exception as error:  # a damaged file makes PyTorch raise whatever comes up
        if is_out_of_memory(error):
            raise
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise WeightsError(f"{path}: damaged, or no checkpoint of PyTorch ({reason})") from error


def refuse_compressed(path: Path) -> None:
    """Raise WeightsError if a zip file holds more bytes than its own size bears out.

    `torch.save` compresses nothing. PyTorch reads compressed files all the same, of which one of
    a few kilobytes may fill all RAM.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):
        return  # of the old format, or damaged, which PyTorch finds
    compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if compressed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise WeightsError(
            f"{path}: compressed, which files of torch.save never are; expected a checkpoint of "
            "PyTorch"
        )


def recognise(path: Path, state: Mapping[str, Tensor]) -> str:
    """Return the kind of published weights, a key of `KINDS`, by the names of its tensors.

    Raises WeightsError, which says what was found, for any other.
    """

    def has(start: str) -> bool:
        return any(name.startswith(start) for name in state)

    for what, is_it in REFUSED.items():
        if is_it(has, state):
            raise WeightsError(f"{path}: {what}, which vostool cannot run; {REMEDY}")
    for kind, is_it in RECOGNISED.items():
        if is_it(has, state):
            return kind
    raise WeightsError(f"{path}: weights of an unknown network ({first_names(state)}); {REMEDY}")


def is_resnest(has: Has, state: Mapping[str, Tensor]) -> bool:
    """Return whether this is STM on ResNeSt-101, another network under the same names."""
    stem = state.get("Encoder_M.conv1_o.weight")
    return has("Encoder_M.") and (has("aspp.") or (stem is not None and stem.shape[:1] != (64,)))


def has_bottlenecks(state: Mapping[str, Tensor]) -> bool:
    """Return whether the encoders of STM are ResNet-50 or -101."""
    return "Encoder_Q.res2.0.conv3.weight" in state


REMEDY = "`vostool weights list` shows which files it reads"

REFUSED: dict[str, Callable[[Has, Mapping[str, Tensor]], bool]] = {
    "STM on ResNeSt-101 (Training-Code-of-STM)": is_resnest,
    "Cutie": lambda has, _: has("object_transformer."),
    "the propagation network of MiVOS": lambda has, _: has("mask_rgb_encoder."),
    "an image classifier of torchvision (for `encoder_weights` in a recipe of `vostool train`)": (
        lambda has, _: has("layer1.0.conv1.weight") and has("fc.")
    ),
}
RECOGNISED: dict[str, Callable[[Has, Mapping[str, Tensor]], bool]] = {
    "stm-cycle": lambda has, _: has("Encoder_M.conv1_bg.weight"),
    "stm-official": lambda has, state: has("Encoder_M.conv1_o.weight") and has_bottlenecks(state),
    "stm-training-code": lambda has, _: has("Encoder_M.conv1_o.weight"),
    "stcn": lambda has, _: has("key_comp.weight") and has("value_encoder.conv1.weight"),
    "xmem": lambda has, _: has("key_proj.d_proj.weight") and has("value_encoder.conv1.weight"),
}


def first_names(table: Mapping[Any, Any]) -> str:
    """Return the first names in a table, and how many there are."""
    names = [str(name)[:60] for name in table][:3]
    return f"{len(table)} names: {', '.join(names)}{', …' if len(table) > 3 else ''}"
