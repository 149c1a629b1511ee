from importlib import import_module
from types import SimpleNamespace

import pytest

from tests.conftest import Footage
from tests.test_cli import Call, vostool  # noqa: F401
from vostool.errors import UsageError
from vostool.inference.options import ModelOptions


@pytest.mark.parametrize(("given", "sizes"), [((), [None, None]), (("--size", 64), [64, 64])])
def test_erf_runs_each_of_several_networks_at_its_own_size_unless_one_is_given(
    given: tuple[object, ...],
    sizes: list[int | None],
    vostool: Call,  # noqa: F811
    video: Footage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A size that is given also puts frames out of the box that a network is made for."""
    asked: list[int | None] = []

    def load_model(options: ModelOptions, quiet: bool) -> SimpleNamespace:
        asked.append(options.size)
        if len(asked) == 2:
            raise UsageError("seen enough")
        return SimpleNamespace(size=options.size or 240)

    # `vostool.cli.erf` is the command; its module has the same name
    monkeypatch.setattr(import_module("vostool.cli.erf"), "load_model", load_model)
    weights = ("--weights", "one", "--weights", "two")
    assert vostool("erf", video.path, "--mask", video.mask, *weights, *given).code == 2
    assert asked == sizes
