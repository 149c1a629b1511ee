"""What the page asks of the server, and what it gets."""

import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.conftest import FRAMES, HEIGHT, PATIENCE, WIDTH, Footage
from tests.studio.conftest import Open, finished
from vostool.studio.guard import MAX_BODY
from vostool.studio.live import Live
from vostool.studio.runs import decode_runs, encode_runs
from vostool.studio.server import STATIC, make_app
from vostool.studio.session import Session

ROOT = Path(__file__).parents[2]
SHAPE = (HEIGHT, WIDTH)


@pytest.fixture
def live() -> Live:
    return Live()


@pytest.fixture
def session(open_session: Open, live: Live) -> Session:
    return open_session(changed=lambda session: live.notify())


@pytest.fixture
def ended() -> list[bool]:
    return []


@pytest.fixture
def client(session: Session, live: Live, ended: list[bool]) -> Iterator[TestClient]:
    with TestClient(make_app(session, live, lambda: ended.append(True))) as client:
        yield client


def test_frames_and_labels_are_found_by_number(client: TestClient, two: Footage) -> None:
    assert client.get("/frames/0").headers["content-type"] == "image/jpeg"
    answer = client.put("/frames/0/labels", content=encode_runs(two.labels[0]))
    assert answer.status_code == 200
    assert answer.json()["frame"] == 0
    assert answer.json()["state"]["marks"] == [{"frame": 0, "kind": "given", "ids": [1]}]
    runs = client.get("/frames/0/labels").content
    assert np.array_equal(decode_runs(runs, SHAPE), two.labels[0])


@pytest.mark.parametrize(
    ("method", "path", "body", "code", "words"),
    [
        ("GET", f"/frames/{FRAMES}", None, 404, "expected one of the 8 read so far"),
        ("GET", f"/frames/{FRAMES}/labels", None, 400, "expected 0 to 7"),
        ("GET", "/frames/-1", None, 404, "Not Found"),
        ("GET", "/frames/99999999999999999999999", None, 404, "read so far"),
        ("PUT", "/frames/0/labels", b"12345", 422, "pairs of 4-byte integers"),
        ("PUT", "/frames/99/labels", encode_runs(np.zeros(SHAPE, np.uint8)), 400, "0 to 7"),
        ("POST", "/frames/0/polygon", {"id": 1, "points": [[0, 0]]}, 400, "points"),
        ("POST", "/frames/0/polygon", {"id": 9, "points": [[0, 0]] * 3}, 422, "objects [1]"),
        ("POST", "/frames/0/polygon", {"id": 300, "points": [[0, 0]] * 3}, 422, "objects [1]"),
        ("POST", "/frames/0/polygon", {"id": 1, "points": [[1e9, 0]] * 3}, 400, "out of the frame"),
        ("POST", "/frames/0/polygon", {"id": 1, "points": [[0, "x"]] * 3}, 400, "points.0.1"),
        ("POST", "/frames/0/polygon", b'{"id": 1, "points": [[NaN, 0]]}', 400, ""),
        ("POST", "/frames/0/polygon", {"id": 1, "points": [[0, 0]] * 10_001}, 400, "points"),
        ("POST", "/frames/0/box", {"id": 1, "box": [90, 0, 5, 5]}, 422, "box in the frame"),
        ("POST", "/frames/0/box", {"id": 1, "box": [1, 2, 3]}, 400, "box"),
        ("POST", "/frames/0/snap", {"id": 1}, 422, "all is background"),
        ("POST", "/frames/0/snap", b"{", 400, "JSON"),
        ("POST", "/frames/0/snap", {"id": 1, "path": "/etc"}, 400, "path: unknown key"),
        ("POST", "/undo", None, 400, "nothing to undo"),
        ("POST", "/redo", None, 400, "nothing to redo"),
        ("PUT", "/objects/7", {"name": "x"}, 400, "object 7"),
        ("DELETE", "/objects/1", None, 400, "one of several"),
        ("POST", "/follow", None, 400, "paint an object first"),
        ("POST", "/save", {"outputs": []}, 400, "follow an object first"),
        (
            "PUT",
            "/options",
            {"size": 5, "gc_every": None, "weights": "default", "backward": False},
            400,
            "size",
        ),
        (
            "PUT",
            "/options",
            {"size": None, "gc_every": None, "weights": "/etc/passwd", "backward": False},
            400,
            "weights: expected a known name",
        ),
        ("GET", "/nothing", None, 404, "Not Found"),
        ("POST", "/frames/0", None, 405, "Method Not Allowed"),
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_the_reason(
    client: TestClient,
    method: str,
    path: str,
    body: bytes | dict[str, object] | None,
    code: int,
    words: str,
) -> None:
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    answer = client.request(method, path, content=content)
    assert answer.status_code == code
    assert words in answer.json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/static/../session.py",
        "/static/..%2fsession.py",
        "/static/%2e%2e%2fsession.py",
        "/static/..%5csession.py",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/",
        "/static/studio.js/..%2f..%2fserver.py",
    ],
)
def test_no_path_leads_out_of_the_pages_files(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_page_names_only_files_of_its_own(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for path in STATIC.iterdir():
        text = path.read_text()
        assert "https:" not in text
        assert text.replace("http://www.w3.org/2000/svg", "").count("http:") == 0
        assert client.get(f"/static/{path.name}").text == text
    assert " style=" not in page.text  # which the policy forbids
    assert "onclick" not in page.text


@pytest.mark.parametrize("path", sorted(STATIC.iterdir(), key=str), ids=lambda path: path.name)
def test_a_module_of_the_page_can_be_read_at_a_sitting(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert path.suffix == ".css" or len(lines) < 420


def test_the_websocket_brings_the_state_and_the_labels_that_are_followed(
    client: TestClient, session: Session, live: Live, two: Footage
) -> None:
    session.paint(0, two.labels[0])
    brought = threading.Event()

    def changed() -> None:
        live.notify()
        if session.run is not None and session.following.latest is not None:
            brought.wait(PATIENCE)  # else all might be followed before any labels are sent

    session.changed = changed
    with client.websocket_connect("/live") as socket:
        assert json.loads(socket.receive_text())["valid"] == 0
        assert client.post("/follow").status_code == 200
        state: dict[str, object] = {}
        labels: dict[int, bytes] = {}
        while state.get("run", True) or state["valid"] != FRAMES:
            message = socket.receive()
            if "text" in message:
                state = json.loads(message["text"])
            else:
                number = int.from_bytes(message["bytes"][:4], "little")
                labels[number] = message["bytes"][4:]
                brought.set()
    assert state["complete"] is True
    assert labels  # some may be dropped, but what comes is right
    for number, runs in labels.items():
        assert np.array_equal(decode_runs(runs, SHAPE), session.labels(number))


def test_an_internal_error_while_the_state_is_sent_closes_the_websocket(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(session: Session) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("vostool.studio.live.state_of", fail)
    with pytest.raises(RuntimeError, match="a bug"), client.websocket_connect("/live") as socket:
        socket.receive_text()


def test_the_network_is_loaded_once_the_page_shows_a_frame(
    client: TestClient, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[int] = []
    monkeypatch.setattr(session, "warm_up", lambda: loads.append(1))
    with client.websocket_connect("/live") as socket:
        socket.receive_text()
    client.get("/frames/0/labels")
    assert loads == []
    client.get("/frames/0")
    assert loads == [1]


def test_what_a_page_may_do_is_done_through_its_requests(
    client: TestClient, session: Session, two: Footage, ended: list[bool]
) -> None:
    assert client.post("/objects").json()["id"] == 2
    client.put("/objects/2", content=json.dumps({"name": "Tail"}))
    client.delete("/objects/1")
    square = [[3, 26], [19, 26], [19, 41], [3, 41]]
    answer = client.post("/frames/0/polygon", content=json.dumps({"id": 2, "points": square}))
    assert answer.json()["state"]["undo"] is True
    assert client.post("/undo").json()["frame"] == 0
    assert client.post("/redo").json()["state"]["marks"][0]["ids"] == [2]
    assert client.delete("/frames/0/labels").json()["state"]["marks"] == []
    client.post("/undo")
    chosen = {"size": 32, "gc_every": None, "weights": session.options.weights}
    chosen["backward"] = False
    assert client.put("/options", content=json.dumps(chosen)).status_code == 200
    client.post("/follow")
    finished(session)
    client.post("/save", content=json.dumps({"outputs": ["overlay"]}))
    finished(session)
    state = client.get("/state").json()
    assert [Path(path).name for path in state["saved"]] == ["masks", "overlay.mp4"]
    assert state["objects"] == [{"id": 2, "name": "Tail", "colour": [0, 128, 0]}]
    paths = client.post("/finish").json()["paths"]
    assert paths == state["saved"]
    assert ended == [True]


def test_a_body_that_grows_beyond_the_bound_without_a_length_is_broken_off(
    session: Session, live: Live
) -> None:
    from vostool.studio.guard import Guard

    guard = Guard(make_app(session, live, lambda: None), 80)

    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BODY // 2**20 + 1):
            yield bytes(2**20)

    with TestClient(guard, base_url="http://127.0.0.1") as client:
        client.get("/", params={"token": guard.token})
        answer = client.put(
            "/frames/0/labels", content=chunks(), headers={"origin": "http://127.0.0.1"}
        )
    assert answer.status_code == 413
    assert session.painted.places == set()


def test_the_wheel_holds_the_files_of_the_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"vostool/studio/static/{path.name}" for path in STATIC.iterdir()} <= names
