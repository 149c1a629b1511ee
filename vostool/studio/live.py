"""The state of a session, sent to its pages whenever it changes."""

import asyncio
import json
from contextlib import suppress

from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from vostool.studio.runs import encode_runs
from vostool.studio.session import Session
from vostool.studio.view import state_of

PAUSE = 0.05  # seconds between two messages to a page


class Live:
    """Wakes those who send a session's state to its pages."""

    def __init__(self) -> None:
        """Wake nobody, before there is a server."""
        self._waiting: set[asyncio.Event] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def notify(self) -> None:
        """Wake all; may be called by any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # it is closed: the server has ended
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def serve(self, socket: WebSocket, session: Session) -> None:
        """Send the state to a page whenever it changes, and the labels of the latest frame.

        Nothing is queued: a page that is slow is sent the state as it is by then, which has all
        results that there are, and misses only labels in between, which it can ask for.
        """
        self._loop = asyncio.get_running_loop()
        await socket.accept()
        event = asyncio.Event()
        event.set()
        self._waiting.add(event)
        sending = asyncio.create_task(_send(socket, session, event))
        leaving = asyncio.create_task(_leave(socket))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not leaving.done():
                sending.result()  # an internal error closes the socket, and is reported
        finally:
            self._waiting.discard(event)
            sending.cancel()
            leaving.cancel()


async def _leave(socket: WebSocket) -> None:
    """Wait until the page leaves; it has nothing to say here."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _send(socket: WebSocket, session: Session, event: asyncio.Event) -> None:
    shown = None
    while True:
        await event.wait()
        event.clear()
        try:
            await socket.send_text(json.dumps(state_of(session)))
            latest = session.following.latest
            if latest is not None and latest is not shown and session.run is not None:
                shown = latest
                runs = await run_in_threadpool(encode_runs, latest[1])
                await socket.send_bytes(latest[0].to_bytes(4, "little") + runs)
        except WebSocketDisconnect:
            return
        await asyncio.sleep(PAUSE)
