"""Who gets through the guard, and who does not: each way in with one thing wrong at a time."""

import asyncio
from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from vostool.studio.guard import HEADERS, MAX_BODY, Guard

PORT = 4711
HOST = f"127.0.0.1:{PORT}"
URL = f"http://{HOST}"
LIVE = f"ws://{HOST}/live"
ORIGIN = {"origin": URL}
CHANGING = ("POST", "PUT", "PATCH", "DELETE")


async def length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def greet(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("hello")
    await socket.close()


@pytest.fixture
def guard() -> Guard:
    routes = [
        Route("/", length, methods=["GET", *CHANGING]),
        Route("/a", length, methods=["GET", *CHANGING]),
        WebSocketRoute("/live", greet),
    ]
    return Guard(Starlette(routes=routes), PORT)


def client_of(guard: Guard, host: str = HOST) -> TestClient:
    return TestClient(guard, base_url=f"http://{host}", follow_redirects=False)


@pytest.fixture
def stranger(guard: Guard) -> Iterator[TestClient]:
    with client_of(guard) as client:
        yield client


@pytest.fixture
def known(guard: Guard) -> Iterator[TestClient]:
    """A browser that has opened the printed address."""
    with client_of(guard) as client:
        client.get("/", params={"token": guard.token})
        yield client


class TestTheToken:
    def test_is_exchanged_for_a_cookie_and_taken_out_of_the_address(
        self, guard: Guard, stranger: TestClient
    ) -> None:
        answer = stranger.get("/", params={"token": guard.token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"vostool-{PORT}=")
        assert guard.token not in cookie
        assert {"HttpOnly", "SameSite=strict"} <= set(cookie.split("; "))
        assert stranger.get("/a").status_code == 200

    @pytest.mark.parametrize("token", ["", "wrong", "é"])
    def test_that_is_wrong_opens_nothing(self, stranger: TestClient, token: str) -> None:
        answer = stranger.get("/", params={"token": token})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers

    def test_for_the_browsers_command_line_opens_the_page_once(
        self, guard: Guard, stranger: TestClient
    ) -> None:
        token = guard.once()
        assert stranger.get("/", params={"token": token}).status_code == 303
        assert client_of(guard).get("/", params={"token": token}).status_code == 401

    def test_does_not_open_the_page_under_another_host(self, guard: Guard) -> None:
        answer = client_of(guard, "evil.example").get("/", params={"token": guard.token})
        assert answer.status_code == 421
        assert "set-cookie" not in answer.headers

    @pytest.mark.parametrize("query", [b"token=\xff\xfe", b"token=a&token=b;\xc3", b"&&==&token"])
    def test_in_a_query_that_is_no_text_opens_nothing(self, guard: Guard, query: bytes) -> None:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request"}

        scope = {"type": "http", "method": "GET", "path": "/", "query_string": query}
        headers = [(b"host", HOST.encode())]
        asyncio.run(guard({**scope, "headers": headers}, receive, send))
        assert sent[0]["status"] == 401

    def test_is_no_cookie(self, guard: Guard, stranger: TestClient) -> None:
        stranger.cookies.set(f"vostool-{PORT}", guard.token)
        assert stranger.get("/a").status_code == 401


class TestARequest:
    def test_of_the_page_gets_through(self, known: TestClient) -> None:
        assert known.get("/a").status_code == 200
        for method in CHANGING:
            assert known.request(method, "/a", headers=ORIGIN).status_code == 200

    @pytest.mark.parametrize("path", ["/", "/a", "/none", "/static/studio.js"])
    @pytest.mark.parametrize("method", ["GET", *CHANGING])
    def test_without_a_cookie_is_refused(
        self, stranger: TestClient, method: str, path: str
    ) -> None:
        assert stranger.request(method, path, headers=ORIGIN).status_code == 401

    @pytest.mark.parametrize(
        "cookie", ["", "=", ";;", "vostool-4711", "vostool-4711=", "vostool-4711=no", "\x01=é"]
    )
    def test_with_a_wrong_cookie_is_refused(self, stranger: TestClient, cookie: str) -> None:
        headers = {b"cookie": cookie.encode("latin-1")}
        assert stranger.get("/a", headers=headers).status_code == 401

    @pytest.mark.parametrize("host", [f"127.0.0.1:{PORT}", "localhost:8000", "localhost", "[::1]"])
    def test_through_a_tunnel_gets_through(self, known: TestClient, host: str) -> None:
        headers = {"host": host, "origin": f"http://{host}"}
        assert known.post("/a", headers=headers).status_code == 200

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:4711",
            "127.0.0.1.evil.example",
            "localhost.",
            "",
            "[",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_with_another_host_is_refused(self, known: TestClient, host: str, method: str) -> None:
        headers = {"host": host, "origin": f"http://{host}"}
        assert known.request(method, "/a", headers=headers).status_code == 421

    @pytest.mark.parametrize(
        "origin",
        [None, "null", "http://evil.example", "http://127.0.0.1:1", f"https://{HOST}", "", HOST],
    )
    @pytest.mark.parametrize("method", CHANGING)
    def test_that_changes_something_from_another_origin_is_refused(
        self, known: TestClient, origin: str | None, method: str
    ) -> None:
        headers = {} if origin is None else {"origin": origin}
        assert known.request(method, "/a", headers=headers).status_code == 403

    def test_has_a_body_of_a_bounded_length(self, known: TestClient) -> None:
        assert known.put("/a", content=bytes(MAX_BODY), headers=ORIGIN).text == str(MAX_BODY)
        answer = known.put("/a", content=bytes(MAX_BODY + 1), headers=ORIGIN)
        assert answer.status_code == 413

    @pytest.mark.parametrize("claimed", ["-1", "1e3", "many"])
    def test_whose_length_is_no_number_is_refused(self, known: TestClient, claimed: str) -> None:
        headers = {**ORIGIN, "content-length": claimed}
        assert known.put("/a", content=b"a", headers=headers).status_code == 413


@pytest.mark.parametrize("path", ["/", "/a", "/none"])
@pytest.mark.parametrize("is_known", [True, False])
def test_every_answer_has_the_headers_that_shut_others_out(
    guard: Guard, path: str, is_known: bool
) -> None:
    client = client_of(guard)
    if is_known:
        client.get("/", params={"token": guard.token})
    answer = client.get(path)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert not any(name.startswith("access-control") for name in answer.headers)


class TestTheWebsocket:
    def test_of_the_page_is_opened(self, known: TestClient) -> None:
        with known.websocket_connect(LIVE, headers=ORIGIN) as socket:
            assert socket.receive_text() == "hello"

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": "http://evil.example", "host": "evil.example"},
        ],
    )
    def test_of_another_page_is_refused(self, known: TestClient, headers: dict[str, str]) -> None:
        with pytest.raises(WebSocketDisconnect), known.websocket_connect(LIVE, headers=headers):
            pass

    def test_without_a_cookie_is_refused(self, stranger: TestClient) -> None:
        with (
            pytest.raises(WebSocketDisconnect),
            stranger.websocket_connect(LIVE, headers=ORIGIN),
        ):
            pass
