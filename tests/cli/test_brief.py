import pytest
import typer.main

from tests.test_cli import Call, vostool
from vostool.cli import app
from vostool.cli.segment import NEEDED

__all__ = ["vostool"]  # a fixture

SCREEN = 48  # lines


@pytest.fixture(autouse=True)
def of_a_usual_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_the_help_of_segment_fits_on_two_screens(vostool: Call) -> None:
    outcome = vostool("segment", "--help")
    assert outcome.code == 0
    assert len(outcome.out.splitlines()) <= 2 * SCREEN
    for name in ("--mask", "--write", "--finish", "--resume", "--device", "--help-all"):
        assert name in outcome.out
    assert "--disturb" not in outcome.out


def test_help_all_shows_every_option_of_segment(vostool: Call) -> None:
    outcome = vostool("segment", "--help-all")
    assert outcome.code == 0
    assert outcome.err == ""
    command = typer.main.get_command(app).commands["segment"]  # type: ignore[attr-defined]
    for parameter in command.params:
        option = max(parameter.opts, key=len)
        assert option in outcome.out, option


def test_the_help_of_segment_names_only_options_that_exist() -> None:
    command = typer.main.get_command(app).commands["segment"]  # type: ignore[attr-defined]
    assert set(NEEDED) <= {parameter.name for parameter in command.params}


def test_options_that_help_does_not_show_work_all_the_same(vostool: Call) -> None:
    vostool("segment", "--help")
    outcome = vostool("segment", "--disturb-every", "0", "x.mp4")
    assert outcome.code == 2
    assert "disturb-every" in outcome.err
