"""``lab sweep ...``: a sweep is shown and asked from another terminal, running or not."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.cli.main import main
from lab.run_lock import RunLock
from lab.sweeps.commands import VERBS, run_command
from lab.sweeps.ledger import FILE, Ledger
from tests.sweeps import middle_of_a_sweep

COMMAND = "python run.py -m optimizer.lr=1e-1,1e-2"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.chdir(tmp_path)
    return middle_of_a_sweep(Path("runs") / "sweeps" / "rates")


def asked(ledger: Ledger) -> list[tuple[str, list[int]]]:
    return [(request.verb, request.jobs) for request in ledger.requests()]


def output(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["sweep", *words]) == code
    captured = capsys.readouterr()
    return captured.out if not code else captured.err


def test_the_status_of_a_running_sweep(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.note("crashed", "[2/6] failed optimizer.lr=1e-2: killed by SIGKILL")
    lock = RunLock(ledger.file.parent)
    try:
        rows = output(capsys, "status").splitlines()
    finally:
        lock.release()
    assert rows[0].split() == ["job", "state", "tries", "slot", "step", "overrides", "latest"]
    assert rows[1].split() == ["1", "finished", "1", "optimizer.lr=1e-1", "test/map", "0.31"]
    assert rows[2].split() == ["2", "failed", "1", "optimizer.lr=1e-2", "killed", "by", "SIGKILL"]
    assert rows[3].split() == ["3", "poison", "1", "optimizer.lr=1e-3", "killed", "by", "SIGSEGV"]
    assert rows[4].split()[:6] == ["4", "running", "1", "0", "12/40", "optimizer.lr=3e-4"]
    assert rows[4].rstrip().endswith("train, val/map 0.125, 14 s left (pid 1004 on atlas)")
    assert rows[6].split() == ["6", "waiting", "0", "optimizer.lr=1e-5"]
    assert rows[7] == "rates: 1 finished, 2 running, 1 waiting, 1 failed, 1 poison"
    assert rows[8].startswith(f"master    pid {os.getpid()} on ")
    assert rows[9].strip() == "[2/6] failed optimizer.lr=1e-2: killed by SIGKILL"
    assert len(rows) == 10


def test_the_status_has_the_state_in_a_queue(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.place(4, 1, "Slurm job 17, PENDING (Priority)")
    assert "place     job 4: Slurm job 17, PENDING (Priority)\n" in output(capsys, "status")


def test_the_status_after_the_master_has_died(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.ask("pause")
    ledger.set(paused=True)
    shown = output(capsys, "status", "rates")
    assert "paused    no further job is started (lab sweep resume)\n" in shown
    assert "master    none runs (the last was pid 4321 on atlas)\n" in shown
    assert "2 jobs were running when it ended" in shown
    assert f"to go on: {COMMAND}\n" in shown
    assert "request   pause: not taken yet\n" in shown


def test_the_status_of_a_finished_sweep(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 7):
        ledger.change(number, state="finished", result={"val/map": 0.25})
    shown = output(capsys, "status", "runs/sweeps/rates")
    assert "rates: 6 finished\n" in shown
    assert "to go on" not in shown
    assert "running" not in shown
    assert shown.count("val/map 0.25") == 6


def test_the_status_for_programs(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.change(1, result={"val/map": float("nan"), "test/map": 0.31})
    ledger.ask("retry", [2])
    found: dict[str, Any] = json.loads(output(capsys, "status", "--json"))  # the sweep's name goes to stderr
    assert found["counts"] == {"finished": 1, "failed": 1, "poison": 1, "running": 2, "waiting": 1}
    assert found["master"] == {
        "lives": False,
        "where": "pid 4321 on atlas",
        "since": 100.0,
    }
    assert found["command"] == COMMAND
    assert found["requests"] == [{"verb": "retry", "jobs": [2]}]
    first, second, _, fourth, fifth, sixth = found["jobs"]
    assert first["result"] == {"val/map": None, "test/map": 0.31}
    assert (second["problem"], second["tail"]) == ("killed by SIGKILL", "line one\nOut of memory")
    assert fourth["running"]["progress"]["seconds_left"] == 14
    assert fourth["running"]["place"] == "pid 1004 on atlas"
    assert fifth["running"]["progress"] is None
    assert "running" not in sixth


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (["pause"], ("pause", [])),
        (["resume", "rates"], ("resume", [])),
        (["reload", "runs/sweeps/rates"], ("reload", [])),
        (["retry"], ("retry", [2, 3])),
        (["retry", "rates", "3"], ("retry", [3])),
        (["retry", "2", "3"], ("retry", [2, 3])),
        (["drop", "6", "4"], ("drop", [6, 4])),
    ],
)
@pytest.mark.parametrize("lives", [True, False])
def test_requests(
    lives: bool, words: list[str], request_: tuple[str, list[int]], ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = RunLock(ledger.file.parent) if lives else None
    try:
        said = output(capsys, *words)
    finally:
        if lock is not None:
            lock.release()
    assert asked(ledger) == [request_]
    assert said.startswith(words[0])
    if lives:
        assert f"master (pid {os.getpid()} on " in said
    else:
        assert said.endswith(f"the next start of the same command takes it:\n  {COMMAND}\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["statsu"], "statsu: lab sweep has no such verb; did you mean 'status'"),
        (["quit"], "quit: lab sweep has no such verb; there are status, pause, resume"),
        (["status", "--jsn"], "--jsn: lab sweep has no such flag; did you mean '--json'?"),
        (["pause", "--json"], "--json belongs to status, not to pause"),
        (["status", "ratse"], "ratse: there is no such sweep, here or in runs/sweeps; did you mean 'rates'?"),
        (["status", "runs"], "runs is no sweep: it has no ledger.sqlite"),
        (["status", "rates", "3"], "status shows all jobs; give no numbers"),
        (["pause", "rates", "3"], "pause is for the whole sweep; give no numbers of jobs"),
        (["drop", "rates"], "drop needs the numbers of the jobs to take out"),
        (["drop", "1"], "job 1 is finished already, so there is nothing to drop"),
        (["drop", "rates", "7"], "runs/sweeps/rates has no job 7; its jobs are 1 to 6"),
        (["retry", "16"], "has no job 16; did you mean '6' or '1'?; its jobs are 1 to 6"),
        (["retry", "1"], "job 1 is finished, so there is nothing to try again; failed are 2, 3"),
        (["retry", "rates", "three"], "three: not understood; after the sweep come the numbers of jobs"),
    ],
)
def test_refusals(words: list[str], line: str, ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    said = output(capsys, *words, code=2)
    assert line in said
    assert len([row for row in said.splitlines() if row.startswith("error: ")]) == 1
    assert asked(ledger) == []


def test_nothing_to_retry(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (2, 3):
        ledger.change(number, state="waiting")
    assert output(capsys, "retry") == "no job has failed: there is nothing to try again\n"
    assert asked(ledger) == []


def test_the_latest_sweep_is_taken_and_named(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    older = middle_of_a_sweep(Path("runs/sweeps/older"))
    older.close()
    for file in older.file.parent.glob("ledger*"):
        os.utime(file, (1, 1))
    assert main(["sweep", "pause"]) == 0
    assert capsys.readouterr().err == "sweep     runs/sweeps/rates (the latest of 2)\n"
    assert asked(ledger) == [("pause", [])]


def test_without_any_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert output(capsys, "status", code=2) == "error: there is no sweep in runs/sweeps; name its directory\n"


def test_a_damaged_ledger(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    ledger.close()
    ledger.file.write_bytes(b"no database" * 1000)
    for file in ledger.file.parent.glob(f"{FILE}-*"):
        file.unlink()
    said = output(capsys, "status", "rates", code=2)
    assert "is damaged" in said
    assert said.endswith("repeat the sweep's command: it makes the ledger again from the run directories\n")


def test_a_busy_ledger_is_one_line(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy(self: Ledger, folder: Path) -> None:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(Ledger, "__init__", busy)
    assert output(capsys, "status", "rates", code=2) == "error: runs/sweeps/rates/ledger.sqlite: database is locked\n"


def test_a_reader_that_stops_reading_costs_no_traceback(ledger: Ledger) -> None:
    ledger.add([(["x=" + "long" * 1000, f"seed={seed}"], "", {}) for seed in range(200)])
    ledger.close()
    code = "import sys; from lab.cli.main import main; sys.exit(main(['sweep', 'status', 'rates', '--json']))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as status:
        assert status.stdout is not None
        assert status.stderr is not None
        status.stdout.read(10)
        status.stdout.close()
        assert status.stderr.read() == b""
        assert status.wait() == 1


def test_a_thousand_jobs_are_shown_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/sweeps/many")
    folder.mkdir(parents=True)
    ledger = Ledger(folder, create=True)
    ledger.add([(["x=1", f"seed={seed}"], f"run-{seed}", {}) for seed in range(1000)])
    ledger.change(990, state="failed", problem="boom")
    shown = output(capsys, "status", "many")
    assert "boom" in shown
    assert "800 more jobs are not shown (--json has all)\n" in shown
    assert len(json.loads(output(capsys, "status", "many", "--json"))["jobs"]) == 1000


def test_hostile_texts_are_shown_safely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("runs/sweeps/bad")
    folder.mkdir(parents=True)
    ledger = Ledger(folder, create=True)
    ledger.add([([f"x='\x1b[2J[red]{n}\n'"], "run", {}) for n in range(2)])
    ledger.change(1, state="failed", problem="\x1b]0;t\x07[/bold]\nsecond")
    ledger.set(command="python run.py \x1b[2J")
    (folder / "run.lock").write_text("pid \x1b[1m \x07")
    ledger.note("x", "\x1b[5m[link]\nb")
    shown = output(capsys, "status", "bad")
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert "[red]0" in shown
    assert "[/bold] second" in shown


@pytest.mark.parametrize("words", [[], ["--help"], ["status", "-h"]])
def test_help_names_every_verb(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(words) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {verb}" in said for verb in VERBS)
