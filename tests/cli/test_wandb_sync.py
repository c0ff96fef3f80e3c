"""``scripts/wandb_sync.py`` with a program in the place of ``wandb``: the order, marks, failures and the exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb

from lab.loggers.offline_folders import offline_folders
from lab.run_lock import RunLock
from scripts.wandb_sync import main

# Notes its arguments, and leaves the mark as `wandb sync` does, unless the test has named the folder as one that fails.
FAKE = """#!{python} -S
import os, sys
from pathlib import Path
here = Path({here!r})
folder = Path(sys.argv[-1])
with open(here / "calls.txt", "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
fails = (here / "fails.txt").read_text().split() if (here / "fails.txt").exists() else []
if folder.name in fails:
    print("wandb: ERROR 500: the server is tired")
    sys.exit(0)  # as the real one
(record,) = folder.glob("*.wandb")
record.with_suffix(".wandb.synced").touch()
"""

FOLDERS = (
    "b/wandb/offline-run-20261129_100000-bbbb",
    "a/wandb/offline-run-20261129_110000-aaaa",
    "b/wandb/offline-run-20261129_120000-bbbb",
    "a/wandb/offline-run-20261129_130000-aaaa",
)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two runs of two processes each, which took turns; and a ``wandb`` on the path."""
    wandb.teardown()  # its settings are those of its first use in this process, by whichever test
    for name in FOLDERS:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / f"run-{name[-4:]}.wandb").write_bytes(b"record")
    (tmp_path / "runs" / "a" / "wandb" / "offline-run-20261129_140000-cccc").mkdir()  # without a record
    (tmp_path / "runs" / "sweeps").mkdir()
    (tmp_path / "wandb").write_text(FAKE.format(python=sys.executable, here=str(tmp_path)))
    (tmp_path / "wandb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "runs"
    wandb.teardown()


def calls(runs: Path) -> list[str]:
    file = runs.parent / "calls.txt"
    return file.read_text().splitlines() if file.exists() else []


def test_all_are_uploaded_in_the_order_of_their_starts_and_once(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert calls(runs) == [f"sync runs/{name}" for name in FOLDERS]
    said = capsys.readouterr().out
    assert "[4/4] runs/a/wandb/offline-run-20261129_130000-aaaa (0.0 MB) uploaded in" in said
    assert main([str(runs)]) == 0
    assert capsys.readouterr().out == "0 of 4 offline folders are not uploaded\n"
    assert len(calls(runs)) == 4
    (runs / FOLDERS[2] / "run-bbbb.wandb.synced").unlink()
    assert main(["runs/b", "--project", "p", "--entity", "team"]) == 0
    assert calls(runs)[4:] == [f"sync --project p --entity team runs/{FOLDERS[2]}"]


def test_a_failure_stops_only_its_own_run_and_is_tried_again(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs.parent / "fails.txt").write_text("offline-run-20261129_100000-bbbb")
    assert main(["runs"]) == 1
    assert calls(runs) == [f"sync runs/{FOLDERS[index]}" for index in (0, 1, 3)]
    said = capsys.readouterr().out
    assert "failed: exit code 0: wandb: ERROR 500: the server is tired" in said
    assert f"runs/{FOLDERS[2]} (0.0 MB) waits: an earlier part of the same run has failed" in said
    rows = {line.split("│")[1].strip(): line for line in said.splitlines() if line.startswith("│")}
    assert rows.keys() == {"a", "b"}
    (runs.parent / "fails.txt").unlink()
    assert main(["runs"]) == 0
    assert calls(runs)[3:] == [f"sync runs/{FOLDERS[index]}" for index in (0, 2)]


def test_a_list_uploads_nothing(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / FOLDERS[0] / "run-bbbb.wandb.synced").touch()
    assert main(["--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [*(f"runs/{name}" for name in FOLDERS[1:]), "3 of 4 offline folders are not uploaded"]
    assert calls(runs) == []


def test_a_run_that_trains_is_left(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = RunLock(runs / "a")
    try:
        assert main(["runs/a", "runs/b"]) == 1
    finally:
        lock.release()
    assert calls(runs) == [f"sync runs/{FOLDERS[index]}" for index in (0, 2)]
    assert "is left: its run is still training" in capsys.readouterr().out


def test_a_program_that_hangs_is_given_up(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs.parent / "wandb").write_text("#!/bin/sh\nexec sleep 60\n")
    assert main(["runs/a", "--timeout", "0.2"]) == 1
    assert "failed: no end after 0 s" in capsys.readouterr().out


def test_what_is_refused(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nowhere"]) == 2
    expected = "error: nowhere: no such folder; give a run's directory, or a folder with runs\n"
    assert capsys.readouterr().err == expected
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    wandb.teardown()
    assert main([]) == 2
    captured = capsys.readouterr()
    expected = "error: nothing can be uploaded, no key is configured: run `wandb login`, or set WANDB_API_KEY\n"
    assert captured.err == expected
    assert calls(runs) == []


def test_the_program_has_what_the_script_uses(tmp_path: Path) -> None:
    """The real one: the options, and the name of the mark, by which it leaves out what is uploaded."""
    environment = {**os.environ, "WANDB_ERROR_REPORTING": "false", "COLUMNS": "200"}
    command = [sys.executable, "-m", "wandb", "sync"]
    shown = subprocess.run([*command, "--help"], env=environment, capture_output=True, text=True, check=True).stdout
    assert "Usage:" in shown
    assert "[PATHS]..." in shown
    assert "--project" in shown
    assert "--entity" in shown
    folder = tmp_path / "wandb" / "offline-run-20261129_100000-bbbb"
    folder.mkdir(parents=True)
    (folder / "run-bbbb.wandb").write_bytes(b"")
    (found,) = offline_folders(tmp_path)
    told = []
    for _ in range(2):
        done = subprocess.run(
            [*command, "--dry-run", str(found.path)], env=environment, capture_output=True, text=True, check=True
        )
        told.append(done.stdout + done.stderr)
        found.mark.touch()
    assert "Would sync 1 run(s)" in told[0]
    assert "No runs to sync" in told[1]
