"""A headless Firefox for tests of pages, driven by WebDriver BiDi over a socket: Debian has no geckodriver."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SECONDS = 60
"""The most that an answer may take."""


class Firefox:
    """A browser with one page.

    Args:
        socket: to the browser.

    Attributes:
        messages: what the page's scripts have complained of.
    """

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.messages: list[str] = []
        self.ask("session.new", capabilities={})
        self.ask("session.subscribe", events=["log.entryAdded"])
        self.context = self.ask("browsingContext.getTree")["contexts"][0]["context"]
        self.ask("browsingContext.setViewport", context=self.context, viewport={"width": 1400, "height": 1000})

    def ask(self, method: str, **parameters: Any) -> Any:
        """Return the result of a command."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("method") == "log.entryAdded":
                self.messages.append(f"{answer['params']['level']} {answer['params']['text']}")
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                return answer["result"]

    def get(self, address: str) -> None:
        """Open a page."""
        self.ask("browsingContext.navigate", context=self.context, url=address, wait="complete")

    def execute_script(self, script: str) -> Any:
        """Return what the body of a function returns, as JSON has it."""
        expression = f"JSON.stringify((() => {{ {script} }})() ?? null)"
        target = {"context": self.context}
        found = self.ask("script.evaluate", expression=expression, target=target, awaitPromise=False)
        assert found["type"] == "success", found
        return json.loads(found["result"]["value"])

    def type(self, selector: str, text: str) -> None:
        """Put the focus on an element and press the keys of a text."""
        self.execute_script(f"document.querySelector({json.dumps(selector)}).focus()")
        keys = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self.ask("input.performActions", context=self.context, actions=[{"type": "key", "id": "keys", "actions": keys}])

    def drag(self, points: list[tuple[int, int]]) -> None:
        """Press the mouse's button at the first point of the window and let go at the last."""
        moves = [{"type": "pointerMove", "x": x, "y": y, "duration": 50} for x, y in points]
        actions = [moves[0], {"type": "pointerDown", "button": 0}, *moves[1:], {"type": "pointerUp", "button": 0}]
        self.ask(
            "input.performActions",
            context=self.context,
            actions=[{"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": actions}],
        )


@contextmanager
def firefox(profile: Path) -> Iterator[Firefox]:
    """Start Firefox with an empty profile; skip the tests where it or a package lacks."""
    websocket = pytest.importorskip("websocket", reason="selenium is not installed (pip install 'lab[test]')")
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        pytest.skip("no Firefox (Debian's package firefox-esr)")
    command = [program, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port=0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            mark = "WebDriver BiDi listening on "
            address = next((line.partition(mark)[2].strip() for line in process.stderr if mark in line), None)
            assert address is not None, "Firefox has ended without saying where it listens"
            socket = websocket.create_connection(f"{address}/session", timeout=SECONDS, suppress_origin=True)
            yield Firefox(socket)
            socket.close()
        finally:
            process.terminate()
