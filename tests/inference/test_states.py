"""How often a state is written, by its size."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from vostool.inference import states
from vostool.inference.absence import NOWHERE
from vostool.inference.saved_track import Snapshot
from vostool.inference.states import States


def states_with(size: int, folder: Path) -> States:
    """Return the states of a run that has written one of so many bytes of memory."""
    video = folder / "video.mp4"
    video.write_bytes(b"video")
    snapshot = Snapshot((), {"m": torch.zeros(size, dtype=torch.uint8)}, {})
    tracker: Any = SimpleNamespace(lowered=[], snapshot=lambda: snapshot)
    given: Any = SimpleNamespace(digests={}, absence=NOWHERE, cuts=None)
    found = States(folder, video, 0, given)
    found.writing(tracker, 1)()
    return found


def test_a_state_of_many_bytes_is_written_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr(states, "RATE", 1000)
    light, heavy = (states_with(size, tmp_path) for size in (0, 7000))
    for seconds, expected in ((2.9, (False, False)), (3.1, (True, False)), (10.1, (True, True))):
        now = 100.0 + seconds
        assert (light.due(1), heavy.due(1)) == expected
    now = 100.0
    assert heavy.due(states.SPACING)


@pytest.mark.parametrize("fewest", [1, 4])
def test_there_is_room_for_a_few_states_however_large(
    fewest: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "BOUND", 1000)
    monkeypatch.setattr(states, "FEWEST", fewest)
    monkeypatch.setattr(states, "SPACING", 2)
    found = states_with(0, tmp_path)
    place = found.place
    for path in place.iterdir():
        path.unlink()
    for number in range(2, 18, 2):
        (place / f"{number:05d}.safetensors").write_bytes(bytes(600))
        found._thin()
    assert found.size <= max(1000, fewest * 600)
    assert len(list(place.iterdir())) == fewest
