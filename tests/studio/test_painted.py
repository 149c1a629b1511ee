from pathlib import Path

import numpy as np
import pytest

from vostool.errors import OutputError, UsageError
from vostool.media.labels import LabelMap
from vostool.media.mask_options import parse_object_masks
from vostool.media.masks import encode_mask
from vostool.studio.names import FrameNames
from vostool.studio.painted import MAX_STEPS, Painted

NOTHING = np.zeros((4, 6), np.uint8)
NUMBERS = FrameNames(Path("clip.mp4"))


@pytest.fixture
def changed() -> list[int]:
    return []


@pytest.fixture
def painted(tmp_path: Path, changed: list[int]) -> Painted:
    return Painted(tmp_path / "given", NUMBERS, changed.append)


def spot(*objects: int) -> LabelMap:
    """Return labels with a pixel of each object, one after another in the first row."""
    labels = NOTHING.copy()
    labels[0, : len(objects)] = objects
    return labels


def test_what_is_painted_is_a_file_for_each_object_that_segment_reads(painted: Painted) -> None:
    painted.paint(5, NOTHING, spot(1, 3))
    found = parse_object_masks([str(painted.folder)])
    assert found == {5: {1: painted.folder / "1/00005.png", 3: painted.folder / "3/00005.png"}}
    assert painted.files() == (
        f"5:1@{painted.folder}/1/00005.png",
        f"5:3@{painted.folder}/3/00005.png",
    )
    assert painted.files(end=5) == ()


def test_painted_objects_lie_over_a_result_and_the_others_stay(painted: Painted) -> None:
    result = spot(1, 2, 2)
    painted.paint(0, result, spot(1, 2, 0, 2))
    assert painted.places == {(0, 2)}
    assert np.array_equal(painted.over(0, spot(1, 1, 2, 1, 2)), spot(1, 2, 0, 2))


def test_an_object_taken_away_from_a_result_becomes_an_empty_mask(painted: Painted) -> None:
    painted.paint(0, spot(1, 2), spot(1))
    assert painted.places == {(0, 2)}
    assert np.array_equal(painted.over(0, spot(1, 2)), spot(1))


def test_an_object_taken_away_that_no_result_shows_leaves_no_file(painted: Painted) -> None:
    painted.paint(0, NOTHING, spot(1))
    painted.paint(0, NOTHING, NOTHING)
    assert painted.places == set()
    assert list(painted.folder.iterdir()) == []


def test_painting_what_is_there_already_is_no_step(painted: Painted) -> None:
    assert painted.paint(0, spot(1), spot(1)) is None
    assert painted.done == []


def test_undo_and_redo_go_back_and_forth_through_every_kind_of_step(painted: Painted) -> None:
    painted.paint(0, NOTHING, spot(1))
    painted.paint(0, NOTHING, spot(1, 2))
    painted.paint(3, NOTHING, spot(2))
    painted.forget(2)
    painted.clear(0)
    contents = []
    while painted.done:
        contents.append((painted.places.copy(), painted.over(0, NOTHING)))
        painted.undo()
    assert painted.places == set()
    for places, labels in reversed(contents):
        painted.redo()
        assert painted.places == places
        assert np.array_equal(painted.over(0, NOTHING), labels)


def test_a_new_step_makes_those_taken_back_unreachable(painted: Painted) -> None:
    painted.paint(0, NOTHING, spot(1))
    painted.undo()
    painted.paint(0, NOTHING, spot(2))
    with pytest.raises(UsageError, match="nothing to redo"):
        painted.redo()


def test_without_steps_there_is_nothing_to_undo(painted: Painted) -> None:
    with pytest.raises(UsageError, match="nothing to undo"):
        painted.undo()


def test_no_more_steps_than_a_bound_are_kept(painted: Painted) -> None:
    for number in range(MAX_STEPS + 3):
        painted.paint(0, NOTHING, spot(*[1] * (1 + number % 2)))
    assert len(painted.done) == MAX_STEPS


def test_a_change_is_announced_by_its_first_frame_before_it_is_made(
    painted: Painted, changed: list[int]
) -> None:
    painted.paint(4, NOTHING, spot(1))
    painted.paint(2, NOTHING, spot(1))
    painted.forget(1)
    painted.undo()
    assert changed == [4, 2, 2, 2]


def test_what_lies_in_the_folder_is_found_again_and_nothing_else(painted: Painted) -> None:
    painted.paint(4, NOTHING, spot(1))
    (painted.folder / "notes").mkdir()
    (painted.folder / "notes/00001.png").touch()
    (painted.folder / "1/mine.png").touch()
    (painted.folder / "1/4.png").touch()  # nor a second name of frame 4
    (painted.folder / "01").mkdir()
    (painted.folder / "01/00005.png").touch()
    again = Painted(painted.folder, NUMBERS, lambda frame: None)
    again.find()
    assert again.places == {(4, 1)}


def test_a_step_that_cannot_be_taken_back_stays_to_be_taken_back(
    painted: Painted, monkeypatch: pytest.MonkeyPatch
) -> None:
    painted.paint(0, NOTHING, spot(1))

    def fail(path: Path) -> None:
        raise OutputError(f"{path}: cannot be removed: No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("vostool.studio.painted.remove", fail)
        with pytest.raises(OutputError, match="cannot be removed"):
            painted.undo()
    painted.undo()
    assert painted.places == set()
    with monkeypatch.context() as patched:
        patched.setattr("vostool.studio.painted.write_bytes", lambda path, content: fail(path))
        with pytest.raises(OutputError, match="cannot be removed"):
            painted.redo()
    painted.redo()
    assert painted.places == {(0, 1)}


def test_a_mask_that_somebody_has_removed_can_be_painted_anew_or_forgotten(
    painted: Painted,
) -> None:
    painted.paint(0, NOTHING, spot(1))
    painted.path(0, 1).unlink()
    painted.clear(0)
    assert painted.places == set()


def test_masks_that_are_brought_along_are_no_step_and_change_nothing(
    painted: Painted, changed: list[int]
) -> None:
    painted.bring({(2, 1): encode_mask(spot(1))})
    assert np.array_equal(painted.over(2, NOTHING), spot(1))
    assert (painted.done, changed) == ([], [])
