"""Help that fits on two screens: the options that users need, the others with --help-all."""

from collections.abc import Collection
from typing import Annotated, Any

import typer

from vostool.cli.grouped_help import Command

ALL = "vostool.help_all"  # in the context, where all options are to be shown


def brief(*names: str) -> type[Command]:
    """Return a class of commands whose --help shows only the parameters of these names."""

    class Brief(Command):
        """A command with more options than its help shows."""

        def format_help(self, ctx: Any, formatter: Any) -> None:
            """Write the help; hidden options stay known to the shell."""
            hidden = [] if ctx.meta.get(ALL) else self._others(names)
            for each in hidden:
                each.hidden = True
            try:
                super().format_help(ctx, formatter)
            finally:
                for each in hidden:
                    each.hidden = False

        def _others(self, shown: Collection[str]) -> list[Any]:
            return [
                each
                for each in self.params
                if each.name not in shown and not getattr(each, "hidden", True)
            ]

    return Brief


def print_all(ctx: typer.Context, wanted: bool) -> None:
    """Print the help with every option and exit."""
    if wanted:
        ctx.meta[ALL] = True
        print(ctx.get_help())
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all",
        callback=print_all,
        is_eager=True,
        help="Show every option, also those of the look, the model and research.",
    ),
]
