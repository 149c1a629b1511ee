"""The golden numbers are those of the official tool, davis2017-evaluation.

Region similarity and contour accuracy: davis2017/metrics.py of commit
30b698a691681588bbcfe0f2a7c7c680d49bb72d, run unchanged on the cases below with numpy 2.4,
OpenCV 5.0 and the disk of scikit-image 0.26. Mean, recall and decay: `db_statistics` of its
davis2017/utils.py (as copied unchanged in many repositories; the file itself was not at hand),
run with numpy 1.23, for which it was written.

Its quirk: frame numbers are cast to 8 bits, so beyond 256 frames the bins of the decay are
wrong or empty (and, since numpy 2 no longer widens the sum 255 + 1, at 256 frames too). Ours
follows the formula without the cast.
"""

import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from vostool.evaluate.metrics import _dilate, boundary_f, jaccard, score_frame, statistics

Mask = NDArray[np.bool_]
Pair = tuple[Mask, Mask]  # truth, predicted

NOTHING = np.zeros((4, 6), bool)
FRAME = (120, 214)  # boundaries match within 2 pixels


def box(left: int, right: int) -> Mask:
    mask = NOTHING.copy()
    mask[1:3, left:right] = True
    return mask


def area(top: int, bottom: int, left: int, right: int, frame: tuple[int, int] = FRAME) -> Mask:
    mask = np.zeros(frame, bool)
    mask[top:bottom, left:right] = True
    return mask


def empty(frame: tuple[int, int] = FRAME) -> Mask:
    return np.zeros(frame, bool)


def line(step_down: int, step_right: int, top: int, left: int, length: int = 60) -> Mask:
    mask = empty()
    steps = np.arange(length)
    mask[top + step_down * steps, left + step_right * steps] = True
    return mask


def blobs(seed: int, frame: tuple[int, int], shift: tuple[int, int] = (3, -2)) -> Pair:
    """Smooth random shapes, and the same ones displaced and with other edges."""
    random = np.random.RandomState(seed)  # its numbers never change
    y, x = np.mgrid[: frame[0], : frame[1]]
    waves = sum(
        np.cos(2 * np.pi * (a * y / frame[0] + b * x / frame[1] + c))
        for a, b, c in random.uniform(-4, 4, (6, 3))
    )
    truth = waves > 0.7
    return truth, np.roll(waves, shift, (0, 1)) > 0.9


def noise(seed: int, frame: tuple[int, int]) -> Pair:
    random = np.random.RandomState(seed)
    return random.uniform(size=frame) < 0.02, random.uniform(size=frame) < 0.05


def touching(index: int) -> Pair:
    """One of three objects side by side, whose borders are misplaced."""
    truth, predicted = np.zeros(FRAME, np.uint8), np.zeros(FRAME, np.uint8)
    for number, (true, found) in enumerate(((20, 20), (80, 85), (150, 141)), start=1):
        truth[30:90, true:] = number
        predicted[32:93, found:] = number
    return truth == index, predicted == index


CASES: dict[str, Callable[[], Pair]] = {
    "both empty": lambda: (empty(), empty()),
    "empty truth": lambda: (empty(), area(20, 50, 30, 80)),
    "empty prediction": lambda: (area(20, 50, 30, 80), empty()),
    "one pixel, found": lambda: (area(7, 8, 9, 10), area(7, 8, 9, 10)),
    "one pixel, 2 off": lambda: (area(7, 8, 9, 10), area(7, 8, 11, 12)),
    "one pixel, 3 off": lambda: (area(7, 8, 9, 10), area(7, 8, 12, 13)),
    "one pixel, 2 off both ways": lambda: (area(7, 8, 9, 10), area(9, 10, 11, 12)),
    "one pixel, 4 off": lambda: (area(7, 8, 9, 10), area(7, 8, 13, 14)),
    "one pixel at the origin": lambda: (area(0, 1, 0, 1), area(0, 2, 0, 3)),
    "one pixel in the last corner": lambda: (area(119, 120, 213, 214), area(118, 120, 212, 214)),
    "top border": lambda: (area(0, 30, 50, 90), area(0, 33, 47, 90)),
    "bottom border": lambda: (area(90, 120, 50, 90), area(94, 120, 52, 97)),
    "bottom border, one row": lambda: (area(119, 120, 50, 90), area(117, 120, 40, 90)),
    "left border": lambda: (area(40, 80, 0, 30), area(43, 84, 0, 31)),
    "right border": lambda: (area(40, 80, 190, 214), area(40, 78, 194, 214)),
    "right border, one column": lambda: (area(40, 80, 213, 214), area(30, 80, 211, 214)),
    "just off the right border": lambda: (area(40, 80, 190, 213), area(40, 80, 190, 214)),
    "bottom right corner": lambda: (area(100, 120, 180, 214), area(97, 120, 185, 214)),
    "top left corner": lambda: (area(0, 20, 0, 34), area(0, 25, 0, 31)),
    "horizontal line": lambda: (line(0, 1, 50, 40), line(0, 1, 53, 45)),
    "vertical line": lambda: (line(1, 0, 20, 40), line(1, 0, 25, 43)),
    "diagonal line": lambda: (line(1, 1, 20, 40), line(1, 1, 22, 45)),
    "crossed diagonals": lambda: (line(1, 1, 20, 40), line(1, -1, 20, 99)),
    "full frame, found": lambda: (~empty(), ~empty()),
    "full frame, all but a border": lambda: (~empty(), area(1, 119, 1, 213)),
    "full frame, nothing found": lambda: (~empty(), empty()),
    "full frame found in part": lambda: (area(10, 60, 10, 90), ~empty()),
    "all but the last corner": lambda: (~area(119, 120, 213, 214), ~area(118, 120, 213, 214)),
    "touching, first": lambda: touching(1),
    "touching, second": lambda: touching(2),
    "touching, third": lambda: touching(3),
    "far apart": lambda: (area(0, 10, 0, 10), area(100, 120, 200, 214)),
    "blobs": lambda: blobs(1, FRAME),
    "blobs, tiny frame": lambda: blobs(2, (17, 23), (1, 1)),
    "blobs, 480p": lambda: blobs(3, (480, 854), (9, 5)),
    "blobs, upright": lambda: blobs(4, (854, 480), (-4, 11)),
    "blobs, 1080p": lambda: blobs(5, (1080, 1920), (15, 21)),
    "blobs, diagonal of 500 pixels": lambda: blobs(6, (300, 400), (4, 3)),
    "noise": lambda: noise(7, FRAME),
    "noise, one row": lambda: noise(8, (1, 300)),
    "noise, one column": lambda: noise(9, (300, 1)),
    "noise, 480p": lambda: noise(10, (480, 854)),
    "one pixel wide frame": lambda: (np.ones((1, 1), bool), np.zeros((1, 1), bool)),
}

# region similarity and contour accuracy
GOLDEN: dict[str, tuple[float, float]] = {
    "both empty": (1, 1),
    "empty truth": (0, 0),
    "empty prediction": (0, 0),
    "one pixel, found": (1, 1),
    "one pixel, 2 off": (0, 1),
    "one pixel, 3 off": (0, 0.5),
    "one pixel, 2 off both ways": (0, 0.25),
    "one pixel, 4 off": (0, 0),
    "one pixel at the origin": (0.166666666667, 0.857142857143),
    "one pixel in the last corner": (0.25, 1),
    "top border": (0.845665961945, 0.309178743961),
    "bottom border": (0.71490593343, 0.321608040201),
    "bottom border, one row": (0.266666666667, 0.862342510499),
    "left border": (0.815576781778, 0.412949640288),
    "right border": (0.791666666667, 0.52380952381),
    "right border, one column": (0.266666666667, 0.862342510499),
    "just off the right border": (0.958333333333, 0.838709677419),
    "bottom right corner": (0.756192959583, 0.0925925925926),
    "top left corner": (0.74251497006, 0.0925925925926),
    "horizontal line": (0, 0.459016393443),
    "vertical line": (0, 0.459016393443),
    "diagonal line": (0, 0.640883977901),
    "crossed diagonals": (0, 0.060773480663),
    "full frame, found": (1, 1),
    "full frame, all but a border": (0.974143302181, 0),
    "full frame, nothing found": (0, 1),
    "full frame found in part": (0.155763239875, 0),
    "all but the last corner": (0.999961057674, 1),
    "touching, first": (0.851897184823, 0.507801833431),
    "touching, second": (0.74358974359, 0.271255060729),
    "touching, third": (0.810303427199, 0.342254303165),
    "far apart": (0, 0),
    "blobs": (0.72149098551, 0.469559718911),
    "blobs, tiny frame": (0.50643776824, 0.905319902236),
    "blobs, 480p": (0.787471382594, 0.52460050492),
    "blobs, upright": (0.6563936132, 0.408215632477),
    "blobs, 1080p": (0.733233892131, 0.580517619861),
    "blobs, diagonal of 500 pixels": (0.639983008959, 0.459628481096),
    "noise": (0.0206003531489, 0.48567969425),
    "noise, one row": (0.0357142857143, 0.15),
    "noise, one column": (0, 0.0909090909091),
    "noise, 480p": (0.0145215693236, 0.995275716392),
    "one pixel wide frame": (0, 1),
}

# frames: mean, recall, decay
STATISTICS: dict[int, tuple[float, float, float]] = {
    1: (0.929901420107, 1, 0),
    2: (0.894019564727, 1, 0.0717637107594),
    5: (0.6526997804, 0.8, 0.601888647892),
    17: (0.547119814209, 0.529411764706, 0.38175064691),
    100: (0.521057807979, 0.51, 0.0543006185777),
    256: (0.502357131318, 0.51171875, 0.0540451947728),
    300: (0.49951093857, 0.506666666667, math.nan),
}


def scores(count: int) -> list[float]:
    """A made-up course of scores, between 0 and 1."""
    return [0.5 + 0.45 * math.cos(0.7 * i * i / count + 0.3) - 0.0001 * i for i in range(count)]


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_the_official_tool(name: str) -> None:
    truth, predicted = CASES[name]()
    j, f = GOLDEN[name]
    assert jaccard(truth, predicted) == pytest.approx(j, abs=1e-9)
    assert boundary_f(truth, predicted) == pytest.approx(f, abs=1e-9)
    labels = [np.where(mask, np.uint8(7), np.uint8(2)) for mask in (truth, predicted)]
    assert score_frame(labels[0], labels[1], [7])[0] == pytest.approx((j, f), abs=1e-9)


@pytest.mark.parametrize("count", STATISTICS)
def test_mean_recall_and_decay_are_those_of_the_official_tool(count: int) -> None:
    found = statistics(scores(count))
    mean, recall, decay = STATISTICS[count]
    assert found.mean == pytest.approx(mean, abs=1e-9)
    assert found.recall == pytest.approx(recall, abs=1e-9)
    if count <= 256:
        assert found.decay == pytest.approx(decay, abs=1e-9)


def test_recall_counts_frames_above_one_half_alone() -> None:
    assert statistics([0.5, 0.5, 0.51, 0.9]).recall == 0.5


@pytest.mark.parametrize(
    ("values", "first", "last"),
    [
        ([0.8, 0.4, 0.1], [0.8, 0.4], [0.1]),  # ends at frames 1, 1.5, 2, 2.5, 3: halves go up
        ([0.7, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0], [0.7, 0.5, 0.4], [0.1, 0.0]),
        ([0.6], [0.6], [0.6]),
    ],
)
def test_decay_is_the_mean_of_the_first_quarter_less_that_of_the_last_with_their_border_frames(
    values: list[float], first: list[float], last: list[float]
) -> None:
    expected = sum(first) / len(first) - sum(last) / len(last)
    assert statistics(values).decay == pytest.approx(expected)


@pytest.mark.parametrize("radius", range(21))
def test_a_boundary_is_matched_within_a_disk_without_gaps(radius: int) -> None:
    side = 2 * radius + 3
    middle, stride = side // 2, side + radius
    disk = _dilate(1 << (middle * stride + middle), radius, stride)
    found = [[bool(disk >> (y * stride + x) & 1) for x in range(side)] for y in range(side)]
    y, x = np.mgrid[:side, :side] - middle
    np.testing.assert_array_equal(found, x * x + y * y <= radius * radius)


def test_decay_of_long_clips_follows_the_formula_where_the_official_tool_finds_none() -> None:
    values = scores(300)
    assert math.isnan(STATISTICS[300][2])
    # round(linspace(1, 300, 5)) is 1, 76, 150, 225, 300: frames 0 to 75 and 224 to 299
    expected = float(np.mean(values[:76]) - np.mean(values[224:]))
    assert statistics(values).decay == pytest.approx(expected, abs=1e-12)


def test_every_object_is_scored_alone_and_in_the_order_asked_for() -> None:
    truth, predicted = np.zeros(FRAME, np.uint8), np.zeros(FRAME, np.uint8)
    truth[10:40, 10:60], predicted[10:40, 10:60] = 1, 1
    truth[60:90, 100:200], predicted[80:110, 110:214] = 255, 255
    both = score_frame(truth, predicted, [255, 1, 9])
    assert both[1:] == [(1, 1), (1, 1)]  # 9 is nowhere
    assert both[0] == score_frame(truth, predicted, [255])[0]
    assert 0 < both[0][0] < 1 and 0 < both[0][1] < 1
    assert score_frame(truth, predicted, []) == []


def test_a_frame_is_scored_fast() -> None:
    pair = [mask.astype(np.uint8) for mask in blobs(3, (480, 854), (9, 5))]
    begin = time.process_time()
    for _ in range(10):
        score_frame(pair[0], pair[1], [1])
    assert time.process_time() - begin < 0.2  # 50 a second at worst; 1500 are usual


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
