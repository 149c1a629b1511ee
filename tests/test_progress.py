import io
import logging
import time
from collections.abc import Iterator

import pytest
from rich.console import Console

from vostool.progress import SECONDS, show_progress


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("vostool.progress.time.perf_counter", clock)
    return clock


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Take the place of a person's terminal."""
    screen = io.StringIO()
    monkeypatch.setattr(
        "vostool.progress.make_console",
        lambda: Console(file=screen, force_terminal=True, width=100, color_system=None),
    )
    yield screen


def test_without_a_terminal_it_says_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with show_progress("clip.mp4", quiet=False) as report:
        for done in range(1, 31):
            clock.now += 1.0
            report(done, 30, "")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"clip.mp4: {done} of 30 frames, 1.0/s, 0:00:{30 - done:02d} left"
        for done in range(1, 31)
        if done % SECONDS == 0
    ]


def test_the_number_of_all_frames_is_left_out_where_it_is_unknown(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with show_progress("clip.mp4", quiet=False) as report:
        report(0, None, "")
        clock.now += 2 * SECONDS
        report(8, None, "")
    assert capsys.readouterr().err == "clip.mp4: 8 frames, 0.4/s\n"


def test_a_short_run_without_a_terminal_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("clip.mp4", quiet=False) as report:
        report(1, 2, "")
        report(2, 2, "")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar(
    terminal: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    with show_progress("clip.mp4 on cpu", quiet=False) as report:
        time.sleep(0.001)
        report(3, 8, "")
    assert "clip.mp4 on cpu" in terminal.getvalue()
    assert "3/8" in terminal.getvalue()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["[red]x[/red].mp4", "[/x]", ":smile:.mp4", "[link=a]b"])
def test_a_progress_bar_shows_names_as_they_are(terminal: io.StringIO, name: str) -> None:
    with show_progress(name, quiet=False) as report:
        report(1, 2, f"frame of {name}")
    assert name in terminal.getvalue()
    assert f"frame of {name}" in terminal.getvalue()


def test_quiet_is_quiet(terminal: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress("clip.mp4", quiet=True) as report:
        report(3, 8, "")
    assert terminal.getvalue() == ""
    assert capsys.readouterr() == ("", "")


def test_more_than_was_expected_takes_no_time_before_now(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with show_progress("clip.mp4", quiet=False) as report:
        report(0, 28, "")
        clock.now += SECONDS
        report(30, 28, "")
    assert capsys.readouterr().err == "clip.mp4: 30 of 28 frames, 3.0/s, 0:00:00 left\n"


def test_the_next_video_of_several_has_a_speed_of_its_own(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with show_progress("jobs.csv", quiet=False) as report:
        for start in range(2):
            report(1, 21, f"video {start}")
            clock.now += SECONDS
            report(11, 21, f"video {start}")
    line = "jobs.csv: {} of 21 frames, {}/s{}  video {}"
    assert capsys.readouterr().err.splitlines() == [
        line.format(11, "1.0", ", 0:00:10 left", 0),
        line.format(11, "1.0", ", 0:00:10 left", 1),
    ]


def test_the_unit_and_some_words_may_be_given(
    capsys: pytest.CaptureFixture[str], clock: Clock
) -> None:
    with show_progress("run", quiet=False, unit="steps") as report:
        report(1000, 2000, "")
        clock.now += SECONDS
        report(1050, 2000, "loss 0.5")
    assert capsys.readouterr().err == "run: 1050 of 2000 steps, 5.0/s, 0:03:10 left  loss 0.5\n"


@pytest.mark.parametrize("quiet", [False, True])
def test_errors_pass_through(terminal: io.StringIO, quiet: bool) -> None:
    with pytest.raises(KeyboardInterrupt), show_progress("clip.mp4", quiet):
        raise KeyboardInterrupt


class TestTheLog:
    def test_is_told_beside_the_progress(self, capsys: pytest.CaptureFixture[str]) -> None:
        with show_progress("clip.mp4", quiet=False):
            logging.getLogger("vostool.inference.predictor").warning("frame %d: less", 7)
            logging.getLogger("vostool.inference.predictor").info("nobody asked")
        assert logging.getLogger("vostool").handlers == []
        assert capsys.readouterr() == ("", "frame 7: less\n")

    def test_is_told_above_the_bar(self, terminal: io.StringIO) -> None:
        with show_progress("clip.mp4", quiet=False) as report:
            report(1, 2, "")
            logging.getLogger("vostool.inference.predictor").warning("frame 7: less")
            report(2, 2, "")
        lines = terminal.getvalue().splitlines()
        assert any(line.rstrip().endswith("frame 7: less") for line in lines)

    def test_is_not_told_if_nothing_is_to_be_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        with show_progress("clip.mp4", quiet=True):
            logging.getLogger("vostool.inference.predictor").warning("frame 7: less")
        assert capsys.readouterr() == ("", "")
