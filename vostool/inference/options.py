"""Model options given by the user. Must not import torch, so that invalid options fail fast."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from vostool import defaults
from vostool.errors import UsageError
from vostool.files.documents import expectation
from vostool.model.memory_designs import known_design

OWN_MODEL = defaults.MODEL  # vostool's own network; any other name is a plug-in model


def known_disturbance(value: str) -> str:
    """Return the value of --disturb as it is; raises ValueError for one that is unknown."""
    if value in ("box", *defaults.ATTACKS) or (value.startswith("masks:") and value != "masks:"):
        return value
    raise ValueError("expected box, masks:FOLDER, fgsm or mi-fgsm")


def known_reach(value: float | None) -> float | None:
    """Return the value of --reach as it is; raises ValueError for one that shrinks a box."""
    if value is not None and 0 < value < 1:
        raise ValueError("expected 0, or 1 or more")
    return value


class ModelOptions(BaseModel):
    """The options of every command that runs a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = OWN_MODEL
    weights: str = defaults.WEIGHTS
    device: str = defaults.AUTO
    precision: str = defaults.AUTO
    # None: as the model says that suits it, by default as in `defaults`
    size: int | None = Field(default=None, ge=32)
    reference: Literal["first", "previous", "first+previous", "memory", "kept"] | None = None
    memory_every: int | None = Field(default=None, ge=1)
    memory_frames: int | None = Field(default=None, ge=2)
    zoom: float | None = Field(default=None, ge=1, le=defaults.MOST_ZOOM)
    reach: Annotated[float | None, AfterValidator(known_reach)] = Field(
        default=None, ge=0, le=defaults.MOST_REACH
    )
    objects_at_once: int = Field(default=defaults.OBJECTS_AT_ONCE, ge=1)
    compile: bool = False
    # None: as the weights were trained
    memory: Annotated[str, AfterValidator(known_design)] | None = None
    top_k: int | None = Field(default=None, ge=0)
    kernel_sigma: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    gc_every: int | None = Field(default=None, ge=1)
    gc_iters: int | None = Field(default=None, ge=0)
    gc_rate: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    gc_length: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    gc_smooth: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    gc_stop: float | None = Field(default=None, ge=0, lt=1)
    gc_memory_only: bool = False
    disturb: Annotated[str, AfterValidator(known_disturbance)] | None = None
    disturb_every: int | None = Field(default=None, ge=1)
    attacker: str | None = None  # weights of an attack; None: those attacked
    strength: float | None = Field(default=None, ge=0, le=255, allow_inf_nan=False)
    attack_steps: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def check_correction(self) -> Self:
        """Raise UsageError for correction options that are invalid together."""
        given = self.of_correction()
        if self.gc_every is None and given:
            raise UsageError("a --gc option: expected --gc-every N with it, how often to correct")
        if self.gc_rate is not None and self.gc_length is not None:
            raise UsageError("--gc-rate --gc-length: each sets the step size; give one")
        return self

    @model_validator(mode="after")
    def check_compile(self) -> Self:
        """Raise UsageError for a precision that cannot be compiled."""
        if self.compile and self.precision == "int8":
            raise UsageError("--compile --precision int8: only other precisions are compiled")
        return self

    @model_validator(mode="after")
    def check_disturbance(self) -> Self:
        """Raise UsageError for options of a disturbance that are invalid together."""
        if self.disturb is None and self.disturb_every is not None:
            raise UsageError("--disturb-every: expected --disturb with it")
        attacks = {
            "attacker": defaults.ATTACKS,
            "strength": defaults.ATTACKS,
            "attack_steps": ("mi-fgsm",),
        }
        for name, kinds in attacks.items():
            if getattr(self, name) is not None and self.disturb not in kinds:
                expected = " or ".join(kinds)
                raise UsageError(f"{option_name(name)}: expected --disturb {expected} with it")
        if self.disturb is not None and self.reference not in (None, defaults.REFERENCE, "kept"):
            raise UsageError(
                f"--disturb --reference {self.reference}: no predicted frame stays in memory; "
                f"expected --reference {defaults.REFERENCE}"
            )
        return self

    def of_correction(self) -> dict[str, Any]:
        """Return the correction's options that are set, by the names of `GradientCorrection`."""
        options = {
            "steps": self.gc_iters,
            "rate": self.gc_rate,
            "length": self.gc_length,
            "smooth": self.gc_smooth,
            "tolerance": self.gc_stop,
            "memory_only": self.gc_memory_only or None,
        }
        return {name: value for name, value in options.items() if value is not None}

    def changed(self, changes: Mapping[str, object]) -> Self:
        """Return the options with some others, also as text.

        Raises UsageError, which names an option as it is typed: --memory-frames.
        """
        try:
            return self.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            option = option_name(str(first["loc"][0]))
            if first["type"] == "extra_forbidden":
                raise UsageError(f"{option}: no such option of a model") from error
            expected = expectation(first["msg"])
            raise UsageError(f"{option} {first['input']}: {expected}") from error


def option_name(field: str) -> str:
    """Return an option as it is typed on the command line, of the name of a field."""
    return f"--{field.replace('_', '-')}"
