import pytest

from tests.evaluate.making import InlineExecutor


@pytest.fixture
def scored_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score in this process: to start others takes longer than to score a toy."""
    monkeypatch.setattr("vostool.evaluate.scoring.ProcessPoolExecutor", InlineExecutor)
