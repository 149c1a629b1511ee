"""Options of a command in groups: a frozen dataclass whose fields are arguments or options.

    @takes_groups
    def segment(given: InputOptions, wanted: OutputOptions) -> None: ...

Typer sees each field as a parameter of the command, in order; the command gets the values by group.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

Command = Callable[..., None]
Parameters = list[inspect.Parameter]


def takes_groups(command: Command) -> Command:
    """Return a command with the fields of its parameters that are dataclasses in their place."""
    declared = inspect.signature(command).parameters.values()
    groups: dict[str, Any] = {
        each.name: each.annotation for each in declared if is_dataclass(each.annotation)
    }
    parameters = [
        option
        for each in declared
        for option in (options_of(each.annotation) if each.name in groups else [each])
    ]

    @functools.wraps(command)
    def with_groups(**arguments: Any) -> None:
        for name, group in groups.items():
            values = {field.name: arguments.pop(field.name) for field in fields(group)}
            arguments[name] = group(**values)
        command(**arguments)

    return with_parameters(with_groups, parameters)


def options_of(group: type) -> Iterator[inspect.Parameter]:
    """Yield the fields of a group as parameters."""
    declared = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if default is MISSING else default,
            annotation=declared[field.name],
        )


def with_parameters(command: Command, parameters: Parameters) -> Command:
    """Return a command that says of itself, to Typer, that it takes these parameters, by name."""
    by_name = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    command.__signature__ = inspect.Signature(by_name)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in by_name}
    return command
