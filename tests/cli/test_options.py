"""The options of commands, against the values that they fill."""

from typing import get_args

import pytest

from vostool import defaults
from vostool.analysis.erf_plan import ErfJob
from vostool.cli.options import MODEL, offer
from vostool.device import PRECISIONS
from vostool.inference.options import ModelOptions
from vostool.model.stm import StmSettings
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.frame_loop import REFERENCE_SETS, References


def test_the_command_line_has_an_option_for_every_model_option_with_its_default() -> None:
    declared = {name: default for name, (_, default) in MODEL.items()}
    assert declared == ModelOptions().model_dump()


def test_the_reference_sets_of_the_options_are_those_of_the_frame_loop() -> None:
    names, _ = get_args(ModelOptions.model_fields["reference"].annotation)  # or None
    assert set(get_args(names)) == set(REFERENCE_SETS)


def test_defaults_are_the_same_from_the_command_line_and_from_python() -> None:
    assert References().every == defaults.MEMORY_EVERY
    assert StmSettings().correction_rate == ErfJob.rate == defaults.GC_RATE
    assert GradientCorrection().rate == defaults.GC_RATE
    assert tuple(PRECISIONS) == defaults.PRECISIONS


@pytest.mark.parametrize(("begun", "offered"), [("", ["cpu", "cuda"]), ("cp", ["cpu"]), ("x", [])])
def test_values_of_an_option_are_offered_by_what_is_typed_so_far(
    begun: str, offered: list[str]
) -> None:
    assert offer("cpu", "cuda")(begun) == offered
