"""A training recipe: one TOML file, checked against a schema.

Data sets lie under `data_root`; other relative paths are taken from the working directory.
`--set key=value` changes one entry, by its dotted name, before the check. Keys of earlier
versions are read under their new names, with a warning.
"""

import logging
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from vostool.errors import InputError, UsageError
from vostool.files import read_text
from vostool.files.documents import problem
from vostool.model.stm_settings import StmSettings

log = logging.getLogger(__name__)

RENAMED = {
    "several": "multi_object_share",
    "most": "max_objects",
    "late": "late_share",
    "start": "encoder_weights",
    "begin": "init_weights",
    "imitate": "distill",  # of a phase
}
MAX_SIDE = 4096  # pixels of a clip
Count = Annotated[int, Field(ge=1, le=10**9)]


class Part(BaseModel):
    """A part of a recipe: fixed once read; unknown keys and infinite numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def read_old_keys(cls, table: Any) -> Any:
        """Rename the keys of earlier versions, with a warning."""
        if not isinstance(table, dict):
            return table
        renamed = {old: new for old, new in RENAMED.items() if old in table}
        renamed = {old: new for old, new in renamed.items() if new in cls.model_fields}
        for old, new in renamed.items():
            if new in table:
                raise ValueError(f"has both {new} and {old}, its old name")
            log.warning("the recipe's key %s is now called %s", old, new)
        return {renamed.get(key, key): value for key, value in table.items()}

    @field_validator("*", mode="after")
    @classmethod
    def without_nul(cls, value: Any) -> Any:
        """Refuse text that no file name can hold."""
        if isinstance(value, str | Path) and "\0" in str(value):
            raise ValueError("holds a NUL character")
        return value


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

    steps: Count
    size: tuple[int, int] = Field(default=(240, 432), description="height, width; multiples of 16")
    videos: float = Field(default=0.5, ge=0, le=1, description="share of clips from videos")
    max_interval: Count = Field(
        default=10,
        description="most frames from one of a clip to the next, unless annotated ones are rarer",
    )
    paste: float = Field(default=0.3, ge=0, le=1, description="share of clips with a pasted object")
    frames: int | None = Field(
        default=None, ge=2, le=1000, description="frames per clip, instead of the recipe's"
    )
    lookalike: float = Field(
        default=0.0, ge=0, le=1, description="share of clips with a copy of an object beside it"
    )
    cycle: bool = Field(default=False, description="add the cycle loss (journal Eq. 3)")
    distill: bool = Field(
        default=False, description="learn the teacher's memory values, instead of segmentation"
    )

    @field_validator("size")
    @classmethod
    def whole_strides(cls, size: tuple[int, int]) -> tuple[int, int]:
        """Refuse a size that the network would have to pad, or that no memory holds."""
        if any(not 0 < side <= MAX_SIDE or side % 16 for side in size):
            found = f"{size[0]} x {size[1]}"
            raise ValueError(f"expected multiples of 16 up to {MAX_SIDE}, found {found}")
        return size


class Recipe(Part):
    """All that makes a training run."""

    network: StmSettings = Field(
        default=StmSettings(), description="if nothing is said of it, that of init_weights"
    )
    encoder_weights: Literal["imagenet"] | Path | None = Field(
        default=None,
        description="encoder weights: a safetensors file with torchvision's names, or a "
        "download from torchvision; none: random",
    )
    init_weights: Path | None = Field(
        default=None,
        description="weights of a whole network, instead of encoder_weights: a file, or the name "
        'of shipped ones, "default"',
    )
    teacher: Path | None = Field(
        default=None, description="weights of a network, for phases of distillation"
    )
    freeze: list[Annotated[str, Field(min_length=1)]] = Field(
        default=[], description="beginnings of names of weights that stay"
    )

    data_root: Path = Path()
    data: list[Source] = Field(min_length=1)
    data_short_side: int = Field(
        default=256, ge=16, le=MAX_SIDE, description="size of frames held, pixels"
    )
    hold_out: list[str] = Field(default=[], description="clips kept out of training, to choose by")
    frames: int = Field(default=3, ge=2, le=1000, description="frames per clip")
    objects: int = Field(default=4, ge=1, le=10_000, description="objects per step, over all clips")
    clips: int | None = Field(
        default=None, ge=1, le=10_000, description="clips per step, instead of objects"
    )
    multi_object_share: float = Field(
        default=0.3, ge=0, le=1, description="share of steps whose clips have several objects"
    )
    max_objects: int = Field(default=2, ge=2, le=254, description="objects per clip in these")
    late_share: float = Field(
        default=0.0, ge=0, le=1, description="share of these in which one enters late"
    )
    backwards: bool = Field(default=True, description="let clips run backwards too")
    unknown: bool = Field(
        default=False, description="take frames without labels too, for the cycle loss alone"
    )
    noise: float = Field(default=0.0, ge=0, description="most standard deviation of image noise")
    motion_blur: float = Field(
        default=0.0, ge=0, le=64, description="longest motion blur of a clip, pixels"
    )
    perspective: float = Field(
        default=0.0,
        ge=0,
        le=0.4,
        description="most change of depth across the view of a photograph, as a share",
    )
    memory_dropout: float = Field(
        default=0.0, ge=0, le=1, description="share of steps that remember the first frame alone"
    )

    phases: list[Phase] = Field(min_length=1)
    interval_growth: tuple[Annotated[int, Field(ge=0, le=10**9)], Count] = Field(
        default=(0, 1), description="max_interval grows by the first every second steps"
    )
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = Field(default=2e-4, gt=0)
    encoder_learning_rate: float = Field(default=5e-5, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = Field(default=200, ge=0, le=10**9, description="steps")
    clip_norm: float = Field(default=3.0, ge=0, description="longest gradient; 0: any length")
    average: float = Field(default=0.998, ge=0, lt=1, description="decay of the averaged weights")
    gamma: float = Field(default=1.0, ge=0, description="weight of the cross-entropy (Eq. 4)")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 where the device has it in hardware, else fp32"
    )
    seed: int = Field(default=0, ge=-(2**63), lt=2**63)
    log_every: Count = 20
    save_every: Count = 250
    validate_size: int = Field(default=240, ge=32, le=MAX_SIDE, description="short side, pixels")
    validate_every: Count = Field(default=1000, description="steps; and after the last")

    @model_validator(mode="after")
    def teacher_to_distill(self) -> Self:
        """Refuse distillation without a teacher."""
        if self.teacher is None and any(phase.distill for phase in self.phases):
            raise ValueError("a phase with distill = true needs a teacher")
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
    except RecursionError as error:
        raise InputError(f"{path}: not TOML: nested too deeply") from error
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
        raise UsageError(f"{path}: {problem(error)}") from error


def apply_change(table: dict[str, Any], change: str) -> None:
    """Set one entry, "network.key_channels=32", read as a TOML value or else as text."""
    name, equals, text = change.partition("=")
    if not equals:
        raise UsageError(f"--set {change}: expected key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--set {name}: its value cannot be read as TOML") from error
    *parents, last = name.strip().split(".")
    place: Any = table
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place.setdefault(parent, {})
    if isinstance(place, dict):
        for old, new in RENAMED.items():  # the recipe may have the entry by its other name
            if last in (old, new):
                place.pop(old, None)
                place.pop(new, None)
    place[last] = value
