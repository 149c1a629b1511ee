"""The studio as a web application: the page's files, frames, masks, and what the page asks for.

Endpoints that are no coroutines are run in threads. Answers are JSON but for pictures and runs;
an error is `{"error": message}`. Of what the page sends only frame numbers, ids and shapes are
used, never a path.
"""

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from vostool.errors import InputError, MaskError, OutputError, UsageError, VostoolError
from vostool.studio.live import Live
from vostool.studio.painted import Step
from vostool.studio.requests import Box, Name, Object, Options, Outputs, Polygon, read
from vostool.studio.runner import Busy
from vostool.studio.runs import decode_runs, encode_runs
from vostool.studio.session import Session
from vostool.studio.view import choices_of, state_of

STATIC = files("vostool.studio") / "static"
KINDS = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}
STATUS = ((Busy, 409), (UsageError, 400), (MaskError, 422), (InputError, 404), (OutputError, 507))


def make_app(session: Session, live: Live, finish: Callable[[], None]) -> Starlette:
    """Return the application of a session; `finish` ends the server."""
    api = Api(session, finish)

    async def updates(socket: WebSocket) -> None:
        await live.serve(socket, session)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/static/{name}", static),
            WebSocketRoute("/live", updates),
            *api.routes(),
        ],
        exception_handlers={
            VostoolError: refuse,
            HTTPException: refuse_http,
            ClientDisconnect: ignore_disconnect,
        },
    )


class Api:
    """The requests of the page to a session."""

    def __init__(self, session: Session, finish: Callable[[], None]) -> None:
        """Answer for a session."""
        self.session, self.finish = session, finish

    def routes(self) -> list[Route]:
        """Return the routes."""
        frame = "/frames/{frame:int}"
        return [
            Route("/state", self.state),
            Route("/choices", self.choices),
            Route(frame, self.picture),
            Route(f"{frame}/labels", self.labels),
            Route(f"{frame}/labels", self.paint, methods=["PUT"]),
            Route(f"{frame}/labels", self.clear, methods=["DELETE"]),
            Route(f"{frame}/polygon", self.polygon, methods=["POST"]),
            Route(f"{frame}/box", self.box, methods=["POST"]),
            Route(f"{frame}/snap", self.snap, methods=["POST"]),
            Route("/undo", self.undo, methods=["POST"]),
            Route("/redo", self.redo, methods=["POST"]),
            Route("/objects", self.add_object, methods=["POST"]),
            Route("/objects/{id:int}", self.rename, methods=["PUT"]),
            Route("/objects/{id:int}", self.remove, methods=["DELETE"]),
            Route("/options", self.choose, methods=["PUT"]),
            Route("/follow", self.follow, methods=["POST"]),
            Route("/stop", self.stop, methods=["POST"]),
            Route("/save", self.save, methods=["POST"]),
            Route("/finish", self.end, methods=["POST"]),
        ]

    def state(self, request: Request) -> Response:
        return JSONResponse(state_of(self.session))

    def choices(self, request: Request) -> Response:
        return JSONResponse(choices_of(self.session))

    def picture(self, request: Request) -> Response:
        picture = self.session.frames.jpeg(request.path_params["frame"])
        # now that the page shows something: importing PyTorch takes the processor for seconds
        warm_up = BackgroundTask(self.session.warm_up)
        return Response(picture, media_type="image/jpeg", background=warm_up)

    def labels(self, request: Request) -> Response:
        labels = self.session.labels(request.path_params["frame"])
        return Response(encode_runs(labels), media_type="application/octet-stream")

    async def paint(self, request: Request) -> Response:
        runs = await request.body()
        labels = await run_in_threadpool(decode_runs, runs, self.session.shape)
        return self._stepped(
            await run_in_threadpool(self.session.paint, request.path_params["frame"], labels)
        )

    def clear(self, request: Request) -> Response:
        return self._stepped(self.session.clear(request.path_params["frame"]))

    async def polygon(self, request: Request) -> Response:
        asked = await read(request, Polygon)
        return self._stepped(
            await run_in_threadpool(
                self.session.fill, request.path_params["frame"], asked.id, asked.points
            )
        )

    async def box(self, request: Request) -> Response:
        asked = await read(request, Box)
        return self._stepped(
            await run_in_threadpool(
                self.session.cut, request.path_params["frame"], asked.id, asked.box
            )
        )

    async def snap(self, request: Request) -> Response:
        asked = await read(request, Object)
        return self._stepped(
            await run_in_threadpool(self.session.snap, request.path_params["frame"], asked.id)
        )

    def undo(self, request: Request) -> Response:
        return self._stepped(self.session.undo())

    def redo(self, request: Request) -> Response:
        return self._stepped(self.session.redo())

    def add_object(self, request: Request) -> Response:
        return self._done(id=self.session.add_object())

    async def rename(self, request: Request) -> Response:
        asked = await read(request, Name)
        await run_in_threadpool(self.session.rename, request.path_params["id"], asked.name)
        return self._done()

    def remove(self, request: Request) -> Response:
        self.session.remove_object(request.path_params["id"])
        return self._done()

    async def choose(self, request: Request) -> Response:
        asked = await read(request, Options)
        if asked.weights not in choices_of(self.session)["weights"]:  # it might be a path
            raise UsageError(f"weights: expected a known name, found {asked.weights[:60]}")
        await run_in_threadpool(self.session.choose, **asked.model_dump())
        return self._done()

    def follow(self, request: Request) -> Response:
        self.session.follow()
        return self._done()

    def stop(self, request: Request) -> Response:
        self.session.stop()
        return self._done()

    async def save(self, request: Request) -> Response:
        asked = await read(request, Outputs)
        await run_in_threadpool(self.session.save, asked.outputs)
        return self._done()

    def end(self, request: Request) -> Response:
        if self.session.run is not None:
            raise Busy("something is being done: stop it first, or wait")
        self.finish()
        return self._done(paths=self.session.results.paths)

    def _stepped(self, step: Step | None) -> Response:
        return self._done(frame=None if step is None else step.first)

    def _done(self, **more: Any) -> Response:
        """Answer with the state, which the page then need not wait for."""
        return JSONResponse({**more, "state": state_of(self.session)})


def page(request: Request) -> Response:
    """Return the page."""
    return static_file("index.html")


def static(request: Request) -> Response:
    """Return one of the page's files."""
    return static_file(request.path_params["name"])


def static_file(name: str) -> Response:
    """Return a file of the page, of those that there are; raises HTTPException."""
    for path in STATIC.iterdir():
        if path.name == name and (kind := KINDS.get(f".{name.rpartition('.')[2]}")):
            return Response(path.read_bytes(), media_type=kind)
    raise HTTPException(404)


async def refuse(request: Request, error: Exception) -> Response:
    """Answer with an error of vostool."""
    status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
    return JSONResponse({"error": str(error)}, status)


async def refuse_http(request: Request, error: Exception) -> Response:
    """Answer a request for what there is not."""
    code = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"error": getattr(error, "detail", "")}, code)


async def ignore_disconnect(request: Request, error: Exception) -> Response:
    """Answer nobody: the page has left, or sent more than it may."""
    return JSONResponse({"error": "the request was broken off"}, 413)
