"""Shards of a list of tasks, for job arrays whose members do not know of each other.

What is dealt to a shard depends on the list alone.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from vostool.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Shard:
    """One of several parts of a list; they are numbered from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shard of a text such as "3/16"; raises UsageError."""
        form = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        if form is None or not 1 <= int(form[1]) <= int(form[2]):
            raise UsageError(f"--shard {text}: expected NUMBER/COUNT, such as 1/16 to 16/16")
        return cls(int(form[1]), int(form[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def own(self, tasks: Sequence[T]) -> Sequence[T]:
        """Return those that are dealt to it: every `count`-th."""
        return tasks[self.number - 1 :: self.count]

    def others(self) -> Iterator["Shard"]:
        """Yield the other shards, beginning with the next one."""
        for step in range(1, self.count):
            yield Shard((self.number - 1 + step) % self.count + 1, self.count)


WHOLE = Shard(1, 1)  # all of the list
