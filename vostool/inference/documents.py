"""JSON documents that are written or read: their base class, and what is wrong with one.

Never imports torch.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

SHOWN = 60  # characters of a wrong value, at most


class Document(BaseModel):
    """A JSON document or a part of one: immutable, without unknown keys, all numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Network(Document):
    """Which network made a result."""

    model: str
    file: str | None  # of the weights; None: a plug-in model's own
    sha256: str | None
    settings: dict[str, Any] | None


def problem(error: ValidationError) -> str:
    """Return in one line where a document is wrong first, what was expected, and what found."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {expectation(first['msg'], first['type'], first['input'])}".removeprefix(": ")


def expectation(message: str, kind: str, value: Any) -> str:
    """Return what pydantic expected in place of a value, in the words of our messages."""
    if kind == "missing":
        return "expected, found none"
    if kind == "extra_forbidden":
        return "unknown key"
    words = message.replace("Input should be", "expected").removeprefix("Value error, ")
    found = repr(value)
    return f"{words}, found {found if len(found) <= SHOWN else found[: SHOWN - 1] + '…'}"
