from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import HEIGHT, WIDTH, segmented
from vostool.errors import UsageError
from vostool.media.frame import Frame
from vostool.segment.finish import Finish

Labels = NDArray[np.uint8]


def finished(labels: Labels, text: str) -> tuple[Labels, NDArray[np.float32]]:
    """Return labels and the soft mask of all objects, finished."""
    frame = Frame(0, Fraction(0), np.zeros((*labels.shape, 3), np.uint8), "00000")
    found = Finish.parse(text)(segmented(frame, labels))
    assert found.soft is not None
    return found.labels, found.soft.of_all()


@pytest.fixture
def labels() -> Labels:
    """Object 1 with a hole and a speck, object 2 beside it."""
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    labels[9:39, 6:30] = 1
    labels[18:27, 12:21] = 0
    labels[42:48, 51:57] = 1
    labels[9:39, 30:45] = 2
    return labels


class TestFinish:
    def test_is_nothing_by_default(self, labels: Labels) -> None:
        assert (finished(labels, "")[0] == labels).all()

    def test_grows_into_the_background_but_not_into_other_objects(self, labels: Labels) -> None:
        found, soft = finished(labels, "grow=3")
        assert (found[labels > 0] == labels[labels > 0]).all()
        assert found[20, 3] == 1
        assert found[20, 2] == 0
        assert found[20, 47] == 2
        assert soft[24, 3] > 0.5 > soft[24, 0]

    def test_shrinks(self, labels: Labels) -> None:
        found, soft = finished(labels, "grow=-3")
        assert found[34, 8] == 0
        assert found[34, 9] == 1
        assert soft[30, 6] < 0.5 < soft[30, 12]

    def test_fills_holes_and_keeps_the_largest_part(self, labels: Labels) -> None:
        found, soft = finished(labels, "fill,largest")
        assert (found[18:27, 12:21] == 1).all()
        assert not found[42:, 51:].any()
        assert soft[22, 16] == 1
        assert soft[42:, 51:].max() == 0
        assert (found == 2).sum() == (labels == 2).sum()

    def test_is_done_in_the_order_given(self, labels: Labels) -> None:
        grown_first, _ = finished(labels, "grow=5,grow=-5")
        shrunk_first, _ = finished(labels, "grow=-5,grow=5")
        assert grown_first[22, 16] == 1, "the hole was closed"
        assert shrunk_first[22, 16] == 0

    def test_of_one_object_leaves_the_others(self, labels: Labels) -> None:
        found, _ = finished(labels, "2:grow=3,1:largest")
        assert (found == 2).sum() > (labels == 2).sum()
        assert not found[42:, 51:].any()
        assert (found[9:39, 6:30] == labels[9:39, 6:30]).all()

    def test_feathers_soft_masks_alone(self, labels: Labels) -> None:
        found, soft = finished(labels, "feather=4")
        assert (found == labels).all()
        _, plain = finished(labels, "")
        assert np.abs(np.diff(soft[30])).max() < np.abs(np.diff(plain[30])).max()

    def test_smooths_outlines(self, labels: Labels) -> None:
        rough = labels.copy()
        rough[8, 10:40:4] = 1
        found, soft = finished(rough, "smooth=3")
        assert not found[8, 10:28].any()
        assert abs(int((found > 0).sum()) - int((labels > 0).sum())) < 0.1 * (labels > 0).sum()
        assert 0 <= soft.min() <= soft.max() <= 1

    def test_leaves_labels_that_are_finished_already(self, labels: Labels) -> None:
        frame = Frame(0, Fraction(0), np.zeros((*labels.shape, 3), np.uint8), "00000")
        finish = Finish.parse("grow=2")
        once = finish(segmented(frame, labels))
        assert (finish(once).labels == once.labels).all()

    @pytest.mark.parametrize(
        "text",
        ["grow", "fill=2", "shrink=2", "grow=", "grow=x", "grow=nan", "grow=1e9", "feather=-1",
         "0:grow=2", "300:fill", "x:fill", ",", "fill,,fill", "grow=2;fill"],
    )  # fmt: skip
    def test_that_is_not_valid_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError, match="finish: "):
            Finish.parse(text)
