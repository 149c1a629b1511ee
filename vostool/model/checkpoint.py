"""Weights and settings to and from one safetensors file.

The settings of the network travel in the file's metadata, under the key "vostool", so
that a weights file alone rebuilds its network. 16-bit weights are widened when read.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeAlias, TypeVar, overload

import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vostool.errors import UsageError, WeightsError
from vostool.files import atomic_write
from vostool.files.documents import problem
from vostool.model.memory_designs import memory_design
from vostool.model.published.kinds import KINDS
from vostool.model.published.layout import Layout, is_finite, is_plain
from vostool.model.published.reading import is_pytorch, read_state, recognise
from vostool.model.published.stcn import Stcn, StcnSettings
from vostool.model.published.xmem import Xmem, XmemSettings
from vostool.model.stm import Stm
from vostool.model.stm_settings import StmSettings

Settings: TypeAlias = StmSettings | StcnSettings | XmemSettings
Network: TypeAlias = Stm | Stcn | Xmem
SomeSettings = TypeVar("SomeSettings", bound=BaseModel)
Converter: TypeAlias = Callable[[Layout], tuple[Settings, dict[str, Tensor]]]

NETWORKS: dict[type[Settings], Callable[..., Network]] = {
    StmSettings: Stm,
    StcnSettings: Stcn,
    XmemSettings: Xmem,
}
SETTINGS: dict[str, type[Settings]] = {  # by the names of networks in files
    Stm.name: StmSettings,
    Stcn.name: StcnSettings,
    Xmem.name: XmemSettings,
}
FORMAT = 1
KEY = "vostool"
# settings that may differ from those of the weights that training starts from
CHANGEABLE_IN_TRAINING = {
    "output_stride",
    "location_cue",
    "values",
    "memory",
    "top_k",
    "kernel_sigma",
    "kernel_temperature",
    "annotated_weight",
    "short_side",
    "correction_rate",
    "published",
}


def save_checkpoint(path: Path, network: Network, card: dict[str, Any]) -> None:
    """Write the network in 16 bits with its settings and a card; atomic.

    `card` is JSON-serialisable: recipe, data and scores of the training.
    """
    header = {
        "format": FORMAT,
        "network": network.name,
        "settings": network.settings.model_dump(),
        "card": card,
    }
    write_half(path, network.state_dict(), {KEY: json.dumps(header)})


def write_half(
    path: Path, state: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write weights in 16 bits as safetensors; atomic. Raises OutputError."""
    halves = {name: value.half().contiguous() for name, value in state.items()}
    with atomic_write(path, SafetensorError) as part:
        save_file(halves, part, metadata=metadata)
        part.chmod(0o644)  # it comes out readable by its owner alone


def read_header(path: Path) -> dict[str, Any]:
    """Return the format, settings and card of a weights file.

    Raises WeightsError if the file is missing, no safetensors file, or not vostool's.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a safetensors file ({error})") from error
    if KEY not in metadata:
        raise WeightsError(f"{path}: no vostool weights: the metadata entry {KEY!r} is missing")
    try:
        header: dict[str, Any] = json.loads(metadata[KEY])
    except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
        raise WeightsError(f"{path}: its metadata entry {KEY!r} is not JSON") from error
    if not isinstance(header, dict):
        raise WeightsError(f"{path}: its metadata entry {KEY!r} is not a table")
    if header.get("format") != FORMAT:
        raise WeightsError(
            f"{path}: weights of format {header.get('format')}, this vostool reads format {FORMAT}"
        )
    return header


def read_settings(path: Path, changes: Mapping[str, Any] | None = None) -> Settings:
    """Return the settings of the network of a weights file, with `changes`.

    Raises WeightsError, and UsageError as `changed` does.
    """
    if is_pytorch(path):
        return changed(read_published(path)[0], changes, path)
    header = read_header(path)
    values = header.get("settings")
    if not isinstance(values, dict):
        raise WeightsError(f"{path}: expected a table of network settings, found none")
    name = header.get("network", Stm.name)
    if not isinstance(name, str) or name not in SETTINGS:
        raise WeightsError(f"{path}: a network {name!r}; this vostool knows {', '.join(SETTINGS)}")
    try:
        return changed(SETTINGS[name].model_validate(values), changes, path)
    except ValidationError as error:
        raise WeightsError(f"{path}: unsupported network settings: {problem(error)}") from error


def changed(settings: SomeSettings, changes: Mapping[str, Any] | None, path: Path) -> SomeSettings:
    """Return settings with changes.

    Raises UsageError for one of what the network lacks, for a value that it cannot have, and for a
    memory design that it is not trained for.
    """
    for name in changes or {}:
        if name not in type(settings).model_fields:
            option = f"--{name}".replace("_", "-")
            raise UsageError(f"{option}: {path} is of another network, which has no such option")
    try:
        other = type(settings).model_validate({**settings.model_dump(), **(changes or {})})
    except ValidationError as error:
        raise UsageError(f"options for {path}: {problem(error)}") from error
    if isinstance(settings, StmSettings) and isinstance(other, StmSettings):
        readouts = [memory_design(each.memory).readout for each in (settings, other)]
        if readouts[0] != readouts[1]:
            raise UsageError(
                f"--memory {other.memory}: {path} is trained for {settings.memory}; expected "
                "weights of its own"
            )
    return other


def read_published(path: Path) -> tuple[Settings, dict[str, Tensor]]:
    """Return settings and weights of a checkpoint that others have published.

    Raises WeightsError if it is damaged, of an unknown network, or not whole.
    """
    state = read_state(path)
    layout = Layout(path, state)
    convert: Converter = resolve_name(KINDS[recognise(path, state)].converter)
    try:
        settings, weights = convert(layout)
    except ValidationError as error:
        raise WeightsError(f"{path}: weights of an unsupported width: {problem(error)}") from error
    except RuntimeError as error:  # of tensors of unusual kinds
        reason = str(error).splitlines()[0]
        raise WeightsError(f"{path}: damaged, or of another network: {reason}") from error
    layout.close()
    return settings, weights


def load_checkpoint(
    path: Path, memory_frames: int | None = None, changes: Mapping[str, Any] | None = None
) -> Network:
    """Rebuild a network from its weights file: float32, on the CPU, in evaluation mode.

    `changes` override settings of the file, such as the memory design.
    Raises WeightsError as `read_settings` does, if weights and settings disagree, or if a weight
    is not a finite number.
    """
    if is_pytorch(path):
        settings, state = read_published(path)
        settings = changed(settings, changes, path)
    else:
        settings, state = read_settings(path, changes), {}
    try:
        state = state or load_file(path)
        network = build(settings, state, memory_frames)
    except (RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{path}: weights do not fit their settings: {reason}") from error
    for name, value in state.items():
        if not is_finite(value):  # such a network finds nothing, without a word
            raise WeightsError(
                f"{path}: {name} holds values that are not finite numbers, as of a training that "
                "diverged; give other weights"
            )
    return network.to(memory_format=torch.channels_last).eval()


def load_stm(path: Path) -> Stm:
    """Rebuild a network that vostool can train, as `load_checkpoint` does; raises WeightsError."""
    network = load_checkpoint(path)
    if not isinstance(network, Stm):
        raise WeightsError(f"{path}: weights of {network.name}, which vostool does not train")
    return network


@overload
def build(
    settings: StmSettings, state: Mapping[str, Tensor], memory_frames: int | None = None
) -> Stm: ...
@overload
def build(
    settings: StcnSettings | XmemSettings,
    state: Mapping[str, Tensor],
    memory_frames: int | None = None,
) -> Stcn | Xmem: ...
def build(
    settings: Settings, state: Mapping[str, Tensor], memory_frames: int | None = None
) -> Network:
    """Return the network of some weights, in float32; raises RuntimeError if they do not fit.

    It has no memory but theirs: untrusted settings may ask for more than the weights bear out.
    """
    with torch.device("meta"):
        network = NETWORKS[type(settings)](settings, memory_frames=memory_frames)
    for name, value in state.items():
        if not is_plain(value):
            raise RuntimeError(
                f"{name}: expected plain floating-point numbers, found {value.dtype}"
            )
    network.load_state_dict(dict(state), assign=True)
    return network.float()


def begin_from(path: Path, settings: StmSettings) -> Stm:
    """Return a network to train, initialised from weights; `CHANGEABLE_IN_TRAINING` may differ.

    It remembers the kind of published weights that it comes from, and with it their licence.
    Layers that the file lacks are initialised as in a new network.
    Raises WeightsError as `load_checkpoint` does, or if another setting differs.
    """
    source = load_stm(path)
    for name, value in settings.model_dump(exclude=CHANGEABLE_IN_TRAINING).items():
        found = getattr(source.settings, name)
        if found != value:
            raise WeightsError(f"{path}: {name} {found}; the recipe's network has {value}")
    network = Stm(settings.model_copy(update={"published": source.settings.published}))
    common, own = source.state_dict(), network.state_dict()
    fitting = {k: v for k, v in common.items() if k in own and own[k].shape == v.shape}
    network.load_state_dict(fitting, strict=False)
    return network
