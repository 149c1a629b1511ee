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
from vostool.model.interface import Adapter
from vostool.model.plugin import GROUP


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


def broken(weights: Path | None) -> Colours:
    """Fail as a loader does that finds other weights than it expects."""
    raise KeyError("settings")


def halved(weights: Path | None) -> object:
    """Return an object with half of the methods of a segmenter."""

    class Halved:
        stride = 16

        def encode(self, image: Tensor) -> Tensor:
            return image

    return Halved()


@pytest.fixture(autouse=True)
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer a plug-in model, and four that cannot run."""
    points = EntryPoints(
        [
            EntryPoint("colours", "tests.model.test_plugin:Colours", GROUP),
            EntryPoint("gone", "nowhere.at_all:load", GROUP),
            EntryPoint("broken", "tests.model.test_plugin:broken", GROUP),
            EntryPoint("halved", "tests.model.test_plugin:halved", GROUP),
            EntryPoint("wrong", "tests.model.test_plugin:Wrong", GROUP),
        ]
    )
    monkeypatch.setattr("vostool.model.plugin.entry_points", lambda group: points)


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
    nothing = dict.fromkeys(("file", "sha256", "settings", "published", "licence"))
    assert report["network"] == {"model": "colours", **nothing}


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
    ("options", "code", "words"),
    [
        (("--model", "none"), 8, "--model none: no such model; expected one of broken, colours"),
        (("--model", "gone"), 8, "nowhere.at_all:load cannot be imported: ModuleNotFoundError"),
        (("--model", "broken"), 8, "fails to load its own weights: KeyError: 'settings'"),
        (("--model", "halved"), 8, "found an exception, AttributeError"),
        (("--model", "colours", "--memory", "kmn"), 2, "--model colours has its own memory"),
        (
            ("--model", "colours", "--precision", "bf16"),
            2,
            "--precision bf16: --model colours runs",
        ),
        (("--model", "colours", "--memory-frames", 3), 2, "--model colours has no such limit"),
        (("--model", "colours", "--compile"), 2, "--model colours cannot be compiled"),
    ],
)
def test_a_plug_in_model_that_cannot_run_is_refused_in_one_line(
    vostool: Call,  # noqa: F811
    video: Footage,
    options: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    outcome = vostool("segment", video.path, "--mask", video.mask, "--device", "cpu", *options)
    assert (outcome.code, outcome.out) == (code, "")
    assert words in outcome.err
    assert outcome.err.count("\n") == 1
