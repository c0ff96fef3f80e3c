"""A server of W&B's that does not answer: a start waits some seconds, and the run goes online when it answers again."""

from __future__ import annotations

import http.server
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from lab.loggers.metrics_csv import MetricsCSV
from lab.loggers.wandb_run import WandbRun
from lab.loggers.wandb_server import REPORTING, ServerWatch, allow, answers, silence


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port of this machine that takes connections and says nothing; a key is configured for it."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        number = int(silent.getsockname()[1])
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{number}")
        monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        wandb.teardown()
        yield number
    wandb.teardown()


class _Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    """Something that speaks HTTP, though it knows nothing."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_server_that_says_nothing_holds_a_start_up_ten_seconds_at_most(
    port: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = WandbRun(tmp_path / "run", mode="online")
    began = time.monotonic()
    run.start()
    took = time.monotonic() - began
    assert took < 10
    run.log_metrics({"train/loss": 1.0}, step=1)
    run.finish()
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("W&B: ")]
    assert len(said) == 1
    assert f"online (http://127.0.0.1:{port} does not answer; it is asked again later), so this run is" in said[0]
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*"))) == 1


class _Reached(WandbRun):
    """Online is what W&B records into another folder: no server of W&B's can run here."""

    rows: dict[int, dict[str, Any]]
    failures = 1

    def _init(self, mode: Any) -> Any:
        if mode == "online" and self.failures:
            self.failures -= 1
            raise OSError("no route to host")
        run = super()._init("offline")
        if mode == "online":
            self.rows = {}
            log = run.log

            def watched(row: dict[str, Any], step: int, commit: bool) -> None:
                self.rows[step] = row
                log(row, step=step, commit=commit)

            run.log = watched
        return run


def _log(run: WandbRun, table: MetricsCSV, steps: range) -> None:
    for step in steps:
        for logger in (table, run):
            logger.log_metrics({"train/loss": 1 / step, "epoch": 0}, step=step)


def test_a_run_goes_online_with_all_of_its_rows_when_its_server_answers(
    port: int, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", web)
    monkeypatch.setattr(ServerWatch.__init__, "__defaults__", (1.0,))
    run, table = _Reached(tmp_path / "run", mode="online"), MetricsCSV(tmp_path / "run")
    run.start()
    watch = run._watch
    assert watch is not None
    _log(run, table, range(1, 4))
    table.flush()  # these reached the disk, the next ones did not
    assert watch._answered.wait(30)
    _log(run, table, range(4, 8))
    assert run._watch is None
    run.finish()
    assert sorted(run.rows) == list(range(1, 8))
    assert [run.rows[step]["train/loss"] for step in run.rows] == [1 / step for step in range(1, 8)]
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("W&B: ")]
    assert f"({web} answers: no route to host; it is asked again later)" in said[0]
    assert said[1].startswith("W&B: its server answers again, so this run is online at")


def test_a_server_that_answers_and_fails_is_left_alone_after_a_few_tries(
    port: int, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", web)
    monkeypatch.setattr(ServerWatch.__init__, "__defaults__", (0.01,))
    run, table = _Reached(tmp_path / "run", mode="online"), MetricsCSV(tmp_path / "run")
    run.failures = 100
    run.start()
    step = 0
    while run._watch is not None:
        step += 1
        _log(run, table, range(step, step + 1))
        time.sleep(0.01)
        assert step < 5000
    assert run.failures == 100 - 3
    _log(run, table, range(step + 1, step + 2))
    run.finish()
    assert run._state.highest == step + 1  # nothing was lost on the way: each row is in one of the offline records


def test_who_answers(web: str, port: int) -> None:
    assert answers(web)
    assert not answers("nonsense")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
    assert not answers(f"http://127.0.0.1:{nobody}")


@pytest.mark.parametrize(("given", "then"), [(None, "false"), ("true", "true"), ("false", "false")])
def test_error_reports_are_sent_online_only_and_only_if_wanted(
    given: str | None, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(REPORTING, "false")
    monkeypatch.delenv(REPORTING) if given is None else monkeypatch.setenv(REPORTING, given)
    before = silence()
    assert (before, os.environ[REPORTING]) == (given, "false")
    allow(before)
    assert os.environ[REPORTING] == then
