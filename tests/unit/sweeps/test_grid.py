"""A sweep goes on whatever happens to one job in the parent; the summary and the last lines name all."""

from __future__ import annotations

import csv
import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.cli.main import main
from lab.errors import ConfigError, RunError
from lab.launch.prepare import Prepared
from lab.sweeps import grid as multirun
from lab.system.signals import Interrupted

FAILURES: dict[str, tuple[BaseException, str, str]] = {
    "refused": (RunError("in use"), "in use", "refused"),
    "disk": (OSError(errno.ENOSPC, "No space left on device", "runs/x"), "runs/x: No space left on device", "failed"),
    "permission": (PermissionError(errno.EACCES, "Permission denied", "runs/x"), "PermissionError", "failed"),
    "processes": (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "BlockingIOError", "failed"),
    "key": (KeyError("sources"), "KeyError: 'sources'", "failed"),
    "type": (TypeError("two\nlines"), "TypeError: two lines", "failed"),
    "memory": (MemoryError(), "MemoryError", "failed"),
    "recursion": (RecursionError("too deep"), "RecursionError", "failed"),
    "exit": (SystemExit(3), "SystemExit(3)", "failed"),
    "exit with a text": (SystemExit("no"), "SystemExit('no')", "failed"),
}


def failing(error: BaseException, at: int, started: list[int]) -> Callable[..., int]:
    def run(self: Prepared, here: bool = False, log: bool = False) -> int:
        started.append(self.config["seed"])
        if self.config["seed"] == at:
            raise error
        return 0

    return run


@pytest.mark.parametrize(("name", "at"), [(name, number % 3) for number, name in enumerate(FAILURES)])
def test_one_failure_does_not_stop_the_others(
    name: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    started: list[int] = []
    error, said, state = FAILURES[name]
    monkeypatch.setattr(Prepared, "run", failing(error, at, started))
    assert main(["-m", "seed=0,1,2"]) == 1
    assert started == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(f"job {at + 1} of 3 (seed={at}) failed: ")
    assert said in lines[-1]
    with Path("runs/summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["0", "1", "2"]
    assert rows[at]["state"] == state


@pytest.mark.parametrize(("error", "code"), [(Interrupted(2), 130), (Interrupted(15), 143), (KeyboardInterrupt(), 130)])
def test_an_interrupt_stops_a_sweep(
    error: BaseException, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    started: list[int] = []
    monkeypatch.setattr(Prepared, "run", failing(error, 1, started))
    assert main(["-m", "seed=0,1,2"]) == code
    assert started == [0, 1]


def test_a_summary_that_cannot_be_written_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Prepared, "run", failing(SystemExit(1), 9, []))
    Path("runs/summary.csv").mkdir(parents=True)
    assert main(["-m", "seed=0,1"]) == 1
    captured = capsys.readouterr()
    assert "the summary cannot be written" in captured.err
    assert captured.err.count("\n") == 1
    assert "seed" in captured.out  # the table is shown all the same


@pytest.mark.parametrize("damage", ["[]", "{", '{"state": 3}', '{"result": []}'])
def test_a_damaged_record_does_not_end_the_summary(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def run(self: Prepared, here: bool = False, log: bool = False) -> int:
        self.path.mkdir(parents=True)
        (self.path / "run.json").write_text(damage)
        return 0

    monkeypatch.setattr(Prepared, "run", run)
    assert main(["-m", "seed=0,1"]) == 0
    assert len(Path("runs/summary.csv").read_text().splitlines()) == 3


def test_a_file_that_cannot_be_read_while_checking_is_that_job_s_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def prepare(words: list[str], user_dirs: list[str]) -> Prepared:
        raise PermissionError(errno.EACCES, "Permission denied", "secret")

    monkeypatch.setattr(multirun, "prepare_job", prepare)
    with pytest.raises(ConfigError, match=r"job 2 of 2 \(seed=1\): .*secret.*no job was started"):
        multirun.run_all(["seed=0,1"], [])


def test_the_best_job_is_marked_by_what_its_runs_monitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In that metric's direction, which run.json says: here a lower one is better."""
    monkeypatch.chdir(tmp_path)

    def run(self: Prepared, here: bool = False, log: bool = False) -> int:
        result = {"val/rmse": abs(self.config["seed"] - 1.25), "test/rmse": 7.0}
        record = {"state": "finished", "sources": "", "overrides": [], "exit_code": 0, "resumed_at": [], "changes": []}
        record |= {"result": result, "monitor": "val/rmse", "lower_is_better": ["val/rmse", "test/rmse"]}
        self.path.mkdir(parents=True)
        (self.path / "run.json").write_text(json.dumps(record))
        return 0

    monkeypatch.setattr(Prepared, "run", run)
    assert main(["-m", "seed=0,1,2"]) == 0
    printed = capsys.readouterr().out
    marked = [line for line in printed.splitlines() if "->" in line]
    assert len(marked) == 1
    assert marked[0].replace("│", " ").split()[:2] == ["->", "1"]
    assert "\nbest      seed=1: val/rmse 0.2500 (lower is better)\n" in printed
