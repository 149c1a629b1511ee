"""Who may talk to the studio: nobody but the page that the user opened.

The server listens on this computer only, but other users of it, and every page that a browser
shows, can reach that address too. So each request must

- name this computer in its Host header (a page of another host whose name resolves to 127.0.0.1
  does not),
- bring the cookie, which is set in exchange for the token of the URL that was printed,
- if it changes something or opens a websocket, come from a page of this very server by its
  Origin,
- have a body of a bounded length.

This is plain ASGI: Starlette's BaseHTTPMiddleware does not see websockets.
"""

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
SAFE = frozenset({"GET", "HEAD"})
MAX_BODY = 2**24  # bytes
REFUSED = 1008  # the websocket code for a violation of policy

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets through to an application what `vostool.studio.guard` says."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        """Guard an application that is served at a port."""
        self.app = app
        self.token = secrets.token_urlsafe(32)
        self._once: set[str] = set()  # tokens of which each opens the page a single time
        self._cookie = f"vostool-{port}"  # browsers share cookies between ports
        self._secret = secrets.token_urlsafe(32)

    def once(self) -> str:
        """Return a token that opens the page a single time.

        It is for a browser's command line, which other users of the computer can see.
        """
        token = secrets.token_urlsafe(32)
        self._once.add(token)
        return token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":  # of the server itself
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["type"] == "websocket":
            if self._refusal(headers, changes=True) is None:
                await self.app(scope, receive, send)
            else:  # before it is accepted, which the browser sees as 403
                await send({"type": "websocket.close", "code": REFUSED})
        else:
            response = self._answer(scope, headers)
            app = self.app if response is None else response
            await app(scope, bounded(receive), with_headers(send))

    def _answer(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the answer to a request that is not passed on."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["path"] == "/" and "token" in query:
            return self._enter(query["token"][0], headers)
        refusal = self._refusal(headers, changes=scope["method"] not in SAFE)
        if refusal is not None:
            return refusal
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return PlainTextResponse(f"expected at most {MAX_BODY} bytes", 413)
        return None

    def _enter(self, token: str, headers: Headers) -> Response:
        """Exchange a token for the cookie, and take it out of the address bar."""
        if not is_local(headers):
            return wrong_host()
        if token in self._once:
            self._once.remove(token)
        elif not same(token, self.token):
            return no_cookie()
        response = RedirectResponse("/", 303)
        response.set_cookie(self._cookie, self._secret, httponly=True, samesite="strict")
        return response

    def _refusal(self, headers: Headers, changes: bool) -> Response | None:
        """Return why a request is refused, if it is."""
        if not is_local(headers):
            return wrong_host()
        if not same(self._cookie_in(headers), self._secret):
            return no_cookie()
        if changes and headers.get("origin") != f"http://{headers['host']}":
            return PlainTextResponse("expected a request of this server's own page", 403)
        return None

    def _cookie_in(self, headers: Headers) -> str:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return cookie.value if cookie else ""


def same(one: str, other: str) -> bool:
    """Return whether two texts are the same, in a time that does not say where they differ."""
    return secrets.compare_digest(one.encode(), other.encode())


def is_local(headers: Headers) -> bool:
    """Return whether a request names this computer, at whatever port: that of a tunnel, perhaps."""
    try:
        return len(headers.getlist("host")) == 1 and (
            urlsplit(f"//{headers['host']}").hostname in LOCAL
        )
    except ValueError:
        return False


def wrong_host() -> Response:
    """Return the answer to a request with another Host."""
    return PlainTextResponse("expected the host 127.0.0.1 or localhost", 421)


def no_cookie() -> Response:
    """Return the answer to a request of somebody unknown."""
    return PlainTextResponse("open the URL that vostool studio has printed", 401)


def bounded(receive: Receive) -> Receive:
    """Return a function that receives a body, but none of more than `MAX_BODY` bytes.

    One without a length, in chunks, is cut there as if its sender had left.
    """
    received = 0

    async def receive_some() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        return {"type": "http.disconnect"} if received > MAX_BODY else message

    return receive_some


def with_headers(send: Send) -> Send:
    """Return a function that sends an answer with `HEADERS`."""

    async def send_more(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return send_more
