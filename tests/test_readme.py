"""What the README names exists: commands, options, files."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer

from vostool.cli import app
from vostool.train.recipe import Recipe

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
COMMANDS = sorted(
    {line.split("#")[0].strip() for line in re.findall(r"vostool [a-z][^`\n]*", TEXT)}
)


def find(words: list[str]) -> tuple[typer.core.TyperCommand, list[str]]:
    """Return the command that words call, and the words left."""
    command = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
    return command, words  # type: ignore[return-value]


@pytest.mark.parametrize("line", [line for line in COMMANDS if "--" in line or "eval" in line])
def test_the_commands_of_the_readme_take_the_options_that_it_gives_them(line: str) -> None:
    words = shlex.split(line.split(" > ")[0].split("&&")[-1])
    command, rest = find(words[words.index("vostool") + 1 :])
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    assert [word for word in rest if word.startswith("-") and word not in known] == []


def test_every_option_that_the_readme_names_is_one_of_some_command() -> None:
    command, _ = find([])
    pending, known = [command], {"--install-completion", "--index-url"}
    while pending:
        each = pending.pop()
        pending += list(getattr(each, "commands", {}).values())
        known |= {name for each in each.params for name in (*each.opts, *each.secondary_opts)}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) <= known


def test_every_file_that_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert len(links) > 5
    assert [link for link in links if not (README.parent / link).exists()] == []


def test_the_recipe_of_the_readme_is_valid() -> None:
    (recipe,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert Recipe.model_validate(tomllib.loads(recipe)).steps == 500
