"""The options of commands, against the values that they fill and what --help says of them."""

import re
import sys
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import typer

from vostool import defaults
from vostool.analysis.erf_plan import ErfJob
from vostool.cli import app
from vostool.cli.model_options import BOXES, DISTURBANCE, MODEL
from vostool.cli.options import offer
from vostool.device import PRECISIONS
from vostool.errors import UsageError, VostoolError
from vostool.inference.disturbance import MemoryDisturbance
from vostool.inference.options import ModelOptions
from vostool.model.stm_settings import StmSettings
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.disturbance import Attack
from vostool.propagation.references import REFERENCE_SETS, References


def test_the_command_line_has_an_option_for_every_model_option_with_its_default() -> None:
    declared = {name: default for name, (_, default) in {**MODEL, **DISTURBANCE}.items()}
    assert declared == ModelOptions().model_dump()
    assert set(BOXES) <= set(DISTURBANCE)


def test_the_reference_sets_of_the_options_are_those_of_the_frame_loop() -> None:
    names, _ = get_args(ModelOptions.model_fields["reference"].annotation)  # or None
    assert set(get_args(names)) == set(REFERENCE_SETS)


def test_defaults_are_the_same_from_the_command_line_and_from_python() -> None:
    assert References().every == defaults.MEMORY_EVERY
    assert StmSettings().correction_rate == ErfJob.rate == defaults.GC_RATE
    correction = GradientCorrection()
    assert correction.rate == defaults.GC_RATE
    assert (correction.every, correction.steps) == (defaults.GC_EVERY, defaults.GC_ITERS)
    attack = Attack()
    assert (attack.every, attack.strength) == (defaults.DISTURB_EVERY, defaults.STRENGTH)
    disturbance = MemoryDisturbance("mi-fgsm").method
    assert disturbance == Attack(steps=defaults.ATTACK_STEPS, momentum=defaults.ATTACK_MOMENTUM)
    assert tuple(PRECISIONS) == defaults.PRECISIONS


def test_the_defaults_of_the_papers_are_the_papers_values() -> None:
    """Journal 3.3, 3.4, 4.1 and 4.3.4; of MI-FGSM, whose constants it leaves out, its paper's."""
    assert defaults.MEMORY_EVERY == defaults.GC_EVERY == defaults.DISTURB_EVERY == 5
    assert (defaults.GC_ITERS, defaults.GC_RATE, defaults.PAPER_SMOOTH) == (10, 180, 0.75)
    assert defaults.ERF_ITERS == 50
    assert (defaults.STRENGTH, defaults.ATTACK_STEPS, defaults.ATTACK_MOMENTUM) == (20, 10, 1)


@pytest.mark.parametrize(("begun", "offered"), [("", ["cpu", "cuda"]), ("cp", ["cpu"]), ("x", [])])
def test_values_of_an_option_are_offered_by_what_is_typed_so_far(
    begun: str, offered: list[str]
) -> None:
    assert offer("cpu", "cuda")(begun) == offered


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield every command with the words that call it."""
    if hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from commands(each, (*words, name))
    else:
        yield " ".join(words), command


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_describes_every_option_and_shows_no_number_in_brackets_as_its_default(
    name: str,
) -> None:
    for each in COMMANDS[name].params:
        assert each.help, each.name
        described = each.show_default  # Typer puts a text in brackets, as if it were a remark
        assert not (isinstance(described, str) and re.fullmatch(r"[\d.]+", described)), each.name


def shown(name: str, option: str) -> str:
    """Return the help of an option; raises ValueError if --help does not show it."""
    (found,) = [each for each in COMMANDS[name].params if each.name == option and not each.hidden]
    return str(found.help)


def test_help_states_the_number_of_correction_steps_that_is_taken_unless_given() -> None:
    assert f"{defaults.GC_ITERS} unless given" in shown("segment", "gc_iters")
    assert GradientCorrection().steps == defaults.GC_ITERS


def test_help_states_that_the_smoothness_term_is_off_unless_given() -> None:
    (smooth,) = [each for each in COMMANDS["segment"].params if each.name == "gc_smooth"]
    assert smooth.show_default.startswith("off;")
    assert GradientCorrection().smooth == 0


def test_help_and_error_call_the_interval_of_frames_by_one_letter() -> None:
    assert "every Nth frame" in shown("segment", "gc_every")
    assert "every Nth frame" in shown("segment", "memory_every")
    with pytest.raises(UsageError, match="--gc-every N"):
        ModelOptions(gc_iters=3)


def test_train_meta_is_shown_for_youtube_vos_only() -> None:
    assert "seen and unseen" in shown("eval youtube-vos", "train_meta")
    for name in ("eval davis16", "eval davis17"):
        with pytest.raises(ValueError, match="not enough values"):
            shown(name, "train_meta")


def test_every_command_that_runs_a_network_takes_a_number_of_threads() -> None:
    running = {name for name, each in COMMANDS.items() if "precision" in names_of(each)} | {"train"}
    assert {name for name, each in COMMANDS.items() if "threads" in names_of(each)} == running


def names_of(command: Any) -> set[str]:
    """Return the names of the parameters of a command."""
    return {each.name for each in command.params}


def test_the_number_of_threads_is_set_before_the_command_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[int | None] = []
    for module in ("model_options", "train"):
        # by the table: the package has commands of the same names
        monkeypatch.setattr(sys.modules[f"vostool.cli.{module}"], "limit_threads", asked.append)
    beginnings = (
        ("segment", "none.mp4"),
        ("bench", "none.mp4"),
        ("mask", "none.mp4"),
        ("erf", "none.mp4", "--mask", "none.png"),
        ("train", "none.toml"),
    )
    for number, words in enumerate(beginnings, start=1):
        with pytest.raises(VostoolError):
            app([*words, "--threads", str(number)], standalone_mode=False)
    assert asked == [1, 2, 3, 4, 5]
