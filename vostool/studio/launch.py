"""The studio as a process: a port, a project that nobody else has open, and a server for it."""

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from vostool import defaults
from vostool.errors import UsageError
from vostool.files import remove
from vostool.files.claims import claimed
from vostool.media.video import probe
from vostool.model.weights import find_weights
from vostool.studio.guard import MAX_BODY, Guard
from vostool.studio.live import Live
from vostool.studio.painted import FOLDER
from vostool.studio.project import FILE, open_project
from vostool.studio.server import make_app
from vostool.studio.session import Session

HOST = "127.0.0.1"
GRACE = 2  # seconds for answers that are under way when the server ends


@dataclass
class Studio:
    """An open project and the server that shows it."""

    session: Session
    guard: Guard
    server: uvicorn.Server
    listener: socket.socket

    @property
    def url(self) -> str:
        """The address to open."""
        return self._url(self.guard.token)

    def _url(self, token: str) -> str:
        return f"http://{HOST}:{self.listener.getsockname()[1]}/?token={token}"

    def open_browser(self) -> None:
        """Open the page in the user's browser, if there is one."""
        if sys.platform == "linux" and not os.environ.keys() & {"DISPLAY", "WAYLAND_DISPLAY"}:
            return  # where it would be one in the terminal
        url = self._url(self.guard.once())
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    def run(self) -> None:
        """Serve until the user finishes; raises KeyboardInterrupt."""
        self.server.run(sockets=[self.listener])


@contextmanager
def opened_studio(
    path: Path, output: Path | None, changes: Mapping[str, Any], port: int = 0
) -> Iterator[Studio]:
    """Yield the studio of a video, or of a folder that one has written, at a port; 0: a free one.

    Raises InputError, OutputError, WeightsError or UsageError. A project in which nothing was done
    leaves no folder behind.
    """
    opened = open_project(path, output, changes)
    if opened.project.options.model == defaults.MODEL:
        find_weights(opened.project.options.weights)  # before the user paints for nothing
    info = probe(opened.video)
    with listening(port) as listener, claimed(opened.folder / FOLDER):
        live = Live()
        session = Session(opened, info, live.notify)
        try:
            yield studio_of(session, live, listener)
        finally:
            session.close()
            if not session.painted.places and not session.following.frames:
                remove(opened.folder / FILE)
    with suppress(OSError):  # something is in it
        opened.folder.rmdir()


def studio_of(session: Session, live: Live, listener: socket.socket) -> Studio:
    """Return the studio of a session that listens somewhere."""

    def finish() -> None:
        server.should_exit = True

    guard = Guard(make_app(session, live, finish), listener.getsockname()[1])
    server = uvicorn.Server(
        uvicorn.Config(
            guard,
            ws="websockets-sansio",
            ws_max_size=MAX_BODY,
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE,
        )
    )
    return Studio(session, guard, server, listener)


@contextmanager
def listening(port: int) -> Iterator[socket.socket]:
    """Yield a socket that listens at a port of this computer; raises UsageError."""
    with socket.socket() as listener:
        if os.name == "posix":  # elsewhere it would let two processes have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen()
        except OSError as error:
            raise UsageError(f"--port {port}: cannot be used: {error.strerror}") from error
        yield listener
