from pathlib import Path

import numpy as np
import pytest

import vostool
from tests.conftest import ARRIVAL, FRAMES, HEIGHT, WIDTH, ColourNetwork, Footage, film
from vostool.errors import MaskError, UsageError
from vostool.inference.absence import Absence, joined, parse_absent
from vostool.inference.prompts import GivenMasks
from vostool.media.video import probe, read_frames


@pytest.fixture
def two(tmp_path: Path) -> Footage:
    return film(tmp_path / "two.mp4", tmp_path / "two.png", two=True)


@pytest.fixture(autouse=True)
def network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "vostool.inference.loading.load_checkpoint", lambda *_: ColourNetwork().eval()
    )


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("2:120-180", {2: ((120, 180),)}),
        (" 2:120-180 ", {2: ((120, 180),)}),
        ("2:120-", {2: ((120, None),)}),
        ("2:120", {2: ((120, 120),)}),
    ],
)
def test_a_stretch_is_read_as_it_is_typed(
    spec: str, expected: dict[int, tuple[tuple[int, int | None], ...]]
) -> None:
    assert parse_absent([spec]).stretches == expected


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "expected ID:FROM-TO"),
        ("120-180", "expected ID:FROM-TO"),
        ("2:-180", "expected ID:FROM-TO"),
        ("2:120:180", "expected ID:FROM-TO"),
        ("2:1 - 3", "expected ID:FROM-TO"),
        (f"2:{'9' * 30}", "expected ID:FROM-TO"),
        ("2:180-120", r"--absent 2:180-120: expected the first frame, and after it the last"),
        ("0:1-2", "--absent 0:1-2: expected an id from 1 to 254"),
    ],
)
def test_what_is_no_stretch_is_a_usage_error(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_absent([spec])


def test_stretches_that_overlap_or_touch_are_one() -> None:
    assert joined([(7, 9), (1, 3), (2, 5), (6, 6)]) == ((1, 9),)
    assert joined([(1, 3), (5, None), (9, 12)]) == ((1, 3), (5, None))


def test_an_object_is_absent_from_the_first_to_the_last_frame_of_its_stretch() -> None:
    absence = Absence.of({1: [(2, 4)], 3: [(4, None)]})
    found = [absence.at(frame) for frame in range(6)]
    assert found == [set(), set(), {1}, {1}, {1, 3}, {3}]


def test_what_comes_later_does_not_count_before_it() -> None:
    absence = Absence.of({1: [(2, 4), (6, None)], 3: [(9, 10)]})
    assert absence.until(2) == {}
    assert absence.until(4) == {1: [(2, 3)]}
    assert absence.until(8) == {1: [(2, 4), (6, 7)]}


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        ({2: [(0, 3)]}, r"--absent 2:0-3: the mask of frame 3 \(.*\) shows object 2"),
        ({9: [(4, None)]}, "--absent 9:4-: no mask shows object 9, they show 1, 2"),
    ],
)
def test_an_object_that_is_shown_there_or_nowhere_cannot_be_absent(
    two: Footage, absent: dict[int, list[tuple[int, int | None]]], words: str
) -> None:
    masks = {ARRIVAL: two.labels[ARRIVAL]}
    with pytest.raises(UsageError, match=words):
        GivenMasks(masks, probe(two.path), absence=Absence.of(absent))


def test_an_absent_object_has_no_pixel_there_and_all_of_them_after_it(
    two: Footage, weights: Path
) -> None:
    found = vostool.follow(
        two.path,
        {0: two.mask, ARRIVAL: two.labels[ARRIVAL]},
        absent={1: [(4, 5)], 2: [(5, 5), (6, 6)]},
        weights=str(weights),
        device="cpu",
        size=HEIGHT,
    )
    ids = [set(np.unique(labels)) for _, labels in found]
    assert ids == [{0, 1}] * 3 + [{0, 1, 2}, {0, 2}, {0}, {0, 1}, {0, 1, 2}]


def test_a_tracker_takes_absent_objects_and_refuses_a_mask_that_shows_one(
    two: Footage, weights: Path
) -> None:
    tracker = vostool.Tracker(weights=str(weights), device="cpu", size=HEIGHT)
    frames = [frame.rgb for frame in read_frames(two.path)]
    tracker.step(frames[0], two.mask)
    assert not tracker.step(frames[1], absent=[1]).any()
    assert tracker.step(frames[2]).any()
    with pytest.raises(MaskError, match="mask of frame 3: shows object 1, said to be absent"):
        tracker.step(frames[3], two.labels[3], absent=[1])
    assert tracker.frames == FRAMES - 5


def test_a_black_mask_says_that_every_object_is_absent_on_its_frame(two: Footage) -> None:
    masks = {0: two.labels[0], 3: two.labels[ARRIVAL], 5: np.zeros((HEIGHT, WIDTH), np.uint8)}
    given = GivenMasks(masks, probe(two.path), absence=Absence.of({1: [(6, 6)]}))
    assert [set(given.absent_at(frame)) for frame in (4, 5, 6)] == [set(), {1, 2}, {1}]
