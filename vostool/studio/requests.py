"""What the page may send with its requests, and how it is read."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request

from vostool.errors import UsageError
from vostool.files.documents import problem

Point = tuple[float, float]


class Asked(BaseModel):
    """What the page sends with a request."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


AskedType = TypeVar("AskedType", bound=Asked)


class Polygon(Asked):
    """The corners of an object, in pixels, (0, 0) the middle of the first one."""

    id: int
    points: list[Point] = Field(min_length=3, max_length=10_000)


class Box(Asked):
    """The surroundings of an object: x, y, width, height in pixels."""

    id: int
    box: tuple[int, int, int, int]


class Object(Asked):
    """One of the objects."""

    id: int


class Name(Asked):
    """What to call an object."""

    name: str


class Outputs(Asked):
    """What to save beside the masks."""

    outputs: list[str]


class Options(Asked):
    """How to follow."""

    size: Annotated[int, Field(ge=32, le=2160)] | None
    gc_every: Annotated[int, Field(ge=1, le=1000)] | None
    weights: str
    backward: bool


async def read(request: Request, kind: type[AskedType]) -> AskedType:
    """Return what a request asks for; raises UsageError for what does not fit."""
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise UsageError(problem(error)) from error
