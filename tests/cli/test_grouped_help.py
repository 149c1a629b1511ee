"""The text of --help."""

from tests.test_cli import Call, vostool  # noqa: F401

GROUPS = [
    *("Arguments", "Input", "Many videos", "Output"),
    *("Model", "Gradient correction", "Compute", "General"),
]


def titles(text: str) -> list[str]:
    """Return the titles of the groups in a help text."""
    return [line.removesuffix(":") for line in text.splitlines() if line.endswith(":")]


def test_options_stand_under_the_title_of_their_group_the_general_ones_last(
    vostool: Call,  # noqa: F811
) -> None:
    text = vostool("segment", "--help-all").out
    assert [title for title in titles(text) if title in GROUPS] == GROUPS
    assert text.index("\nOutput:") < text.index("\n  -o, --output") < text.index("\nModel:")
    assert text.index("\nGeneral:") < text.index("\n  -q, --quiet")


def test_a_group_of_commands_lists_them(vostool: Call) -> None:  # noqa: F811
    assert titles(vostool("eval", "--help").out) == ["General", "Commands"]
    assert "\n  compare " in vostool("eval", "--help").out


def test_lines_fit_a_terminal_of_a_hundred_columns(
    vostool: Call,  # noqa: F811
) -> None:
    assert max(map(len, vostool("segment", "--help").out.splitlines())) <= 100
