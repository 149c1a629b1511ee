from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.conftest import HEIGHT, WIDTH, segmented
from vostool.inference.prompts import GivenMasks
from vostool.inference.soft import SoftMasks
from vostool.media.frame import Frame, VideoInfo
from vostool.preprocess import label_map, soft_masks
from vostool.propagation.frames import Prediction
from vostool.segment.writers import Source
from vostool.segment.writers.soft_store import SoftStore

SIZE = (HEIGHT, WIDTH)
INFO = VideoInfo(
    path=Path("film.mp4"),
    width=WIDTH,
    height=HEIGHT,
    frames=9,
    rate=Fraction(25),
    seconds=None,
    rotation=0,
    codec="h264",
    pixel_format="yuv420p",
    pixel_aspect=Fraction(1),
    has_audio=False,
)
CORNER = np.zeros(SIZE, np.uint8)
CORNER[:10, :10] = 4


@pytest.fixture
def given() -> GivenMasks:
    """Object 4 on frame 0; on frame 5 nothing is visible."""
    return GivenMasks({0: CORNER, 5: np.zeros(SIZE, np.uint8)}, INFO)


@pytest.fixture
def masks() -> Tensor:
    """Probabilities (1, 3, h, w) of the background and the objects 4 and 9."""
    torch.manual_seed(0)
    return (4 * torch.randn(1, 3, 16, 22)).softmax(dim=1)


def soft_of(masks: Tensor, given: GivenMasks, frame: int) -> SoftMasks:
    return SoftMasks.of_prediction(Prediction((4, 9), masks, None), SIZE, frame, given)


def test_soft_masks_are_the_enlarged_probabilities(masks: Tensor, given: GivenMasks) -> None:
    soft = soft_of(masks, given, frame=3)
    whole = soft_masks(masks, SIZE)
    assert np.abs(soft.of(4) - whole[1]).max() < 2e-5
    assert np.abs(soft.of(9) - whole[2]).max() < 2e-5
    assert np.abs(soft.of_all() - (1 - whole[0])).max() < 4e-5
    assert not soft.of(7).any(), "an object that is not there yet"


def test_the_most_probable_of_soft_masks_is_the_label(masks: Tensor, given: GivenMasks) -> None:
    soft = soft_of(masks, given, frame=3)
    stacked = np.stack([1 - soft.of_all(), soft.of(4), soft.of(9)])
    first, second = np.sort(stacked, axis=0)[::-1][:2]
    clear = first - second > 1e-3
    found = np.array([0, 4, 9])[stacked.argmax(axis=0)]
    assert (found[clear] == label_map(masks, (4, 9), SIZE)[clear]).all()


def test_an_object_that_is_given_is_exactly_as_given_and_hides_others(
    masks: Tensor, given: GivenMasks
) -> None:
    soft = soft_of(masks, given, frame=0)
    assert (soft.of(4) == (CORNER == 4)).all()
    assert not soft.of(9)[CORNER == 4].any()
    assert (soft.of_all()[CORNER == 4] == 1).all()
    assert np.abs(soft.of_all() - soft.of(9))[CORNER == 0].max() < 1e-6


@pytest.mark.parametrize("frame", [0, 3, 5])
def test_soft_masks_that_were_kept_are_the_same_when_they_are_read_again(
    frame: int, masks: Tensor, given: GivenMasks, tmp_path: Path
) -> None:
    soft = soft_of(masks, given, frame)
    name = f"{frame:05d}"
    shown = Frame(frame, Fraction(frame, 25), np.zeros((*SIZE, 3), np.uint8), name)
    store = SoftStore(tmp_path, Source(Path("film.mp4"), INFO))
    with store:
        store.begin()
        store.add(replace(segmented(shown, CORNER), soft=soft))
    found = store.read(frame, INFO, given)
    assert found.ids == soft.ids
    for one, other in ((found.of(4), soft.of(4)), (found.of_all(), soft.of_all())):
        assert (one == other).all()
