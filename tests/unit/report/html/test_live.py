"""The server of a live page: what it answers, whom it refuses, and how it ends."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import RunError
from lab.report.html.live import LivePage, start_server
from lab.report.html.page import Entry, Page
from tests.reports import write_run

ROOT = Path(__file__).resolve().parents[4]


def page(state: str = "running") -> Page:
    return Page("rates", "runs", "now", [Entry("run-1", "run-1", Path("run-1"), state)])


class Server:
    """A server whose page a test changes."""

    def __init__(self) -> None:
        self.state = "running"
        self.error: RunError | None = None
        self.live = LivePage(self.build)
        self.server = start_server(self.live)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def build(self) -> Page:
        if self.error is not None:
            raise self.error
        return page(self.state)

    def ask(self, path: str = "/", method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request(method, path, headers=headers)
        return connection.getresponse()


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.live.close()
    found.server.shutdown()
    found.server.server_close()


def test_it_answers_the_page_and_its_data(server: Server) -> None:
    answer = server.ask()
    assert answer.status == 200
    assert answer.getheader("Content-Type") == "text/html; charset=utf-8"
    assert b"<h1" in answer.read()
    found = json.loads(gzip.decompress(server.ask("/update.json").read()))
    assert found["data"]["runs"][0]["name"] == "run-1"
    assert set(found["parts"]) == {"head", "failures", "differences", "detail"}
    assert server.ask("/etc/passwd").status == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
    ids=lambda headers: " ".join(f"{key}={value}" for key, value in headers.items()),
)
@pytest.mark.parametrize("path", ["/", "/update.json", "/events"])
def test_other_hosts_and_sites_are_refused(server: Server, headers: dict[str, str], path: str) -> None:
    answer = server.ask(path, **{key: value.format(port=server.port) for key, value in headers.items()})
    assert answer.status == 403
    assert b"run-1" not in answer.read()


def test_its_own_names_are_answered(server: Server) -> None:
    for name in ("127.0.0.1", "localhost"):
        own = f"{name}:{server.port}"
        assert server.ask(Host=own, Origin=f"http://{own}").status == 200
    assert server.server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(server: Server, method: str) -> None:
    answer = server.ask("/", method)
    assert (answer.status, answer.getheader("Allow")) == (405, "GET")


def test_a_change_is_told(server: Server) -> None:
    answer = server.ask("/events")
    assert answer.getheader("Content-Type") == "text/event-stream"
    assert [answer.readline() for _ in range(3)] == [b"event: changed\n", b"data: 1\n", b"\n"]
    server.live.look()  # nothing is new: nothing is told
    server.state = "finished"
    server.live.look()
    assert [answer.readline() for _ in range(3)] == [b"event: changed\n", b"data: 2\n", b"\n"]
    server.live.close()
    assert answer.readline() == b""


def test_a_page_that_cannot_be_made_again_stays(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    server.error = RunError("the ledger is damaged")
    server.live.look()
    server.live.look()
    assert capsys.readouterr().out == "note: the ledger is damaged; the page stays as it was\n"
    assert server.ask().status == 200
    assert server.live.version == 1


def test_control_c_ends_it_cleanly(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    words = [sys.executable, "-m", "lab.report", str(tmp_path / "run"), "--live"]
    process = subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("report    http://127.0.0.1:")
    port = int(line.split(":")[2].split("/")[0])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().status == 200
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "report    ended by SIGINT\n", "")
