from pathlib import Path

import pytest
import torch

from tests.conftest import HEIGHT, ColourNetwork, Footage, film
from vostool.inference import states
from vostool.inference.predictor import Predictor
from vostool.model.stm import Stm
from vostool.propagation.correction import GradientCorrection
from vostool.propagation.references import References


@pytest.fixture
def states_of_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "INTERVAL", -1.0)
    monkeypatch.setattr(states, "SPACING", 2)


@pytest.fixture
def two(tmp_path: Path) -> Footage:
    """Two objects, one of which enters late."""
    return film(tmp_path / "two.mp4", tmp_path / "two.png", two=True)


@pytest.fixture
def predictor(network: Stm, weights: Path) -> Predictor:
    """A real network whose memory is full and which corrects within a few frames."""
    return Predictor(
        network.requires_grad_(False),
        weights,
        torch.device("cpu"),
        torch.float32,
        size=HEIGHT,
        references=References(every=2),
        memory_frames=3,
        correction=GradientCorrection(3, steps=1, length=0.05),
    )


@pytest.fixture
def by_colour(weights: Path) -> Predictor:
    device = torch.device("cpu")
    return Predictor(ColourNetwork().eval(), weights, device, torch.float32, size=HEIGHT)
