from importlib import import_module
from types import SimpleNamespace

import pytest

from tests.conftest import Footage
from tests.test_cli import Call, vostool  # noqa: F401
from vostool.cli.erf import NetworkOptions
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


@pytest.mark.parametrize(
    ("weights", "memories", "expected"),
    [
        (["a", "b"], [], [{"weights": "a"}, {"weights": "b"}]),
        (["a"], ["stm", "kmn"], [{"weights": "a", "memory": each} for each in ("stm", "kmn")]),
        (["a", "b"], ["kmn"], [{"weights": each, "memory": "kmn"} for each in "ab"]),
        (
            ["a", "b"],
            ["kmn", "gcm"],
            [dict(weights="a", memory="kmn"), dict(weights="b", memory="gcm")],
        ),
    ],
)
def test_erf_takes_a_memory_design_for_each_of_several_weights_or_one_for_all(
    weights: list[str], memories: list[str], expected: list[dict[str, str]]
) -> None:
    assert NetworkOptions(weights, memories).each() == expected


def test_erf_refuses_more_memory_designs_than_weights_in_one_line(
    vostool: Call,  # noqa: F811
    video: Footage,
) -> None:
    given = ("--weights", "a", "--weights", "b", *("--memory", "stm") * 3)
    outcome = vostool("erf", video.path, "--mask", video.mask, *given)
    assert outcome.code == 2
    words = "--memory: expected one, or one for each of 2 --weights, found 3"
    assert words in outcome.err
    assert outcome.err.count("\n") == 1


def test_erf_refuses_a_memory_design_that_it_does_not_know(
    vostool: Call,  # noqa: F811
    video: Footage,
) -> None:
    outcome = vostool("erf", video.path, "--mask", video.mask, "--memory", "lru")
    assert outcome.code == 2
    assert "--memory lru" in outcome.err
