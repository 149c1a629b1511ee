"""`vostool studio` as a process: its streams, its exit codes, what it refuses."""

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, Footage, wait_for
from tests.test_cli import Call, vostool  # noqa: F401
from vostool.files.claims import claimed
from vostool.studio.launch import Studio, opened_studio


@contextmanager
def running(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command and yield it with the address that it prints."""
    command = [sys.executable, "-m", "vostool", "studio", *map(str, arguments), "--no-browser"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def browser() -> urllib.request.OpenerDirector:
    """Return what keeps cookies, as a browser does."""
    return urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))


def post(opener: urllib.request.OpenerDirector, url: str, path: str) -> None:
    origin = url.partition("/?")[0]
    request = urllib.request.Request(f"{origin}/{path}", b"", {"Origin": origin}, method="POST")
    with opener.open(request, timeout=PATIENCE) as answer:
        assert answer.status == 200


def paint(studio: Studio, video: Footage) -> None:
    """Paint the object of the first frame."""
    wait_for(lambda: studio.session.frames.count)
    studio.session.paint(0, video.labels[0])


def test_prints_the_address_alone_on_stdout_and_is_finished_from_the_page(
    video: Footage, tmp_path: Path
) -> None:
    with running(video.path, "-o", tmp_path / "out") as (process, url):
        assert url.startswith("http://127.0.0.1:")
        opener = browser()
        with opener.open(url, timeout=PATIENCE) as page:
            assert b"vostool studio" in page.read()
            assert "token" not in page.url
        with pytest.raises(urllib.error.HTTPError, match="401"):
            browser().open(url.partition("?")[0], timeout=PATIENCE)
        post(opener, url, "finish")
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (0, "")
    assert "open this address in a browser" in err
    assert not (tmp_path / "out").exists()  # nothing was done


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_one_line_that_says_how_to_go_on(
    video: Footage, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    out = tmp_path / "out"
    with opened_studio(video.path, out, {}) as studio:
        paint(studio, video)
    with running(out) as (process, url):
        assert url
        opener = browser()
        opener.open(url, timeout=PATIENCE).close()
        process.send_signal(number)
        text, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, text) == (code, "")
    assert err.splitlines()[-1] == (
        "vostool: interrupted: what was painted and followed is kept; "
        f"go on with: vostool studio {out}"
    )
    assert "Traceback" not in err
    assert (out / "given" / "1" / "00000.png").exists()


def test_a_signal_while_an_object_is_followed_keeps_what_is_done(
    video: Footage, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with opened_studio(video.path, out, {}) as studio:
        paint(studio, video)
    with running(out, "--size", 32) as (process, url):
        opener = browser()
        opener.open(url, timeout=PATIENCE).close()
        post(opener, url, "follow")
        wait_for(lambda: (out / "masks" / "00000.png").exists())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Traceback" not in err
    with opened_studio(out, None, {}) as studio:
        assert studio.session.valid == len(list((out / "masks").glob("*.png"))) > 0


class TestRefuses:
    def test_a_video_that_is_not_there(self, vostool: Call, tmp_path: Path) -> None:  # noqa: F811
        outcome = vostool("studio", "none.mp4", "-o", tmp_path / "out")
        assert (outcome.code, outcome.out) == (3, "")
        assert "none.mp4" in outcome.err
        assert not (tmp_path / "out").exists()

    def test_weights_that_are_not_there(
        self, vostool: Call, video: Footage, tmp_path: Path  # noqa: F811
    ) -> None:  # fmt: skip
        outcome = vostool("studio", video.path, "-o", tmp_path / "out", "--weights", "none")
        assert outcome.code == 6
        assert not (tmp_path / "out").exists()

    def test_a_port_that_is_taken(
        self, vostool: Call, video: Footage, tmp_path: Path  # noqa: F811
    ) -> None:  # fmt: skip
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            outcome = vostool("studio", video.path, "-o", tmp_path / "out", "--port", port)
        assert outcome.code == 2
        assert f"--port {port}: cannot be used: Address already in use" in outcome.err

    @pytest.mark.parametrize("name", ["run.json", "masks", "given", "overlay.mp4"])
    def test_a_folder_with_something_else_in_it(
        self, vostool: Call, video: Footage, tmp_path: Path, name: str  # noqa: F811
    ) -> None:  # fmt: skip
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / name).mkdir()
        outcome = vostool("studio", video.path, "-o", tmp_path / "out")
        assert outcome.code == 7
        assert "out: has something else in it; choose another -o" in outcome.err

    def test_a_project_that_is_open_already(
        self, vostool: Call, video: Footage, tmp_path: Path  # noqa: F811
    ) -> None:  # fmt: skip
        with opened_studio(video.path, tmp_path / "out", {}):
            outcome = vostool("studio", tmp_path / "out")
        assert outcome.code == 7
        assert "another vostool is at work in it" in outcome.err

    def test_a_project_of_another_video(
        self, vostool: Call, video: Footage, tmp_path: Path  # noqa: F811
    ) -> None:  # fmt: skip
        with opened_studio(video.path, tmp_path / "out", {}) as studio:
            paint(studio, video)
        other = tmp_path / "other.mp4"
        other.write_bytes(video.path.read_bytes())
        outcome = vostool("studio", other, "-o", tmp_path / "out")
        assert outcome.code == 7
        assert f"is a project of {video.path}; choose another -o" in outcome.err

    def test_a_project_that_cannot_be_read(
        self, vostool: Call, tmp_path: Path  # noqa: F811
    ) -> None:  # fmt: skip
        (tmp_path / "studio.json").write_text('{"video": 3}')
        outcome = vostool("studio", tmp_path)
        assert outcome.code == 3
        assert f"{tmp_path / 'studio.json'}: video: expected a valid string, found 3" in outcome.err

    def test_a_second_folder_for_a_project(
        self, vostool: Call, video: Footage, tmp_path: Path  # noqa: F811
    ) -> None:  # fmt: skip
        with opened_studio(video.path, tmp_path / "out", {}) as studio:
            paint(studio, video)
        outcome = vostool("studio", tmp_path / "out", "-o", tmp_path / "more")
        assert outcome.code == 2
        assert "is a project of its own; expected no -o" in outcome.err


def test_the_folder_of_a_project_is_free_for_the_command_line_while_nothing_runs(
    video: Footage, tmp_path: Path
) -> None:
    with opened_studio(video.path, tmp_path / "out", {}), claimed(tmp_path / "out"):
        pass
