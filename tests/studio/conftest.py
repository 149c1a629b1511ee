"""A studio with a small network, on the scene of a square that crosses a dark ground."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import HEIGHT, Footage, film, wait_for
from vostool.files import make_folder
from vostool.inference import states
from vostool.media.labels import LabelMap
from vostool.media.masks import read_mask
from vostool.media.video import probe
from vostool.model.stm import Stm
from vostool.segment.report import REPORT
from vostool.studio.project import FILE, open_project
from vostool.studio.session import Session

Open = Callable[..., Session]


def finished(session: Session) -> Session:
    """Wait until a session does nothing, and return it."""
    wait_for(lambda: session.run is None)
    return session


def masks_in(folder: Path) -> list[LabelMap]:
    """Return the masks of a run, in order."""
    paths = sorted((folder / "masks").glob("*.png"))
    return [read_mask(path, allow_empty=True, strict=False) for path in paths]


def same(one: list[LabelMap], other: list[LabelMap]) -> bool:
    """Return whether two runs have the same masks."""
    return len(one) == len(other) and all(map(np.array_equal, one, other))


@pytest.fixture
def states_of_every_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "INTERVAL", -1.0)
    monkeypatch.setattr(states, "SPACING", 2)


@pytest.fixture
def options(network: Stm, weights: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """The options of a small network in the place of the shipped one."""
    monkeypatch.setattr(
        "vostool.inference.loading.load_checkpoint",
        lambda *_: network.requires_grad_(False),
    )
    return {"weights": str(weights), "device": "cpu", "size": HEIGHT}


@pytest.fixture
def two(tmp_path: Path) -> Footage:
    """Two squares, of which the second joins late."""
    return film(tmp_path / "two.mp4", tmp_path / "two.png", two=True)


@pytest.fixture
def open_session(tmp_path: Path, two: Footage, options: dict[str, object]) -> Iterator[Open]:
    """Open the project of the two squares, again too; calls `changed` with the session."""
    with ExitStack() as opened:

        def open_one(
            path: Path = two.path,
            changed: Callable[[Session], object] = lambda session: None,
            **changes: object,
        ) -> Session:
            is_folder = (path / FILE).exists() or (path / REPORT).exists()
            given = None if is_folder else tmp_path / "out"
            project = open_project(path, given, {**options, **changes})
            make_folder(project.folder)
            holder: list[Session] = []

            def notify() -> None:
                for each in holder:
                    changed(each)

            session = Session(project, probe(project.video), notify)
            holder.append(session)
            opened.callback(session.close)
            wait_for(lambda: session.frames.ended)
            return finished(session)

        yield open_one
