"""JSON documents that are written or read: their base class, and what is wrong with one.

Never imports torch.
"""

import re
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

SHOWN = 60  # characters of a wrong value, at most
PHRASES = (  # of pydantic and of Typer, and ours
    (r"(Value error|Assertion failed), ", ""),
    (r"\w+ should (be|have) ", "expected "),
    (r".* is not one of (.*?)\.?$", r"expected one of \1"),
    (r"(.*), unable to parse .*", r"\1"),  # the value is shown
)


class Document(BaseModel):
    """A JSON document or a part of one: immutable, without unknown keys, all numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def problem(error: ValidationError) -> str:
    """Return in one line where a document is wrong first, what was expected, and what found."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {refusal(first['msg'], first['type'], first['input'])}".removeprefix(": ")


def refusal(message: str, kind: str, value: Any) -> str:
    """Return what pydantic expected in place of a value, and the value."""
    if kind == "missing":
        return "expected, found none"
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "value_error" and isinstance(value, dict):  # some of its values are named already
        return expectation(message)
    found = repr(value)
    shown = found if len(found) <= SHOWN else found[: SHOWN - 1] + "…"
    return f"{expectation(message)}, found {shown}"


def expectation(message: str) -> str:
    """Return a message of pydantic in the words of ours."""
    for theirs, ours in PHRASES:
        message = re.sub(rf"\A{theirs}", ours, message, count=1, flags=re.DOTALL)
    return message
