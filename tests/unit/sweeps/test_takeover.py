"""SIGUSR2: a new master says that it is ready, gets the sweep, and gives it back if it dies."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.sweeps.takeover import Successor, is_successor

READY = "from lab.sweeps.takeover import wait_for_the_sweep; wait_for_the_sweep()"


class Old:
    """An old master's side."""

    def __init__(self, program: str, monkeypatch: pytest.MonkeyPatch, ends_well: bool = True) -> None:
        monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-c", program])
        self.calls: list[str] = []
        self.successor = Successor(
            lambda: self.calls.append("release"), lambda: self.calls.append("take again"), lambda: ends_well
        )

    def wait_for(self, what: str) -> str:
        return next(line for line, happened in iter_looks(self.successor.look) if happened == what)


def iter_looks(look: Callable[[], tuple[str, str]]):  # type: ignore[no-untyped-def]
    end = time.monotonic() + 30
    while time.monotonic() < end:
        yield look()
        time.sleep(0.01)
    raise AssertionError("it never happened")


def test_the_sweep_is_handed_over_and_its_end_is_that_of_the_new_master(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Old(f"{READY}; raise SystemExit(1)", monkeypatch)
    assert "a new master is started" in old.successor.begin()
    assert "on its way already" in old.successor.begin()
    assert "is ready" in old.wait_for("ready")
    assert not old.successor.has_ended()  # it waits for the sweep
    old.successor.hand_over()
    while not old.successor.has_ended():
        time.sleep(0.01)
    assert old.calls == ["release"]
    assert old.successor.look() == ("", "")
    assert old.successor.exit_code == 1


def test_a_new_master_that_cannot_start_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    old = Old("raise SystemExit('broken code')", monkeypatch)
    old.successor.begin()
    assert "this one goes on" in old.wait_for("failed")
    assert old.calls == []
    assert "a new master is started" in old.successor.begin()  # another try


def test_the_old_master_goes_on_when_the_new_one_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = f"{READY}; import time, pathlib; pathlib.Path({str(tmp_path / 'has')!r}).touch(); time.sleep(60)"
    old = Old(program, monkeypatch, ends_well=False)
    old.successor.begin()
    old.wait_for("ready")
    old.successor.hand_over()
    while not (tmp_path / "has").exists():
        time.sleep(0.01)
    old.successor.forward(signal.SIGKILL)
    assert "this one goes on" in old.wait_for("failed")
    assert old.calls == ["release", "take again"]


def test_a_lone_master_is_no_successor() -> None:
    assert not is_successor()
