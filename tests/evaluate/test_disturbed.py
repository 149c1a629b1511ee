"""Evaluation with a disturbed memory: what is refused, and what a run says of itself."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import HEIGHT, TINY, ColourNetwork
from tests.evaluate.making import (
    predict_truth,
    write_davis16,
    write_davis17,
    write_grey,
    write_youtube,
)
from tests.test_cli import Call, vostool
from vostool.errors import InputError, MaskError, OutputError, UsageError
from vostool.evaluate.disturbed import check_known
from vostool.evaluate.protocols import Benchmark, open_benchmark
from vostool.evaluate.results import Results, read_results, summary
from vostool.evaluate.run import evaluate, holds
from vostool.inference.disturbance import MemoryDisturbance
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor
from vostool.media.masks import read_mask
from vostool.model.checkpoint import save_checkpoint
from vostool.model.stm import Stm
from vostool.propagation.references import References

COUNT = 10  # frames of a clip
__all__ = ["vostool"]
pytestmark = pytest.mark.usefixtures("scored_here")


def colours(weights: Path, **changes: Any) -> Predictor:
    """Return a model that goes by colour and remembers every second frame."""
    network = cast(Stm, ColourNetwork())
    plain = Predictor(network, weights, torch.device("cpu"), torch.float32, size=HEIGHT)
    return replace(plain, references=References(every=2), **changes)


def disturbed(weights: Path, kind: str, **options: Any) -> Predictor:
    return colours(weights, disturbance=MemoryDisturbance(kind, **{"every": 2} | options))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "colours.safetensors"
    path.write_bytes(b"colours need no weights")
    return path


@pytest.fixture(scope="module")
def davis16(tmp_path_factory: pytest.TempPathFactory) -> Benchmark:
    root = write_davis16(tmp_path_factory.mktemp("davis") / "set", "a", "b", count=COUNT)
    return open_benchmark("davis16", root, "val")


@pytest.fixture(scope="module")
def plain(davis16: Benchmark, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """A run without a disturbance."""
    return evaluate(davis16, colours(weights), tmp_path_factory.mktemp("runs") / "plain")


def j_of(results: Results) -> float:
    return summary(results.objects.values())["J-Mean"]


class TestARun:
    def test_a_disturbed_run_by_masks_that_are_wrong_scores_less_and_by_the_true_ones_does_not(
        self, davis16: Benchmark, weights: Path, plain: Results, tmp_path: Path
    ) -> None:
        right = predict_truth(davis16.root, tmp_path / "right")
        wrong = predict_truth(davis16.root, tmp_path / "wrong")
        for path in wrong.rglob("*.png"):
            write_grey(path, 255 - np.asarray(Image.open(path)))
        found = [
            j_of(evaluate(davis16, disturbed(weights, "masks", masks=masks), masks / "out"))
            for masks in (right, wrong)
        ]
        assert found[0] == pytest.approx(j_of(plain), abs=0.01)
        assert found[1] < j_of(plain) - 0.1

    @pytest.mark.parametrize("kind", ["fgsm", "mi-fgsm"])
    def test_a_disturbed_run_under_attack_scores_less_the_stronger_it_is(
        self, kind: str, davis16: Benchmark, weights: Path, plain: Results, tmp_path: Path
    ) -> None:
        none, strong = (
            evaluate(
                davis16,
                disturbed(weights, kind, strength=strength, steps=3),
                tmp_path / f"{strength}",
            )
            for strength in (0.0, 255.0)
        )
        assert none.clips == plain.clips
        assert j_of(strong) < j_of(plain) - 0.05

    def test_a_disturbed_run_of_youtube_vos_knows_the_frames_that_have_truth(
        self, weights: Path, tmp_path: Path
    ) -> None:
        root = write_youtube(tmp_path / "train", whole_truth=True)
        benchmark = open_benchmark("youtube-vos", root.parent, "train")
        assert evaluate(benchmark, disturbed(weights, "mi-fgsm"), tmp_path / "out").clips

    def test_a_disturbed_run_says_so_in_its_report_its_results_and_its_state(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        model = disturbed(weights, "fgsm", strength=8.0, attacker=colours(weights))
        results = evaluate(davis16, model, tmp_path / "out")
        found = results.options["disturbance"]
        assert {name: found[name] for name in ("kind", "every", "strength", "steps")} == {
            "kind": "fgsm",
            "every": 2,
            "strength": 8.0,
            "steps": 1,
        }
        assert len(found["attacker"]["sha256"]) == 64
        assert read_results(tmp_path / "out") == results
        state = json.loads((tmp_path / "out" / "run.json").read_text())
        assert state["options"]["disturbance"] == found
        assert "the memory was disturbed" in (tmp_path / "out" / "report.html").read_text()

    def test_a_run_without_a_disturbance_says_nothing_of_it(self, plain: Results) -> None:
        assert "disturbance" not in plain.options


class TestARunIsRefused:
    def test_a_disturbed_run_is_refused_if_the_folder_holds_one_that_was_disturbed_otherwise(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        out, model = tmp_path / "out", disturbed(weights, "fgsm")
        evaluate(davis16, model, out)
        assert holds(out, davis16, model)
        others = [
            colours(weights),
            disturbed(weights, "box"),
            disturbed(weights, "fgsm", strength=4.0),
            disturbed(weights, "fgsm", every=4),
            disturbed(weights, "fgsm", attacker=colours(weights)),
        ]
        for other in others:
            assert not holds(out, davis16, other)
            with pytest.raises(OutputError, match="holds a run with another disturbance"):
                evaluate(davis16, other, out)

    @pytest.mark.parametrize("kind", ["box", "fgsm", "mi-fgsm"])
    def test_a_disturbed_run_is_refused_if_there_is_no_truth(
        self, kind: str, weights: Path, tmp_path: Path
    ) -> None:
        root = write_davis17(tmp_path / "set", "a")
        for mask in sorted((root / "Annotations" / "480p" / "a").iterdir())[1:]:
            mask.unlink()
        benchmark = open_benchmark("davis17", root, "val")
        with pytest.raises(UsageError, match=f"--disturb {kind}: needs the truth of every clip, "):
            evaluate(benchmark, disturbed(weights, kind), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_a_disturbed_run_is_refused_if_a_disturbed_frame_has_no_truth(
        self, weights: Path, tmp_path: Path
    ) -> None:
        root = write_youtube(tmp_path / "train", whole_truth=True)
        (root / "Annotations" / "a" / "00010.png").unlink()
        meta = json.loads((root / "meta.json").read_text())
        meta["videos"]["a"]["objects"]["1"]["frames"].remove("00010")
        (root / "meta.json").write_text(json.dumps(meta))
        benchmark = open_benchmark("youtube-vos", root.parent, "train")
        with pytest.raises(InputError, match=r"a: --disturb box: expected a mask of frame 00010"):
            evaluate(benchmark, disturbed(weights, "box"), tmp_path / "out")
        assert evaluate(benchmark, disturbed(weights, "fgsm"), tmp_path / "out").clips

    def test_frames_before_the_first_object_need_no_truth(
        self, weights: Path, tmp_path: Path
    ) -> None:
        root = write_youtube(tmp_path / "train", whole_truth=True)
        (root / "Annotations" / "a" / "00010.png").unlink()
        meta = json.loads((root / "meta.json").read_text())
        del meta["videos"]["a"]["objects"]["1"]  # object 2 enters on frame 00015
        (root / "meta.json").write_text(json.dumps(meta))
        benchmark = open_benchmark("youtube-vos", root.parent, "train")
        check_known(benchmark, disturbed(weights, "box"))

    def test_a_disturbed_run_is_refused_if_a_mask_is_lacking_of_a_video_without_truth(
        self, weights: Path, tmp_path: Path
    ) -> None:
        root = write_davis16(tmp_path / "set", "a", count=COUNT)
        made = predict_truth(root, tmp_path / "made")
        for mask in sorted((root / "Annotations" / "480p" / "a").iterdir())[1:]:
            mask.unlink()
        benchmark = open_benchmark("davis16", root, "val")
        model = disturbed(weights, "masks", masks=made)
        check_known(benchmark, model)
        (made / "a" / "00004.png").unlink()
        with pytest.raises(InputError, match=r"a: --disturb masks: expected a mask of frame 00004"):
            check_known(benchmark, model)

    def test_a_disturbed_run_is_refused_if_another_run_lacks_a_mask_of_a_disturbed_frame(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        made = predict_truth(davis16.root, tmp_path / "made")
        (made / "b" / "00003.png").unlink()
        (made / "b" / "00009.png").unlink()
        model = disturbed(weights, "masks", masks=made)
        assert evaluate(davis16, model, tmp_path / "out").clips, "frame 3 is not disturbed"
        (made / "b" / "00004.png").unlink()
        with pytest.raises(InputError, match=r"b: --disturb masks: expected a mask of frame 00004"):
            evaluate(davis16, model, tmp_path / "again")
        assert not (tmp_path / "again").exists()

    def test_a_disturbed_run_is_refused_if_a_mask_of_another_run_is_of_another_size(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        made = predict_truth(davis16.root, tmp_path / "made")
        write_grey(made / "a" / "00002.png", np.zeros((24, 64), np.uint8))
        with pytest.raises(MaskError, match=r"00002\.png: mask is 64x24"):
            evaluate(davis16, disturbed(weights, "masks", masks=made), tmp_path / "out")

    def test_a_disturbed_run_is_refused_if_no_frame_would_be_disturbed(
        self, davis16: Benchmark, weights: Path, tmp_path: Path
    ) -> None:
        with pytest.raises(UsageError, match="--disturb-every 100: no clip has a frame that is"):
            evaluate(davis16, disturbed(weights, "box", every=100), tmp_path / "out")


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"disturb": "blur"}, "--disturb blur: expected box, masks:FOLDER, fgsm or mi-fgsm"),
            ({"disturb": "masks"}, "--disturb masks: expected box"),
            ({"disturb": "masks:"}, "--disturb masks:: expected box"),
            ({"disturb": "box:here"}, "--disturb box:here: expected box"),
            ({"disturb_every": 3}, "--disturb-every: expected --disturb with it"),
            ({"strength": 3}, "--strength: expected --disturb fgsm or mi-fgsm with it"),
            ({"disturb": "box", "attacker": "x"}, "--attacker: expected --disturb fgsm or mi-fgsm"),
            ({"disturb": "fgsm", "attack_steps": 3}, "--attack-steps: expected --disturb mi-fgsm"),
            ({"disturb": "fgsm", "strength": 300}, "--strength 300: expected "),
            ({"disturb": "box", "reference": "first"}, "no predicted frame stays in memory"),
        ],
    )
    def test_disturbance_options_that_make_no_sense_are_refused(
        self, options: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(UsageError, match=words):
            ModelOptions().changed(options)

    def test_disturbance_options_become_a_disturbance_with_an_attacker_of_its_own_weights(
        self, tmp_path: Path
    ) -> None:
        victim, other = tmp_path / "victim.safetensors", tmp_path / "other.safetensors"
        save_checkpoint(victim, Stm(TINY), {})
        save_checkpoint(other, Stm(TINY.model_copy(update={"key_channels": 4})), {})
        options = ModelOptions(weights=str(victim), device="cpu", disturb="mi-fgsm")
        white = load_predictor(options)
        assert white.disturbance == MemoryDisturbance("mi-fgsm", 5, None, 20.0, 10, None)
        black = load_predictor(options.changed({"attacker": str(other), "attack_steps": 3}))
        assert black.disturbance is not None
        assert black.disturbance.attacker is not None
        network = black.disturbance.attacker.network
        assert isinstance(network, Stm)
        assert network.settings.key_channels == 4
        assert not any(weight.requires_grad for weight in network.parameters())
        assert black.options["disturbance"]["steps"] == 3
        assert black.options["disturbance"]["attacker"]["sha256"] != white.identity.sha256
        fewer = black.within(replace(black.limits, objects_at_once=2)).disturbance
        assert fewer is not None
        assert fewer.attacker is not None
        assert fewer.attacker.objects_at_once == 2

    def test_disturbance_options_that_name_no_folder_of_masks_are_refused(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "victim.safetensors"
        save_checkpoint(path, Stm(TINY), {})
        options = ModelOptions(weights=str(path), device="cpu", disturb="masks:nowhere")
        with pytest.raises(InputError, match="--disturb masks:nowhere: no such folder"):
            load_predictor(options)


class TestTheCommandLine:
    @pytest.fixture
    def trained(self, tmp_path: Path) -> Path:
        torch.manual_seed(0)
        path = tmp_path / "trained.safetensors"
        save_checkpoint(path, Stm(TINY), {})
        return path

    def test_eval_disturb_sweeps_over_the_strength_of_an_attack(
        self,
        vostool: Call,
        trained: Path,
        tmp_path: Path,
    ) -> None:
        root = write_davis16(tmp_path / "set", "a", count=8)
        outcome = vostool(
            *("eval", "davis16", root, "--weights", trained, "--device", "cpu", "--size", 32),
            *("--disturb", "fgsm", "--sweep", "strength=0,20", "-o", tmp_path / "out"),
        )
        assert outcome.code == 0, outcome.err
        found = [
            read_results(tmp_path / "out" / f"strength={strength}").options["disturbance"]
            for strength in (0, 20)
        ]
        assert [each["strength"] for each in found] == [0.0, 20.0]

    def test_eval_disturb_refuses_without_truth_in_one_line(
        self,
        vostool: Call,
        trained: Path,
        tmp_path: Path,
    ) -> None:
        root = tmp_path / "set"
        write_davis17(root, "a")
        for mask in sorted((root / "Annotations" / "480p" / "a").iterdir())[1:]:
            mask.unlink()
        outcome = vostool(
            *("eval", "davis17", root, "--weights", trained, "--device", "cpu", "--size", 32),
            *("--disturb", "box", "-o", tmp_path / "out"),
        )
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.count("\n") == 1
        assert "--disturb box: needs the truth of every clip" in outcome.err

    def test_eval_disturb_takes_no_disturbance_where_masks_are_given_to_score(
        self,
        vostool: Call,
        tmp_path: Path,
    ) -> None:
        root = write_davis16(tmp_path / "set", "a")
        made = predict_truth(root, tmp_path / "made")
        outcome = vostool("eval", "davis16", root, "--predictions", made, "--disturb", "box")
        assert outcome.code == 2
        assert "--predictions: scores given masks" in outcome.err


def test_the_masks_of_a_run_can_disturb_another(
    davis16: Benchmark, weights: Path, plain: Results, tmp_path: Path
) -> None:
    """Table 5, low quality: the masks of a baseline."""
    model = disturbed(weights, "masks", masks=plain.predictions)
    results = evaluate(davis16, model, tmp_path / "out")
    assert results.options["disturbance"]["masks"] == str(plain.predictions)
    assert read_mask(tmp_path / "out" / "masks" / "a" / "00004.png").any()
