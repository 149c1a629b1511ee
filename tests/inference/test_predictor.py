from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY
from vostool.inference.options import ModelOptions
from vostool.inference.predictor import Predictor, load_predictor
from vostool.model.checkpoint import save_checkpoint
from vostool.model.stm import Stm


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
