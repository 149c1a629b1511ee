from pathlib import Path

import numpy as np
import pytest

import vostool
from tests.conftest import ARRIVAL, HEIGHT, WIDTH, Footage, Picture, film
from vostool.errors import MaskError
from vostool.inference.given_mask import Mask
from vostool.inference.prompts import GivenMasks
from vostool.media.masks import write_mask
from vostool.media.video import probe


def only(labels: Picture, id_: int) -> Picture:
    return np.where(labels == id_, np.uint8(1), np.uint8(0))


@pytest.fixture
def two(tmp_path: Path) -> Footage:
    return film(tmp_path / "two.mp4", tmp_path / "two.png", two=True)


class TestMasksOfSingleObjects:
    def test_are_put_together(self, two: Footage, tmp_path: Path) -> None:
        truth = two.labels[ARRIVAL]
        write_mask(tmp_path / "one.png", only(truth, 1))
        white = only(truth, 2) * np.uint8(255)
        masks: dict[int, Mask] = {ARRIVAL: {1: tmp_path / "one.png", 2: white}}
        given = GivenMasks(masks, probe(two.path))
        assert (given.labels(ARRIVAL) == truth).all()
        assert given.ids == {ARRIVAL: (1, 2)}
        assert given.files == {tmp_path / "one.png"}
        assert given.warnings == []

    def test_that_overlap_are_reported_and_the_later_one_is_in_front(self, two: Footage) -> None:
        left, all_ = (np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(2))
        left[10:20, 10:20], all_[15:30, 5:30] = 1, 1
        given = GivenMasks({0: {3: left, 7: all_}}, probe(two.path))
        (warning,) = given.warnings
        assert warning == "mask of frame 0, object 7: object 7 covers 50 pixels of the others"
        assert (given.labels(0)[15:20, 10:20] == 7).all()

    def test_one_of_which_shows_several_are_refused(self, two: Footage) -> None:
        truth = two.labels[ARRIVAL]
        with pytest.raises(MaskError, match="object 4: expected object 4 alone, found 2 objects"):
            GivenMasks({0: {4: truth}}, probe(two.path))

    @pytest.mark.parametrize("id_", [0, 255, -1])
    def test_with_an_id_that_cannot_be_are_refused(self, two: Footage, id_: int) -> None:
        with pytest.raises(MaskError, match=f"object {id_}: expected an id from 1 to 254"):
            GivenMasks({0: {id_: two.labels[0]}}, probe(two.path))

    def test_that_are_empty_count_where_masks_are_compared(self, two: Footage) -> None:
        truth, empty = only(two.labels[ARRIVAL], 1), np.zeros((HEIGHT, WIDTH), np.uint8)
        info = probe(two.path)
        one, both, all_ = (
            GivenMasks({ARRIVAL: masks}, info).digests[ARRIVAL]
            for masks in ({1: truth}, {1: truth, 2: empty}, truth)
        )
        assert one == all_
        assert one != both

    def test_that_are_empty_say_it_of_their_object_alone(self, two: Footage) -> None:
        truth, empty = two.labels[ARRIVAL], np.zeros((HEIGHT, WIDTH), np.uint8)
        masks: dict[int, Mask] = {ARRIVAL: {1: only(truth, 1), 2: only(truth, 2)}, 5: {2: empty}}
        given = GivenMasks(masks, probe(two.path))
        assert given.warnings == []
        assert given.absent_at(5) == {2}
        assert given.absent_at(6) == set()

    def test_none_of_which_shows_an_object_are_reported(self, two: Footage) -> None:
        empty = np.zeros((HEIGHT, WIDTH), np.uint8)
        given = GivenMasks({0: {1: two.labels[0], 2: empty}}, probe(two.path))
        assert given.warnings == ["object 2: no mask shows it"]

    def test_that_are_all_empty_are_refused(self, two: Footage) -> None:
        empty = np.zeros((HEIGHT, WIDTH), np.uint8)
        with pytest.raises(MaskError, match="expected at least one object"):
            GivenMasks({0: {1: empty, 2: empty}}, probe(two.path))

    def test_are_taken_by_the_python_interface(self, two: Footage) -> None:
        truth = two.labels[ARRIVAL]
        masks = {ARRIVAL: {1: only(truth, 1), 2: only(truth, 2)}}
        found = vostool.follow(two.path, masks, start=ARRIVAL, device="cpu", size=64)
        first = next(iter(found))
        assert (first[1] == truth).all()


def test_a_mask_that_changes_on_the_way_is_refused(two: Footage, tmp_path: Path) -> None:
    given = GivenMasks({0: two.mask}, probe(two.path))
    write_mask(two.mask, two.labels[3])
    with pytest.raises(MaskError, match=r"two\.png: has changed since it was first read"):
        given.get(0)
