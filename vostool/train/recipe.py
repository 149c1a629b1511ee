"""A training recipe: one TOML file, checked against a schema.

Data sets lie under `data_root`; other relative paths are taken from the working directory.
`--set key=value` changes one entry, by its dotted name, before the check.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vostool.errors import InputError, UsageError
from vostool.files import read_text
from vostool.model.stm import StmSettings


class Part(BaseModel):
    """A part of a recipe: fixed once read, and no key it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Source(Part):
    """One data set; see `vostool.datasets.sequences` for the layouts."""

    layout: Literal["clips", "photographs", "coco"]
    root: Path = Field(description="relative to data_root")
    split: Path | None = Field(
        default=None, description="a file that lists what to take, relative to root"
    )
    use: Literal["all", "clips", "donors"] = Field(
        default="all", description="for clips of its own, for objects to paste, or both"
    )
    binary: bool = Field(default=False, description="masks of one object, grey at the edges")
    in_memory: bool = Field(default=True, description="false: read frames as they are needed")


class Phase(Part):
    """A stretch of training with settings of its own."""

    steps: int = Field(ge=1)
    size: tuple[int, int] = Field(default=(240, 432), description="height, width; multiples of 16")
    videos: float = Field(default=0.5, ge=0, le=1, description="share of clips from videos")
    max_interval: int = Field(
        default=10,
        ge=1,
        description="most frames from one of a clip to the next, unless annotated ones are rarer",
    )
    paste: float = Field(default=0.3, ge=0, le=1, description="share of clips with a pasted object")
    cycle: bool = Field(default=False, description="add the cycle loss (journal Eq. 3)")
    imitate: bool = Field(
        default=False, description="learn what the teacher remembers, instead of following objects"
    )

    @field_validator("size")
    @classmethod
    def whole_strides(cls, size: tuple[int, int]) -> tuple[int, int]:
        """Refuse a size that the network would have to pad."""
        if any(side <= 0 or side % 16 for side in size):
            raise ValueError(f"expected multiples of 16, found {size[0]} x {size[1]}")
        return size


class Recipe(Part):
    """All that makes a training run."""

    network: StmSettings = Field(
        default=StmSettings(), description="if nothing is said of it, that of the weights in begin"
    )
    start: Path | Literal["imagenet"] | None = Field(
        default=None,
        description="encoder weights: a safetensors file with torchvision's names, or a "
        "download from torchvision; none: random",
    )
    begin: Path | None = Field(
        default=None,
        description="weights of a whole network to begin from, instead of start: a file, or the "
        'name of shipped ones, "default"',
    )
    teacher: Path | None = Field(
        default=None, description="weights of a network for phases that imitate one"
    )
    freeze: list[str] = Field(default=[], description="beginnings of names of weights that stay")

    data_root: Path = Path()
    data: list[Source] = Field(min_length=1)
    data_short_side: int = Field(default=256, ge=16, description="size of frames held, pixels")
    hold_out: list[str] = Field(default=[], description="clips kept out of training, to choose by")
    frames: int = Field(default=3, ge=2, description="frames per clip")
    objects: int = Field(default=4, ge=1, description="objects per step, over all clips of it")
    clips: int | None = Field(default=None, ge=1, description="clips per step, instead of objects")
    several: float = Field(default=0.3, ge=0, le=1, description="share of steps with more a clip")
    most: int = Field(default=2, ge=2, description="objects a clip in these, at most")
    late: float = Field(default=0.0, ge=0, le=1, description="share of those where one is late")
    backwards: bool = Field(default=True, description="let clips run backwards too")
    unknown: bool = Field(
        default=False, description="take frames without labels too, for the cycle loss alone"
    )
    noise: float = Field(default=0.0, ge=0, description="most standard deviation of image noise")

    phases: list[Phase] = Field(min_length=1)
    interval_growth: tuple[int, Annotated[int, Field(ge=1)]] = Field(
        default=(0, 1), description="max_interval grows by the first every second steps"
    )
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = Field(default=2e-4, gt=0, allow_inf_nan=False)
    encoder_learning_rate: float = Field(default=5e-5, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = Field(default=200, ge=0, description="steps")
    clip_norm: float = Field(
        default=3.0, ge=0, allow_inf_nan=False, description="longest gradient; 0: any length"
    )
    average: float = Field(default=0.998, ge=0, lt=1, description="decay of the averaged weights")
    gamma: float = Field(
        default=1.0, ge=0, allow_inf_nan=False, description="weight of the cross-entropy (Eq. 4)"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 where the device has it in hardware, else fp32"
    )
    seed: int = 0
    log_every: int = Field(default=20, ge=1)
    save_every: int = Field(default=250, ge=1)
    validate_size: int = Field(default=240, ge=32, description="short side, pixels")
    validate_every: int = Field(default=1000, ge=1, description="steps; and after the last")

    @model_validator(mode="after")
    def teacher_to_imitate(self) -> Self:
        """Refuse a phase that imitates no one."""
        if self.teacher is None and any(phase.imitate for phase in self.phases):
            raise ValueError("a phase that imitates needs a teacher")
        return self

    @property
    def steps(self) -> int:
        """Steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def max_interval(self, step: int) -> int:
        """Return the most frames from one of a clip to the next at a step."""
        more, every = self.interval_growth
        return self.phase(step).max_interval + more * (step // every)

    def phase(self, step: int) -> Phase:
        """Return the phase that a step, counted from 0, falls in."""
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]


def find_recipe(name: str) -> Path:
    """Return the file of a recipe: a path, or the name of a shipped one.

    Raises InputError if it is neither.
    """
    shipped = Path(__file__).parent / "recipes"
    for path in (Path(name), shipped / f"{name}.toml"):
        if path.is_file():
            return path
    names = ", ".join(sorted(path.stem for path in shipped.glob("*.toml")))
    raise InputError(f"{name}: no such recipe; the shipped ones are: {names}")


def read_recipe(path: Path, changes: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe; raises InputError or UsageError, naming the key."""
    try:
        table = tomllib.loads(read_text(path, "TOML"))
    except ValueError as error:  # also of a number with thousands of digits
        raise InputError(f"{path}: not TOML: {error}") from error
    for change in changes:
        try:
            apply_change(table, change)
        except (IndexError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"--set {change}: the recipe has no such entry") from error
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
    except ValueError:
        value = text
    *parents, last = name.strip().split(".")
    place: Any = table
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place.setdefault(parent, {})
    place[last] = value
