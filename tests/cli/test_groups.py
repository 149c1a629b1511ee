"""Options of a command in groups."""

import inspect
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from vostool.cli.grouped_help import Commands
from vostool.cli.groups import takes_groups
from vostool.cli.model_options import takes_model

Width = Annotated[int, typer.Option(help="Pixels.")]


@dataclass(frozen=True)
class Frame:
    """A group with a required argument, an option and a list."""

    path: Annotated[str, typer.Argument()]
    width: Width = 4
    tags: Annotated[list[str], typer.Option()] = field(default_factory=lambda: ["plain"])


def test_the_fields_of_a_group_take_its_place_among_the_parameters() -> None:
    @takes_groups
    def command(context: typer.Context, frame: Frame, last: Width = 1) -> None: ...

    found = inspect.signature(command).parameters
    assert list(found) == ["context", "path", "width", "tags", "last"]
    assert found["path"].default is inspect.Parameter.empty
    assert [found[name].default for name in ("width", "tags", "last")] == [4, ["plain"], 1]
    assert found["width"].annotation == Width


def test_a_command_gets_its_groups_from_the_command_line() -> None:
    seen: list[tuple[Any, ...]] = []
    app = Commands()

    @app.command()
    @takes_model(only=("device",))
    @takes_groups
    def command(frame: Frame, last: Width = 1, *, model: Any) -> None:
        seen.append((frame, last, model.device))

    app(["a.png", "--width", "8", "--last", "2", "--device", "cpu"], standalone_mode=False)
    app(["b.png", "--tags", "x", "--tags", "y"], standalone_mode=False)
    assert seen == [
        (Frame("a.png", 8, ["plain"]), 2, "cpu"),
        (Frame("b.png", 4, ["x", "y"]), 1, "auto"),
    ]
