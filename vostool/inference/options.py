"""What a person says of a model; never imports torch, so that nobody waits to be told no."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from vostool.errors import UsageError

OWN_MODEL = "stm"  # the network that is not another package's


class ModelOptions(BaseModel):
    """What a person says of a model: the options of every command that runs one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = OWN_MODEL
    weights: str = "default"
    device: str = "auto"
    precision: str = "auto"
    size: int | None = Field(default=None, ge=32)  # None: what the weights say suits them
    reference: Literal["first", "previous", "first+previous", "memory"] = "memory"
    memory_every: int = Field(default=5, ge=1)
    memory_frames: int = Field(default=8, ge=2)
    objects_at_once: int = Field(default=8, ge=1)
    memory: Literal["stm", "kmn", "gcm"] | None = None  # None: as the weights were trained
    top_k: int | None = Field(default=None, ge=0)
    kernel_sigma: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    gc_every: int | None = Field(default=None, ge=1)
    gc_iters: int | None = Field(default=None, ge=0)
    gc_rate: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    gc_length: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    gc_smooth: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    gc_stop: float | None = Field(default=None, ge=0, lt=1)
    gc_memory_only: bool = False

    @model_validator(mode="after")
    def check_correction(self) -> Self:
        """Raise UsageError for options of a correction that make no sense together."""
        given = self.of_correction()
        if self.gc_every is None and given:
            raise UsageError("a --gc option: expected --gc-every K with it, how often to correct")
        if self.gc_rate is not None and self.gc_length is not None:
            raise UsageError("--gc-rate --gc-length: each says how far a step goes; give one")
        return self

    def of_correction(self) -> dict[str, Any]:
        """Return what is said of the correction, by the names of `GradientCorrection`."""
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
        """Return the options with some others, also as text; raises UsageError."""
        try:
            return self.model_validate({**self.model_dump(), **changes})
        except ValidationError as error:
            first = error.errors()[0]
            name = "-".join(str(part) for part in first["loc"]).replace("_", "-")
            raise UsageError(f"{name}={first['input']}: {first['msg']}") from error
