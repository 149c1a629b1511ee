from fractions import Fraction

import pytest

from vostool.media.clock import Clock

PERIOD = Fraction(1, 25)


def settle(stored: list[float | None], may_break: bool = False) -> tuple[list[float], list[str]]:
    """Return the times that a clock makes of stored ones, and its warnings."""
    clock = Clock(PERIOD, may_break)
    items = [(i, None if t is None else Fraction(t).limit_denominator(10**6)) for i, t in
             enumerate(stored)]  # fmt: skip
    read = list(clock.read(items))
    assert [index for index, _ in read] == list(range(len(stored)))
    return [round(float(time), 6) for _, time in read], list(clock.warnings())


@pytest.mark.parametrize(
    "times",
    [
        [0, 0.04, 0.08, 0.12],
        [-0.08, -0.04, 0.3, 7],
        [0, 0.04, 300, 300.04, 300.08],  # a pause
        [0, 30, 60, 90],  # slides
    ],
)
def test_times_that_rise_are_kept(times: list[float | None]) -> None:
    assert settle(times) == (times, [])


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ([None, None, None], [0, 0.04, 0.08]),
        ([1, None, None], [1, 1.04, 1.08]),
        ([None, 1, 1.04], [0.96, 1, 1.04]),
        ([0, 0.04, None, 0.12], [0, 0.04, 0.08, 0.12]),
        ([0, 0.02, None, 0.04], [0, 0.02, 0.03, 0.04]),
    ],
)
def test_a_missing_time_is_a_period_after_the_last_and_before_the_next(
    stored: list[float | None], expected: list[float]
) -> None:
    assert settle(stored) == (expected, [])


@pytest.mark.parametrize("wrong", [300, 0.2, -5, 0, 0.04])
def test_a_single_wrong_time_is_put_between_its_neighbours(wrong: float) -> None:
    times, warnings = settle([0, 0.04, wrong, 0.12, 0.16])
    assert times == [0, 0.04, 0.08, 0.12, 0.16]
    assert warnings == ["the time of frame 2 does not fit its neighbours'; put between them"]


def test_a_clock_that_goes_back_is_joined_on() -> None:
    times, warnings = settle([1.48, 1.52, 1.56, 1.48, 1.52, 1.56, 1.48, 1.52])
    assert times == [1.48, 1.52, 1.56, 1.6, 1.64, 1.68, 1.72, 1.76]
    assert warnings == [
        "its clock breaks off at frame 3 and 1 more; what follows is joined on without a gap"
    ]


def test_a_clock_that_stands_still_goes_on_by_periods() -> None:
    assert settle([5, 5, 5, 5])[0] == [5, 5.04, 5.08, 5.12]


def test_a_last_time_far_off_is_one_period_after_the_one_before() -> None:
    times, warnings = settle([0, 0.04, 0.08, 300])
    assert times == [0, 0.04, 0.08, 0.12]
    assert "breaks off at frame 3;" in warnings[0]


def test_a_clock_that_may_break_off_leaps_without_a_gap() -> None:
    stored: list[float | None] = [0, 0.04, 900, 900.04, 905]
    assert settle(stored, may_break=True)[0] == [0, 0.04, 0.08, 0.12, 5.08]


def test_a_leap_of_days_is_none_in_any_format() -> None:
    assert settle([0, 0.04, 10**6, 10**6 + 0.04])[0] == [0, 0.04, 0.08, 0.12]


def test_the_elapsed_time_counts_the_last_picture() -> None:
    clock = Clock(PERIOD)
    assert clock.elapsed == 0
    list(clock.read([("a", Fraction(3)), ("b", Fraction(4))]))
    assert clock.elapsed == 1 + PERIOD
