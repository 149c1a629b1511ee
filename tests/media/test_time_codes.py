from fractions import Fraction
from pathlib import Path

import pytest
from PIL import Image

from tests.media.making import make_video, picture
from vostool.errors import InputError, UsageError
from vostool.media.time_codes import TimeCode, frame_number, frame_numbers, parse_position
from vostool.media.video import read_frames, read_times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0:12.5", Fraction(25, 2)),
        ("0:00", 0),
        ("90:05", 5405),
        ("1:02:03", 3723),
        ("00:01:02.033", 62 + Fraction(33, 1000)),
    ],
)
def test_a_time_code_is_minutes_and_seconds_after_hours_if_there_are(
    text: str, seconds: Fraction
) -> None:
    position = parse_position("--frame", text)
    assert position == TimeCode(text)
    assert isinstance(position, TimeCode)
    assert position.seconds == seconds


def test_a_whole_number_is_the_number_of_a_frame() -> None:
    assert parse_position("--frame", "120") == 120


@pytest.mark.parametrize(
    "text",
    ["", "-1", "1.5", "12:", ":12", "0:1:2:3", "0:60", "1:60:00", "0:-5", "x", "0:1e3", "٣", "0:٣"],
)
def test_what_is_neither_a_number_nor_a_time_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--frame"):
        parse_position("--frame", text)


@pytest.mark.parametrize("text", ["9" * 30, "9" * 30 + ":00"])
def test_a_number_of_too_many_digits_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--frame"):
        parse_position("--frame", text)


@pytest.mark.parametrize(
    ("text", "number"),
    [("0:00", 0), ("0:00.2", 5), ("0:00.239", 5), ("0:00.24", 6), ("0:00.28", 7), ("0:00.319", 7)],
)
def test_a_time_code_names_the_frame_that_is_shown_then(
    text: str, number: int, tmp_path: Path
) -> None:
    video = make_video(tmp_path / "video.mp4")
    assert frame_number(TimeCode(text), video) == number


def test_a_frame_that_is_shown_for_long_is_found_by_any_moment_of_it(tmp_path: Path) -> None:
    times = [Fraction(n, 10) for n in (0, 1, 2, 12, 13)]
    video = make_video(tmp_path / "vfr.mkv", count=5, times=times)
    codes = {TimeCode(text): n for text, n in [("0:00.2", 2), ("0:00.9", 2), ("0:01.2", 3)]}
    assert frame_numbers(list(codes), video) == codes


def test_times_count_from_the_first_frame(tmp_path: Path) -> None:
    times = [Fraction(10) + Fraction(n, 25) for n in range(5)]
    video = make_video(tmp_path / "late.mkv", count=5, times=times)
    assert next(read_frames(video)).time == 10
    assert frame_number(TimeCode("0:00.08"), video) == 2


def test_a_time_as_a_player_shows_it_is_that_of_its_frame(tmp_path: Path) -> None:
    times = [Fraction(n, 30) for n in range(8)]
    video = make_video(tmp_path / "thirds.mp4", times=times)
    shown = [f"0:{int(1000 * time) / 1000:06.3f}" for time in times]
    assert shown[1] == "0:00.033"  # a third of a millisecond before the frame
    assert [frame_number(TimeCode(text), video) for text in shown] == list(range(8))


def test_a_time_after_the_end_is_the_number_after_the_last_frame(tmp_path: Path) -> None:
    video = make_video(tmp_path / "video.mp4")
    codes = [TimeCode("0:00.32"), TimeCode("9:00"), TimeCode("0:00")]
    assert frame_numbers(codes, video) == dict(zip(codes, [8, 8, 0], strict=True))


def test_a_folder_has_25_frames_a_second(tmp_path: Path) -> None:
    for index in range(4):
        Image.fromarray(picture(index)).save(tmp_path / f"{index}.png")
    assert frame_number(TimeCode("0:00.1"), tmp_path) == 2


def test_a_number_is_taken_without_opening_the_video(tmp_path: Path) -> None:
    assert frame_number(7, tmp_path / "missing.mp4") == 7
    assert frame_numbers([], tmp_path / "missing.mp4") == {}
    with pytest.raises(InputError, match="missing"):
        frame_number(TimeCode("0:00"), tmp_path / "missing.mp4")


def test_the_times_alone_are_those_of_the_frames(tmp_path: Path) -> None:
    times = [Fraction(n * n, 50) for n in range(6)]
    video = make_video(tmp_path / "vfr.mkv", count=6, times=times)
    assert list(read_times(video)) == [frame.time for frame in read_frames(video)]
