"""A network of another kind, from the entry point of a package to masks."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.agss.model import AgssVos, load, save
from tests.agss.train import train
from tests.conftest import FRAMES, HEIGHT, Footage, Scene
from tests.datasets.making import recipe_of, write_library
from tests.test_cli import Call, vostool  # noqa: F401
from vostool.errors import UsageError, WeightsError
from vostool.model.check import check_segmenter
from vostool.model.interface import Reference
from vostool.model.plugin import GROUP
from vostool.propagation.cycle import cycle_loss

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def agss() -> AgssVos:
    torch.manual_seed(0)
    return AgssVos().eval()


@pytest.fixture
def given(agss: AgssVos, tmp_path: Path) -> Path:
    """Weights, though they know nothing."""
    path = tmp_path / "agss.safetensors"
    save(agss, path)
    return path


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the package where Python looks, as pip does: its modules and its entry points."""
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site-packages"
    told = site / "vostool_agss-0.1.0.dist-info"
    told.mkdir(parents=True)
    (site / "agss").symlink_to(HERE)
    (told / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(
        f"{name} = {where}\n" for name, where in project["entry-points"][GROUP].items()
    )
    (told / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    monkeypatch.syspath_prepend(site)


class TestTheContract:
    def test_is_kept(self, agss: AgssVos) -> None:
        check_segmenter(agss)

    def test_the_first_frame_stays_the_reference(self, agss: AgssVos, clip: Scene) -> None:
        first = agss.memorize(clip.images[0], clip.masks[0], None, True)
        second = agss.memorize(clip.images[1], clip.masks[1], first)
        assert second.reference is first.reference
        assert torch.equal(second.previous, clip.masks[1][:, 1:])
        assert torch.equal(first.previous, clip.masks[0][:, 1:]), "the memory given was changed"

    def test_an_object_that_is_nowhere_is_nothing_to_the_other(
        self, agss: AgssVos, clip: Scene
    ) -> None:
        alone = clip.masks[0]
        two = torch.cat([alone, torch.zeros_like(alone[:, :1])], dim=1)
        with torch.no_grad():
            (one,), (both,) = (
                agss.segment(clip.images[1], agss.memorize(clip.images[0], masks))
                for masks in (alone, two)
            )
        torch.testing.assert_close(one[0], both[0], rtol=1e-3, atol=1e-4)
        assert not torch.allclose(both[0], both[1], atol=1e-4)


class TestTheCycle:
    def gradient(self, loss: Tensor, masks: Tensor) -> float:
        return torch.autograd.grad(loss.sum(), masks)[0].abs().sum().item()

    def test_comes_back_to_the_masks(self, agss: AgssVos, clip: Scene) -> None:
        masks = clip.masks[4].clone().requires_grad_()
        reference = Reference(clip.images[0], clip.masks[0])
        loss = cycle_loss(agss, clip.images[4], masks, reference)
        assert self.gradient(loss, masks) > 0

    @pytest.mark.parametrize("cut", ["previous", "reference"])
    def test_does_so_by_way_of_reference_and_previous_frame(
        self, cut: str, agss: AgssVos, clip: Scene
    ) -> None:
        masks = clip.masks[4].clone().requires_grad_()
        memory = agss.memorize(clip.images[4], masks)
        memory = replace(memory, **{cut: getattr(memory, cut).detach()})
        logits = agss.segment(clip.images[0], memory)
        assert self.gradient(logits.square(), masks) > 0


@pytest.mark.usefixtures("installed")
class TestTheCommandLine:
    def model(self, given: Path) -> tuple[object, ...]:
        return "--model", "agss", "--weights", given, "--size", HEIGHT, "--device", "cpu"

    def test_segments_with_the_correction(
        self,
        vostool: Call,  # noqa: F811
        video: Footage,
        given: Path,
        tmp_path: Path,
    ) -> None:
        correction = ("--gc-every", 5, "--gc-iters", 2)
        what = ("segment", video.path, "--mask", video.mask, "-o", tmp_path / "out", "--json")
        outcome = vostool(*what, *self.model(given), *correction)
        assert outcome.code == 0, outcome.err
        report = json.loads(outcome.out)
        assert (report["frames"], report["network"]["model"]) == (FRAMES, "agss")
        assert report["options"]["correction"]["steps"] == 2
        assert len(list((tmp_path / "out" / "masks").iterdir())) == FRAMES

    def test_explains(
        self,
        vostool: Call,  # noqa: F811
        video: Footage,
        given: Path,
        tmp_path: Path,
    ) -> None:
        what = ("erf", video.path, "--mask", video.mask, "-o", tmp_path / "erf", "--json")
        outcome = vostool(*what, *self.model(given), "--iters", 2, "--strip", 0)
        assert outcome.code == 0, outcome.err
        (response,) = json.loads(outcome.out)["responses"]
        assert 0 <= response["share"] <= 1

    def test_tells_what_is_missing(
        self,
        vostool: Call,  # noqa: F811
        video: Footage,
    ) -> None:
        outcome = vostool("segment", video.path, "--mask", video.mask, "--model", "agss")
        assert outcome.code == 2
        assert "--model agss: comes without weights" in outcome.err


class TestWeights:
    def test_come_back_as_they_were_saved(self, agss: AgssVos, given: Path) -> None:
        again = load(given).state_dict()
        for name, value in agss.state_dict().items():
            torch.testing.assert_close(again[name], value, rtol=1e-3, atol=1e-6)

    def test_must_be_given(self) -> None:
        with pytest.raises(UsageError, match="expected --weights FILE"):
            load(None)

    def test_of_another_network_are_refused(self, tmp_path: Path) -> None:
        save_file({"something": torch.ones(3)}, tmp_path / "other.safetensors")
        with pytest.raises(WeightsError, match="no weights of agss"):
            load(tmp_path / "other.safetensors")


def test_it_trains_with_the_cycle_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    data, entries = write_library(tmp_path / "data"), list[dict[str, float]]()
    short, long = (
        recipe_of(
            data,
            phases=[{"steps": steps, "size": (32, 48), "cycle": True}],
            schedule="constant",
            freeze=[],
            hold_out=["two"],
        )
        for steps in (1, 2)
    )
    whole = load_file(train(long, tmp_path / "whole", entries.append))
    assert [entry["step"] for entry in entries if "loss" in entry] == [1, 2]
    assert 0 <= entries[-1]["held_out_j_and_f"] <= 1
    train(short, tmp_path / "parts")
    parts = load_file(train(long, tmp_path / "parts"))
    assert all(torch.equal(parts[name], whole[name]) for name in whole)
