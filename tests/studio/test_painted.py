from pathlib import Path

import numpy as np
import pytest

from vostool.errors import UsageError
from vostool.media.frame import frame_name
from vostool.media.labels import LabelMap
from vostool.media.mask_options import parse_object_masks
from vostool.studio.painted import MAX_STEPS, Painted

NOTHING = np.zeros((4, 6), np.uint8)


@pytest.fixture
def changed() -> list[int]:
    return []


@pytest.fixture
def painted(tmp_path: Path, changed: list[int]) -> Painted:
    return Painted(tmp_path / "given", frame_name, changed.append)


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
    again = Painted(painted.folder, frame_name, lambda frame: None)
    again.find(lambda name: int(name) if name.isdecimal() else None)
    assert again.places == {(4, 1)}
