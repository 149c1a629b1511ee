from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.model.published.making import STCN, STM, STM_CYCLE, XMEM, State, export, small, write
from vostool.model.published.stcn import StcnSettings
from vostool.model.published.xmem import XmemSettings
from vostool.model.stm_settings import StmSettings

ALL: dict[str, StmSettings | StcnSettings | XmemSettings] = {
    "stm-training-code": STM,
    "stm-cycle": STM_CYCLE,
    "stcn": STCN,
    "xmem": XMEM,
}


@pytest.fixture(scope="session")
def states() -> dict[str, State]:
    """The weights of a small network of each kind, as its makers name them."""
    return {kind: export(small(settings)) for kind, settings in ALL.items()}


@pytest.fixture(scope="session")
def files(states: dict[str, State], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same as checkpoint files."""
    folder = tmp_path_factory.mktemp("published")
    return {kind: write(folder / f"{kind}.pth", state) for kind, state in states.items()}


@pytest.fixture
def changed(states: dict[str, State], tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the weights of STM with some changes; None: left out."""

    def make(kind: str = "stm-training-code", **changes: object) -> Path:
        state: dict[str, object] = {**states[kind]}
        for name, value in changes.items():
            state.pop(name, None)
            if value is not None:
                state[name] = value
        torch.save(state, tmp_path / "changed.pth")
        return tmp_path / "changed.pth"

    return make
