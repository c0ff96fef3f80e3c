"""Serves a page on this machine and keeps it up to date while a sweep runs. No torch.

The server listens on 127.0.0.1 only, at a port that the system chooses. It answers GET for three addresses (the page,
its data, its events), and only if the request names it as its host: a page from elsewhere whose host name is made to
point to 127.0.0.1 (DNS rebinding) is refused, and so is a request that another site's script sends.
"""

from __future__ import annotations

import gzip
import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import FrameType
from typing import Any, Self

from lab.errors import LabError
from lab.report.html.page import Page
from lab.report.html.rendering import render, render_update
from lab.text import one_line

HOST = "127.0.0.1"
PAUSE = 1.0
"""Seconds between two looks at the files; more where a look takes long."""
_SHARE = 4
"""A look may take this share of the time: 1 / (1 + 4) of one processor at most."""
_KEEP_ALIVE = 15.0
_REFUSED = ("HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")


class LivePage:
    """A page that is made again when what it shows has changed.

    Args:
        build: reads everything and returns the page.

    Attributes:
        version: how often it has changed.

    Raises:
        LabError: the first page cannot be made.
    """

    def __init__(self, build: Callable[[], Page]) -> None:
        self._build = build
        self._changed = threading.Condition()
        self._shown: Any = None
        self.version = 0
        self.is_closed = False
        self._html, self._update = b"", b""
        self._said = ""
        self._look(build())

    def look(self) -> None:
        """Make the page again; one that cannot be made (a ledger that is being replaced) leaves the last one."""
        try:
            page = self._build()
        except (LabError, OSError) as error:
            if self._said != str(error):
                print(f"note: {one_line(error)}; the page stays as it was", flush=True)
            self._said = str(error)
        else:
            self._said = ""
            self._look(page)

    def _look(self, page: Page) -> None:
        update = render_update(page)
        shown = {**update, "data": {**update["data"], "made": ""}}
        if shown == self._shown:
            return
        html = render(page, live=True).encode()
        content = gzip.compress(json.dumps(update, allow_nan=False).encode(), 1)
        with self._changed:
            self._shown, self._html, self._update = shown, html, content
            self.version += 1
            self._changed.notify_all()

    def html(self) -> bytes:
        """Return the page."""
        with self._changed:
            return self._html

    def update(self) -> bytes:
        """Return its data and parts as JSON, compressed by gzip."""
        with self._changed:
            return self._update

    def wait(self, known: int, seconds: float) -> int:
        """Wait until the version is another one than the known one, and return it."""
        with self._changed:
            self._changed.wait_for(lambda: self.version != known or self.is_closed, seconds)
            return self.version

    def close(self) -> None:
        """Let those that wait go."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()


def start_server(page: LivePage) -> ThreadingHTTPServer:
    """Return a server for a page that listens already; ``serve_forever`` answers, in a thread for each request."""

    class Handler(_Handler):
        live = page

    server = _Server((HOST, 0), Handler)
    Handler.port = server.server_port
    return server


def serve(build: Callable[[], Page]) -> int:
    """Serve a page until Ctrl-C, and return the exit code.

    Args:
        build: reads everything and returns the page.

    Raises:
        LabError: the first page cannot be made.
    """
    page = LivePage(build)
    server = start_server(page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
    thread.start()
    try:
        with _EndSignal() as stop:
            print(f"report    http://{HOST}:{server.server_port}/ (Ctrl-C ends it)", flush=True)
            pause = PAUSE
            while not stop.wait(pause):
                begun = time.monotonic()
                page.look()
                pause = max(PAUSE, _SHARE * (time.monotonic() - begun))
            print(f"report    ended by {stop.name}", flush=True)
    finally:
        page.close()
        server.shutdown()
        server.server_close()
        thread.join()
    return 0


class _EndSignal:
    """Notes SIGINT and SIGTERM, and raises nothing: composing a config would swallow it. A second one raises."""

    def __init__(self) -> None:
        self.name = ""
        self._event = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows no handlers
            numbers = (signal.SIGINT, signal.SIGTERM)
            self._before = {number: signal.signal(number, self._note) for number in numbers}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.name:
            raise KeyboardInterrupt
        self.name = signal.Signals(number).name
        self._event.set()

    def wait(self, seconds: float) -> bool:
        return self._event.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what went wrong, unless a reader has closed the page in the middle of an answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    live: LivePage
    port: int
    protocol_version = "HTTP/1.1"
    server_version = "lab"
    sys_version = ""

    def do_GET(self) -> None:
        if not self._is_own():
            self._answer(HTTPStatus.FORBIDDEN, b"this server answers to its own address only\n", "text/plain")
        elif self.path == "/":
            self._answer(HTTPStatus.OK, self.live.html(), "text/html; charset=utf-8")
        elif self.path == "/update.json":
            self._answer(HTTPStatus.OK, self.live.update(), "application/json", encoding="gzip")
        elif self.path == "/events":
            self._send_events()
        else:
            self._answer(HTTPStatus.NOT_FOUND, b"there is only /\n", "text/plain")

    def _is_own(self) -> bool:
        """Whether the request comes from this page, or from nowhere, and names this server as its host."""
        own = (f"{HOST}:{self.port}", f"localhost:{self.port}")
        origin = self.headers.get("Origin")
        is_ours = self.headers.get_all("Host") in ([own[0]], [own[1]])
        return is_ours and (origin is None or origin in [f"http://{name}" for name in own])

    def _refuse(self) -> None:
        self.close_connection = True  # a body that it may have is not read
        self._answer(HTTPStatus.METHOD_NOT_ALLOWED, b"", "text/plain", allow="GET")

    def _answer(self, status: HTTPStatus, content: bytes, kind: str, encoding: str = "", allow: str = "") -> None:
        self.send_response(status)
        self._send_common(kind)
        self.send_header("Content-Length", str(len(content)))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        if allow:
            self.send_header("Allow", allow)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _send_common(self, kind: str) -> None:
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")

    def _send_events(self) -> None:
        """Tell of each change, as server-sent events, until the reader is gone or the server ends."""
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        self._send_common("text/event-stream")
        self.end_headers()
        known = -1  # what was made between the page and this request is told of at once
        while not self.live.is_closed:
            version = self.live.version
            self.wfile.write(b":\n\n" if known == version else f"event: changed\ndata: {version}\n\n".encode())
            known = version
            self.live.wait(known, _KEEP_ALIVE)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing for a request."""


for _method in _REFUSED:
    setattr(_Handler, f"do_{_method}", _Handler._refuse)
