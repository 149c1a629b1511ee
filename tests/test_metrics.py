import numpy as np
import pytest

from vostool.metrics import jaccard

NOTHING = np.zeros((4, 6), bool)


def box(left: int, right: int) -> np.ndarray:
    mask = NOTHING.copy()
    mask[1:3, left:right] = True
    return mask


def test_region_similarity_is_intersection_over_union() -> None:
    assert jaccard(box(0, 4), box(2, 6)) == pytest.approx(4 / 12)
    assert jaccard(box(0, 4), box(1, 3)) == pytest.approx(4 / 8)


def test_region_similarity_is_1_for_the_truth_and_0_for_what_lies_elsewhere() -> None:
    assert jaccard(box(0, 3), box(0, 3)) == 1
    assert jaccard(box(0, 3), box(3, 6)) == 0


def test_region_similarity_does_not_mind_which_is_which() -> None:
    assert jaccard(box(0, 4), box(1, 6)) == jaccard(box(1, 6), box(0, 4))


def test_nothing_found_where_nothing_is_is_right() -> None:
    assert jaccard(NOTHING, NOTHING) == 1
    assert jaccard(NOTHING, box(0, 1)) == jaccard(box(0, 1), NOTHING) == 0
