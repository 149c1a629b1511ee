"""Models that another package offers, from the command line to the result."""

import json
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from torch import Tensor

from tests.conftest import FRAMES, HEIGHT, ColourMemory, ColourSegmenter, Footage
from tests.evaluate.making import write_davis16
from tests.test_cli import Call, vostool  # noqa: F401
from vostool.model.check import check_segmenter
from vostool.model.foreign import GROUP
from vostool.model.interface import Adapter


class Colours(Adapter[ColourMemory]):
    """The segmenter by colour, as somebody would plug it in: two methods, no network."""

    def __init__(self, weights: Path | None) -> None:
        self.weights = weights

    def memorize(
        self,
        features: Tensor,
        masks: Tensor,
        memory: ColourMemory | None = None,
        annotated: bool = False,
    ) -> ColourMemory:
        return ColourSegmenter().memorize(features, masks, memory, annotated)

    def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
        return ColourSegmenter().segment(features, memory)


class Wrong(Colours):
    """One that lets no gradient through."""

    def segment(self, features: Tensor, memory: ColourMemory) -> Tensor:
        return super().segment(features, memory).detach()


@pytest.fixture(autouse=True)
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer three models, one of which is not there and one none."""
    points = EntryPoints(
        [
            EntryPoint("colours", "tests.model.test_foreign:Colours", GROUP),
            EntryPoint("gone", "nowhere.at_all:load", GROUP),
            EntryPoint("wrong", "tests.model.test_foreign:Wrong", GROUP),
        ]
    )
    monkeypatch.setattr("vostool.model.foreign.entry_points", lambda group: points)


def test_an_adapter_of_two_methods_keeps_the_contract() -> None:
    check_segmenter(Colours(None))


def test_it_segments_with_the_correction(
    vostool: Call,  # noqa: F811
    video: Footage,
    tmp_path: Path,
) -> None:
    model = ("--model", "colours", "--size", HEIGHT, "--device", "cpu", "--gc-every", 2)
    given = ("segment", video.path, "--mask", video.mask)
    outcome = vostool(*given, *model, "-o", tmp_path / "out", "--json")
    report = json.loads(outcome.out)
    assert (outcome.code, report["frames"]) == (0, FRAMES)
    assert report["network"] == {"model": "colours", "file": None, "sha256": None, "settings": None}


def test_it_is_explained_and_evaluated(
    vostool: Call,  # noqa: F811
    video: Footage,
    tmp_path: Path,
) -> None:
    model = ("--model", "colours", "--size", HEIGHT, "--device", "cpu")
    explained = vostool(
        "erf", video.path, "--mask", video.mask, *model, "--iters", 3, "-o", "erf", "--json"
    )
    assert explained.code == 0
    assert json.loads(explained.out)["responses"][0]["weights"] == "colours"
    root = write_davis16(tmp_path / "set", "a")
    scored = vostool("eval", "davis16", root, *model, "-o", "run", "--json")
    assert scored.code == 0
    assert json.loads(scored.out)["scores"]["J-Mean"] > 0.95


def test_one_that_breaks_the_contract_is_refused(
    vostool: Call,  # noqa: F811
    video: Footage,
) -> None:
    given = ("segment", video.path, "--mask", video.mask)
    outcome = vostool(*given, "--model", "wrong", "--device", "cpu")
    assert (outcome.code, outcome.out) == (8, "")
    assert "no gradient from the logits to the masks" in outcome.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "none"), "--model none: expected one of colours, gone, stm, wrong"),
        (("--model", "gone"), "nowhere.at_all:load cannot be imported"),
        (("--model", "colours", "--memory", "kmn"), "--model colours has its own memory"),
    ],
)
def test_what_cannot_be_is_told(
    vostool: Call,  # noqa: F811
    video: Footage,
    options: tuple[str, ...],
    words: str,
) -> None:
    outcome = vostool("segment", video.path, "--mask", video.mask, *options)
    assert (outcome.code, outcome.out) == (2, "")
    assert words in outcome.err
