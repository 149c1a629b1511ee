from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from tests.conftest import TINY, draw, needs_int8
from tests.model.published.making import STCN, STM, STM_CYCLE, XMEM, export, small, write
from vostool.errors import UsageError
from vostool.inference.loading import load_predictor
from vostool.inference.options import ModelOptions
from vostool.inference.placement import Placement
from vostool.inference.predictor import Predictor
from vostool.inference.tracker import Tracker
from vostool.model.borders import Padding
from vostool.model.checkpoint import save_checkpoint
from vostool.model.compiled import CompiledPart
from vostool.model.interface import memory_limit
from vostool.model.stm import Stm
from vostool.propagation.references import References


class TestWhatTheWeightsSaySuitsThem:
    @pytest.fixture
    def weights(self, tmp_path: Path) -> str:
        advice = {"short_side": 64, "correction_rate": 20.0}
        path = tmp_path / "weights.safetensors"
        save_checkpoint(path, Stm(TINY.model_copy(update=advice)), {})
        return str(path)

    def load(self, weights: str, **options: Any) -> Predictor:
        return load_predictor(ModelOptions(weights=weights, device="cpu", **options))

    def test_is_done_unless_another_value_is_given(self, weights: str) -> None:
        model = self.load(weights, gc_every=5)
        assert model.size == 64
        assert model.correction is not None
        assert model.correction.rate == 20.0

    def test_yields_to_the_options(self, weights: str) -> None:
        model = self.load(weights, size=96, gc_every=5, gc_rate=60.0)
        assert model.size == 96
        assert model.correction is not None
        assert model.correction.rate == 60.0

    def test_is_what_the_papers_have_where_they_say_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "old.safetensors"
        save_checkpoint(path, Stm(TINY), {})
        model = self.load(str(path), gc_every=5)
        assert model.size == 240
        assert model.correction is not None
        assert model.correction.rate == 180.0


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("published")
    kinds: dict[str, Any] = {"stm": STM, "cycle": STM_CYCLE, "stcn": STCN, "xmem": XMEM}
    return {
        name: str(write(folder / f"{name}.pth", export(small(settings))))
        for name, settings in kinds.items()
    }


class TestPublishedWeights:
    """A network of a kind is best used as its makers do, unless an option says otherwise."""

    def load(self, weights: str, **options: Any) -> Predictor:
        return load_predictor(ModelOptions(weights=weights, device="cpu", **options))

    @pytest.mark.parametrize(
        ("kind", "name", "size", "references", "frames", "precision"),
        [
            ("stm", "stm", 480, References(every=8), 24, torch.float32),
            ("cycle", "stm", 240, References(), 24, torch.float32),
            ("stcn", "stcn", 480, References(previous=False), 24, torch.float32),
            ("xmem", "xmem", 480, References(every=1), 10, None),
        ],
    )
    def test_published_weights_are_used_as_their_makers_do(
        self,
        kind: str,
        name: str,
        size: int,
        references: References,
        frames: int,
        precision: torch.dtype | None,
        files: dict[str, str],
    ) -> None:
        model = self.load(files[kind])
        assert (model.name, model.size, model.references) == (name, size, references)
        assert model.memory_frames == memory_limit(model.network) == frames
        assert precision in (None, model.precision)
        policy = model.network.policy  # type: ignore[attr-defined]
        assert policy.precision == (None if precision is None else "fp32")
        assert model.memory_every == (5 if kind == "xmem" else None)

    @pytest.mark.parametrize("kind", ["stm", "cycle", "stcn"])
    def test_options_of_the_user_win_over_the_advice_of_published_weights(
        self, kind: str, files: dict[str, str]
    ) -> None:
        given: dict[str, Any] = {"size": 96, "reference": "memory", "memory_every": 2}
        model = self.load(files[kind], memory_frames=3, precision="bf16", top_k=7, **given)
        assert (model.size, model.references) == (96, References(every=2))
        assert model.memory_frames == memory_limit(model.network) == 3
        assert model.precision == torch.bfloat16
        assert (model.identity.settings or {})["top_k"] == 7

    def test_xmem_is_given_every_frame_and_keeps_some_at_its_own_interval(
        self, files: dict[str, str]
    ) -> None:
        model = self.load(files["xmem"], memory_every=2, memory_frames=4)
        assert model.references == References(every=1)
        assert model.options["memory_every"] == model.memory_every == 2
        assert memory_limit(model.network) == 4
        with pytest.raises(UsageError, match=r"^--reference first: .* every frame"):
            self.load(files["xmem"], reference="first")

    @pytest.mark.parametrize("kind", ["stcn", "xmem"])
    def test_stcn_and_xmem_refuse_a_memory_design_by_name(
        self, kind: str, files: dict[str, str]
    ) -> None:
        with pytest.raises(UsageError, match=r"^--memory: .* of another network"):
            self.load(files[kind], memory="kmn")

    @pytest.mark.parametrize(
        ("kind", "size", "frame", "expected"),
        [
            ("stm", None, (480, 854), Placement((480, 854))),
            ("stm", 100, (100, 150), Placement((100, 150))),
            ("cycle", None, (480, 854), Placement((240, 427))),
            ("cycle", None, (480, 640), Placement((240, 320))),
            ("cycle", None, (640, 360), Placement((240, 135))),
            ("cycle", 100, (100, 150), Placement((100, 150))),
            ("stcn", None, (480, 854), Placement((480, 854), Padding(5, 5, 0, 0))),
            ("xmem", 100, (100, 150), Placement((100, 150), Padding(5, 5, 6, 6))),
        ],
    )
    def test_published_weights_get_frames_with_the_borders_of_their_makers(
        self,
        kind: str,
        size: int | None,
        frame: tuple[int, int],
        expected: Placement,
        files: dict[str, str],
    ) -> None:
        assert self.load(files[kind], size=size).placement(*frame) == expected

    @pytest.mark.parametrize("kind", ["stm", "cycle", "stcn", "xmem"])
    @pytest.mark.parametrize("shape", [(33, 50), (32, 48), (47, 33)])
    def test_published_weights_give_masks_at_the_size_of_any_frame(
        self, kind: str, shape: tuple[int, int], files: dict[str, str]
    ) -> None:
        tracker = Tracker(predictor=self.load(files[kind], size=32, gc_every=2, gc_iters=1))
        random = np.random.default_rng(0)
        mask = np.zeros(shape, np.uint8)
        mask[4:20, 4:12], mask[8:28, 16:30] = 1, 2
        labels = tracker.step(random.integers(0, 256, (*shape, 3), np.uint8), mask)
        assert (labels == mask).all()
        for _ in range(2):
            labels = tracker.step(random.integers(0, 256, (*shape, 3), np.uint8))
            assert labels.shape == shape
            soft = tracker.soft_masks()
            assert soft.shape == (3, *shape)
            np.testing.assert_allclose(soft.sum(axis=0), 1, atol=1e-4)

    @pytest.mark.parametrize("kind", ["stm", "cycle", "stcn", "xmem"])
    def test_published_weights_go_on_from_a_saved_track_bit_for_bit(
        self, kind: str, files: dict[str, str], tmp_path: Path
    ) -> None:
        random = np.random.default_rng(0)
        frames = random.integers(0, 256, (9, 33, 50, 3), np.uint8)
        mask = np.zeros((33, 50), np.uint8)
        mask[4:20, 4:12], mask[8:28, 16:30] = 1, 2
        options = {"size": 32, "memory_every": 2, "memory_frames": 3}
        first, second = (Tracker(predictor=self.load(files[kind], **options)) for _ in range(2))
        for index, rgb in enumerate(frames[:7]):
            first.step(rgb, mask if index == 0 else None)
        first.save(tmp_path / "track")
        second.load(tmp_path / "track", dict(enumerate(frames)))
        for rgb in frames[7:]:
            first.step(rgb)
            second.step(rgb)
            assert (first.soft_masks() == second.soft_masks()).all()


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("bf16", True)])
def test_float32_is_not_tf32(
    precision: str, allowed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.backends.cudnn.allow_tf32", True)
    save_checkpoint(path := tmp_path / "weights.safetensors", Stm(TINY), {})
    load_predictor(ModelOptions(weights=str(path), device="cpu", precision=precision))
    assert torch.backends.cudnn.allow_tf32 == allowed


@needs_int8
class TestInt8:
    @pytest.fixture
    def models(self, tmp_path: Path) -> tuple[Predictor, Predictor]:
        path = tmp_path / "weights.safetensors"
        save_checkpoint(path, Stm(TINY), {})
        exact, rounded = (
            load_predictor(ModelOptions(weights=str(path), device="cpu", precision=precision))
            for precision in ("fp32", "int8")
        )
        return exact, rounded

    def answer(self, model: Predictor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(1, 3, 64, 96, generator=generator)
        masks = torch.zeros(1, 3, 64, 96)
        masks[:, 0], masks[:, 1, 8:40, 8:40], masks[:, 2, 20:60, 50:90] = 1, 1, 1
        masks[:, 0] -= masks[:, 1] + masks[:, 2]
        with torch.no_grad():
            memory = model.segmenter.memorize(model.segmenter.encode(image), masks, None, True)
            answer: torch.Tensor = model.segmenter.segment(
                model.segmenter.encode(image.flip(3)), memory
            )
        return answer

    def test_gives_about_the_answers_of_float32(self, models: tuple[Predictor, Predictor]) -> None:
        exact, rounded = map(self.answer, models)
        assert rounded.dtype == torch.float32
        assert 0 < (rounded - exact).abs().max() < 0.1 * exact.abs().max()

    def test_appears_in_the_options_by_its_name(self, models: tuple[Predictor, Predictor]) -> None:
        assert [model.options["precision"] for model in models] == ["float32", "int8"]

    def test_answers_for_an_object_do_not_depend_on_the_others_of_its_chunk(
        self, models: tuple[Predictor, Predictor]
    ) -> None:
        _, rounded = models
        together, alone = (
            self.answer(replace(rounded, objects_at_once=count)) for count in (None, 1)
        )
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)

    def test_leaves_what_has_a_gradient_exact(self, models: tuple[Predictor, Predictor]) -> None:
        features = torch.rand(1, 256, 4, 6)
        for needs, same in ((True, True), (False, False)):
            exact, rounded = (
                cast(Stm, model.network).query_value(features.clone().requires_grad_(needs))
                for model in models
            )
            assert torch.equal(exact, rounded) == same


class TestCompile:
    """What is asked for is done or refused; `tests/model/test_compiled.py` has the rest."""

    @pytest.fixture(autouse=True)
    def uncompiled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch, "compile", lambda part, dynamic: partial(part))

    def test_a_compiled_network_says_so_and_gives_the_same_masks(
        self, files: dict[str, str]
    ) -> None:
        for file in files.values():
            plain, fast = (
                load_predictor(ModelOptions(weights=file, device="cpu", size=64, compile=compile))
                for compile in (False, True)
            )
            assert fast.options == {**plain.options, "compiled": True}
            assert isinstance(fast.network.encode, CompiledPart)
            found = [Tracker(predictor=each).step(*draw(0)) for each in (plain, fast)]
            assert (found[0] == found[1]).all()

    def test_limits_that_are_lowered_leave_it_compiled(self, files: dict[str, str]) -> None:
        fast = load_predictor(ModelOptions(weights=files["stm"], device="cpu", compile=True))
        lower = fast.within(replace(fast.limits, memory_frames=2))
        assert isinstance(lower.network.encode, CompiledPart)
        assert (memory_limit(fast.network), memory_limit(lower.network)) == (24, 2)

    def test_int8_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"^--compile --precision int8"):
            ModelOptions(precision="int8", compile=True)
