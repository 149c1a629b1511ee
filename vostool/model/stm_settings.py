"""The settings of the space-time memory network: what its architecture depends on."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from vostool.model.decoder import OutputStride
from vostool.model.memory import Similarity
from vostool.model.memory_designs import known_design
from vostool.model.published.kinds import known_kind


class StmSettings(BaseModel):
    """The architecture of the network; stored in its weights file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: Literal["resnet18", "resnet34", "resnet50", "resnet101"] = "resnet18"
    stride_in_1x1: bool = Field(default=False, description="original ResNet-50 and -101 strides")
    key_channels: int = Field(default=64, ge=1)
    value_channels: int = Field(default=256, ge=1)
    decoder_channels: tuple[int, int, int] = Field(
        default=(256, 128, 64), description="widths at 1/16, 1/8 and 1/4 of the image"
    )
    output_stride: OutputStride = Field(
        default=4,
        description="pixels of the image per log-odds of the decoder, which are enlarged to the "
        "image; 2 adds a stage at 1/2 for finer outlines",
    )
    keys: Literal["own", "shared"] = Field(
        default="own",
        description="own: the memory encoder makes keys, one set per object (STM); "
        "shared: the query encoder makes them, once for all objects (STCN)",
    )
    values: Literal["own", "shared"] = Field(
        default="own",
        description="own: an encoder of image and mask together makes values, once per object "
        "(STM); shared: the query encoder's features, joined by the mask at 1/16",
    )
    location_cue: bool = Field(
        default=False,
        description="the decoder gets where each object was in the last memorised frame, at 1/16",
    )
    skip_blocks: bool = Field(
        default=False, description="a residual block refines the frame's skip features (STM)"
    )
    second_mask_channel: Literal["background", "others"] = Field(
        default="background",
        description="what the memory encoder gets with an object's mask: all that is not the "
        "object (STM-cycle), or the other objects (STM)",
    )
    similarity: Similarity = "dot"
    memory: Annotated[str, AfterValidator(known_design)] = "stm"
    top_k: int = Field(
        default=0,
        ge=0,
        description="stm, kmn: memory positions that each position of a frame attends to, at "
        "inference; 0: all",
    )
    kernel_sigma: float = Field(default=7.0, gt=0, description="kmn: width, positions")
    kernel_temperature: float = Field(
        default=0.1, gt=0, description="kmn: of the soft-argmax, in training"
    )
    annotated_weight: float = Field(
        default=1.0,
        gt=0,
        description="stm, kmn: how many times as much a position of an annotated frame counts in a "
        "memory as one of a predicted frame; for l2",
    )
    # bounded, as it comes with weights that need not be trusted; --size may ask for more
    short_side: int = Field(
        default=240, ge=32, le=720, description="of the frames at which it works best, pixels"
    )
    correction_rate: float = Field(
        default=180.0, ge=0, description="the best alpha of Eq. 8, in the papers' unit"
    )
    published: Annotated[str, AfterValidator(known_kind)] | None = Field(
        default=None, description="the kind of published weights that these are or come from"
    )

    @model_validator(mode="after")
    def possible(self) -> Self:
        """Refuse numbers that no network can have, as untrusted weights may state them."""
        if min(self.decoder_channels) < 1:
            raise ValueError(f"decoder_channels {self.decoder_channels}: expected 1 or more")
        for name, value in self:
            largest = max(value) if isinstance(value, tuple) else value
            if isinstance(largest, int | float) and not largest < 2**31:
                raise ValueError(f"{name} {largest:g}: expected less than 2^31")
        if self.annotated_weight != 1 and self.similarity != "l2":
            raise ValueError(f"annotated_weight {self.annotated_weight:g}: needs similarity l2")
        return self
