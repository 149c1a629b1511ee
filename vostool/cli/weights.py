"""`vostool weights` on the command line."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vostool.cli.grouped_help import Commands
from vostool.cli.options import AsJson, Overwrite
from vostool.cli.printing import print_json, print_message, print_path, print_table

if TYPE_CHECKING:
    from rich.table import Table

weights = Commands(
    help="List the weights that --weights reads, look into a file, import published ones."
)


@weights.command("list")
def list_weights(as_json: AsJson = False) -> None:
    """List the weights that are shipped, and those that others publish and --weights can read."""
    from vostool.inference.weights import report_of_kind, shipped_weights
    from vostool.model.published.kinds import KINDS

    shipped = [each.report for each in shipped_weights()]
    published = [report_of_kind(name, kind) for name, kind in KINDS.items()]
    if as_json:
        print_json({"shipped": shipped, "published": published})
        return
    for each in shipped:
        size = f"{each['bytes'] / 1e6:.0f} MB"
        name = f"{each['name']}{' (default)' * each['default']}"
        print_table(
            block(name, {**each, "size": size}, ("size", "scores", "licence")), on_stdout=True
        )
    words = ("files", "parameters", "scores", "licence", "page")
    for each in published:
        name = f"{each['kind']}: {each['title']}"
        print_table(block(name, each, words), on_stdout=True)


@weights.command("show")
def show_weights(
    file: Annotated[str, typer.Argument(help="A weights file, or a name.", metavar="FILE")],
    as_json: AsJson = False,
) -> None:
    """Show which network a weights file is for, its settings, card and licence."""
    from vostool.inference.weights import describe_weights
    from vostool.model.weights import find_weights

    found = describe_weights(find_weights(file))
    if as_json:
        print_json(found)
        return
    own = ("format", "network", "published", "title", "licence", "parameters", "sha256")
    print_table(block(found["file"], found, own), on_stdout=True)
    for part in ("settings", "card"):
        entries = found[part] or {}
        if entries:
            print_table(block(part, entries, tuple(entries)), on_stdout=True)


@weights.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A published checkpoint.", metavar="FILE.pth")],
    output: Annotated[
        Path,
        typer.Option("-o", "--output", help="The file to write.", metavar="FILE.safetensors"),
    ],
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write published weights as a file of vostool, in 16 bits, with their licence in its card."""
    from vostool.inference.weights import import_weights
    from vostool.model.weights import find_weights

    card = import_weights(find_weights(str(file)), output, overwrite=overwrite)
    print_message(f"{file}: {card['published']}, {card['licence']}")
    if as_json:
        print_json({"file": str(output), "card": card})
    print_path(output, as_json)


def block(title: str, entries: dict[str, Any], names: tuple[str, ...]) -> "Table":
    """Return some entries under a title, one on a line; without those that are empty."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left", show_header=False, box=None)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name in names:
        if entries[name] not in (None, ""):
            table.add_row(Text(name), Text(shown(entries[name])))
    return table


def shown(value: object) -> str:
    """Return a value as text, tables and long texts cut short."""
    text = str(value)
    return text if len(text) <= 300 else f"{text[:300]} … ({len(text)} characters; all with --json)"
