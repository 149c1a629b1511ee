"""What every segmenter owes the rest of the program, checked for all that we have."""

import pytest

from tests.conftest import ColourSegmenter, scene
from vostool.model.check import check_segmenter
from vostool.model.stm import Stm


@pytest.mark.parametrize("two", [False, True])
class TestTheContractHolds:
    def test_for_the_segmenter_by_colour(self, two: bool) -> None:
        images, masks = scene(two=two)
        check_segmenter(ColourSegmenter(), images[-2:], masks[-2])

    def test_for_the_network(self, network: Stm, two: bool) -> None:
        images, masks = scene(two=two)
        check_segmenter(network, images[-2:], masks[-2])
