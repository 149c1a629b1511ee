import io
import json

import pytest
from rich.console import Console

from tests.conftest import PATIENCE
from vostool.cli.standing import show_standing
from vostool.progress import ProgressForm
from vostool.scale.scheduler import Running, Standing

RUNNING = (Running("[b]a.mp4", "w1", 30, 100, 12.5), Running("b.mp4", "w2", 5, None, 3.0))
MIDDLE = Standing(total=10, done=3, failed=1, running=RUNNING, seconds_left=90.4)
END = Standing(total=10, done=9, failed=1, running=(), seconds_left=0.0)


def test_json_lines_say_what_is_done_failed_and_running(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vostool.cli.standing.JSON_SECONDS", PATIENCE)
    with show_standing("t.csv", quiet=True, form=ProgressForm.JSON) as show:
        show(MIDDLE)
        show(MIDDLE)  # too soon
        show(END)
    out, err = capsys.readouterr()
    first, last = map(json.loads, err.splitlines())
    assert out == ""
    assert first["running"][0] == {
        "name": "[b]a.mp4",
        "worker": "w1",
        "done": 30,
        "total": 100,
        "per_second": 12.5,
    }
    names = ("title", "unit", "done", "failed", "total", "seconds_left")
    assert [first[name] for name in names] == ["t.csv", "videos", 3, 1, 10, 90.4]
    assert (last["done"], last["running"]) == (9, [])


def test_on_a_terminal_all_is_on_one_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr("vostool.cli.standing.make_console", lambda: terminal)
    monkeypatch.setattr("vostool.cli.standing.REFRESH", 0.0)
    with show_standing("t.csv", quiet=False) as show:
        show(MIDDLE)
        whole = screen.getvalue()
        show(END)
    assert "3 of 10 videos, 1 failed, 0:01:30 left" in whole
    assert "[b]a.mp4" in whole
    assert "30 of 100 frames, 12.5/s" in whole
    assert "5 of ? frames, 3.0/s" in whole
    last = screen.getvalue()[len(whole) :]
    assert "9 of 10 videos, 1 failed" in last
    assert "b.mp4" not in last


def test_elsewhere_there_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vostool.cli.standing.SECONDS", PATIENCE)
    with show_standing("t.csv", quiet=False) as show:
        show(MIDDLE)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("vostool.cli.standing.SECONDS", 0.0)
    many = tuple(Running(f"{number}.mp4", f"w{number}", 1, 2, 1.0) for number in range(10))
    with show_standing("t.csv", quiet=False) as show:
        show(MIDDLE)
        show(Standing(total=10, done=0, failed=0, running=many, seconds_left=None))
    first, second = capsys.readouterr().err.splitlines()
    assert first == ("t.csv: 3 of 10 videos, 1 failed, 0:01:30 left  [b]a.mp4 12.5/s, b.mp4 3.0/s")
    assert second.endswith("7.mp4 1.0/s and 2 more")


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with show_standing("t.csv", quiet=True) as show:
        show(MIDDLE)
    assert capsys.readouterr() == ("", "")
