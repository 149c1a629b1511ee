"""The options of commands, against the values that they fill."""

from typing import get_args

import pytest

from vostool import defaults
from vostool.analysis.erf_plan import ErfJob
from vostool.cli.options import BOXES, DISTURBANCE, MODEL, offer
from vostool.device import PRECISIONS
from vostool.inference.disturbance import MemoryDisturbance
from vostool.inference.options import ModelOptions
from vostool.model.stm import StmSettings
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.disturbance import Attack
from vostool.propagation.frame_loop import REFERENCE_SETS, References


def test_the_command_line_has_an_option_for_every_model_option_with_its_default() -> None:
    declared = {name: default for name, (_, default) in {**MODEL, **DISTURBANCE}.items()}
    assert declared == ModelOptions().model_dump()
    assert set(BOXES) <= set(DISTURBANCE)


def test_the_reference_sets_of_the_options_are_those_of_the_frame_loop() -> None:
    choices = get_args(ModelOptions.model_fields["reference"].annotation)
    assert set(choices) == set(REFERENCE_SETS)


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
