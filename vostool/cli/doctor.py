"""`vostool doctor` on the command line."""

from typing import TYPE_CHECKING, Annotated

import typer

from vostool import defaults
from vostool.cli.options import AsJson
from vostool.cli.printing import print_json, print_table
from vostool.threads import limit_threads

if TYPE_CHECKING:
    from rich.table import Table

    from vostool.benchmark.checkup import Checkup


def doctor(
    device: Annotated[
        str, typer.Option(help=f"Device to test: {defaults.DEVICES}.")
    ] = defaults.AUTO,
    as_json: AsJson = False,
) -> None:
    """Check what vostool needs: packages, devices, codecs, weights, disk, and a short self-test.

    The exit code is that of the first problem; add the output to a bug report.
    """
    limit_threads(None)  # as other commands do
    from vostool.benchmark.checkup import examine

    checkup = examine(device)
    if as_json:
        print_json({**checkup.model_dump(mode="json"), "exit_code": checkup.exit_code})
    else:
        print_table(checkup_table(checkup), on_stdout=True)
    if checkup.exit_code:
        raise typer.Exit(checkup.exit_code)


def checkup_table(checkup: "Checkup") -> "Table":
    """Return the checks as a table for the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None)
    for check in checkup.checks:
        mark = Text("problem", style="bold red") if check.problem else Text("ok", style="green")
        words = check.found if check.problem is None else f"{check.found}: {check.problem}"
        table.add_row(mark, Text(check.name), Text(words))
    return table
