"""The text of --help: the options under the titles of their groups.

Typer would draw it by Rich, whose Markdown alone takes longer to import than all of the
command line; so its `rich_markup_mode` is None here.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

Function = TypeVar("Function", bound=Callable[..., Any])

GENERAL = "General"  # the group of what has none
WIDTH = 100  # columns at most


class GroupedOptions:
    """Mixed into a command: its arguments and options by group, the general ones last."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments and options into the help, and the commands of a group."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):  # type: ignore[attr-defined]
            record = parameter.get_help_record(ctx)
            if record is not None:
                argument = parameter.param_type_name == "argument"
                group = "Arguments" if argument else parameter.rich_help_panel or GENERAL
                groups.setdefault(group, []).append(record)
        for group in sorted(groups, key=lambda name: name == GENERAL):
            with formatter.section(group):
                formatter.write_dl(groups[group])
        if isinstance(self, TyperGroup):
            self.format_commands(ctx, formatter)

    def get_short_help_str(self, limit: int = 0) -> str:
        """Return the first sentence of the help, of any length: lists of commands wrap it."""
        sentence: str = super().get_short_help_str(10**6)  # type: ignore[misc]
        return sentence


class Command(GroupedOptions, TyperCommand):
    """A command with grouped help."""


class Group(GroupedOptions, TyperGroup):
    """A group of commands with grouped help."""


class Commands(typer.Typer):
    """Commands with grouped help, which is also printed if none is given."""

    def __init__(self, **settings: Any) -> None:
        """Take the settings of `typer.Typer`."""
        usual = {"cls": Group, "no_args_is_help": True, "rich_markup_mode": None}
        super().__init__(**{**usual, **settings})

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Function], Function]:
        """Return the decorator of a command; takes the settings of `typer.Typer.command`."""
        return super().command(name, **{"cls": Command, **settings})
