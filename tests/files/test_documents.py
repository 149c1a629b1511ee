from typing import Self

import pytest
from pydantic import Field, ValidationError, field_validator, model_validator

from vostool.files.documents import Document, problem


class Sheet(Document):
    count: int = 0
    names: list[str] = Field(default=["a"], min_length=1)
    colour: str = ""

    @field_validator("colour")
    @classmethod
    def check_colour(cls, value: str) -> str:
        if value == "none":
            raise ValueError("expected a colour")
        if value == "any":
            raise ValueError("'any' is not one of 'red', 'blue'.")
        return value

    @model_validator(mode="after")
    def check(self) -> Self:
        if self.count > len(self.names):
            raise ValueError(f"count {self.count}: expected one for each name")
        return self


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"count": "x"}, "count: expected a valid integer, found 'x'"),
        ({"names": []}, "names: expected at least 1 item after validation, not 0, found []"),
        ({"names": [7]}, "names.0: expected a valid string, found 7"),
        ({"colour": "none"}, "colour: expected a colour, found 'none'"),
        ({"colour": "any"}, "colour: expected one of 'red', 'blue', found 'any'"),
        ({"count": 2}, "count 2: expected one for each name"),
        ({"size": 1}, "size: unknown key"),
    ],
)
def test_a_problem_is_told_by_place_what_is_expected_and_what_was_found(
    values: dict[str, object], words: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        Sheet.model_validate(values)
    assert problem(refused.value) == words
