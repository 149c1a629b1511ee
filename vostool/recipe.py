"""A training recipe: one TOML file, checked against a schema.

Data sets lie under `data_root`; other relative paths are taken from the working directory.
`--set key=value` changes one entry, by its dotted name, before the check.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vostool.errors import InputError, UsageError
from vostool.model.stm import StmSettings


class Part(BaseModel):
    """A part of a recipe: fixed once read, and no key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Part):
    """One data set."""

    layout: Literal["clips", "photographs"]
    root: Path = Field(description="relative to data_root")
    split: Path | None = Field(
        default=None, description="a file that lists the clips to take, relative to root"
    )
    donor: bool = Field(default=False, description="use it for pasted objects only")


class Phase(Part):
    """A stretch of training with settings of its own."""

    steps: int = Field(ge=1)
    size: tuple[int, int] = Field(default=(240, 432), description="height, width; multiples of 16")
    videos: float = Field(default=0.5, ge=0, le=1, description="share of clips from videos")
    max_interval: int = Field(default=10, ge=1, description="most frames from one to the next")
    paste: float = Field(default=0.3, ge=0, le=1, description="share of clips with a pasted object")
    cycle: bool = Field(default=False, description="add the cycle loss (journal Eq. 3)")


class Recipe(Part):
    """All that makes a training run."""

    network: StmSettings = StmSettings()
    start: Path | Literal["imagenet"] | None = Field(
        default=None,
        description="encoder weights: a safetensors file with torchvision's names, or a "
        "download from torchvision; none: random",
    )
    freeze: list[str] = Field(default=[], description="beginnings of names of weights that stay")
    data_root: Path = Path()
    data: list[Source] = Field(min_length=1)
    data_short_side: int = Field(
        default=256, ge=16, description="size at which frames are kept, pixels"
    )
    hold_out: list[str] = Field(default=[], description="clips kept out of training, to choose by")
    phases: list[Phase] = Field(min_length=1)
    frames: int = Field(default=3, ge=2, description="frames per clip")
    objects: int = Field(
        default=4, ge=1, description="objects per step, over all clips of the batch"
    )
    several: float = Field(
        default=0.3, ge=0, le=1, description="share of steps with two objects a clip"
    )
    learning_rate: float = Field(default=2e-4, gt=0)
    encoder_learning_rate: float = Field(default=5e-5, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: int = Field(default=200, ge=0, description="steps")
    clip_norm: float = Field(default=3.0, gt=0)
    average: float = Field(default=0.998, ge=0, lt=1, description="decay of the averaged weights")
    gamma: float = Field(default=1.0, ge=0, description="weight of the cross-entropy (Eq. 4)")
    precision: Literal["fp32", "bf16"] = "bf16"
    seed: int = 0
    log_every: int = Field(default=20, ge=1)
    save_every: int = Field(default=250, ge=1)
    validate_every: int = Field(default=1000, ge=1)

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def phase(self, step: int) -> Phase:
        """Return the phase that a step, counted from 0, falls in."""
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; raises InputError or UsageError, naming the key."""
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: cannot read the recipe: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not TOML: {error}") from error
    for change in changes:
        apply_change(table, change)
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"{path}: {key}: {first['msg']}") from error


def apply_change(table: dict[str, Any], change: str) -> None:
    """Set one entry, "network.key_channels=32", read as a TOML value or else as text."""
    name, equals, text = change.partition("=")
    if not equals:
        raise UsageError(f"--set {change}: expected key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *parents, last = name.strip().split(".")
    place: Any = table
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place.setdefault(parent, {})
    place[last] = value
