"""An attempt survives its file, a worker refuses other files, and runs its job as a lone command does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import RunError
from lab.launch.prepare import prepare_job
from lab.run_progress import FOLDER, WAITS, last_word
from lab.sweeps import worker
from lab.sweeps.placing import Assignment
from tests.runs import SMALL, record


def assignment(tmp_path: Path, *words: str, attempt: int = 1, waits: bool = False) -> Assignment:
    prepared = prepare_job([*SMALL, f"paths.runs_dir={tmp_path / 'runs'}", *words], [])
    sweep = tmp_path / "runs" / "sweeps" / "s"
    return Assignment(3, attempt, 0, prepared, sweep / "jobs" / "3", sweep, waits)


def test_a_file_gives_back_the_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv(FOLDER, "of the master's own")
    given = assignment(tmp_path, waits=True)
    file = worker.write_assignment(given, threads=2, sources="abc")
    assert "secret" not in file.read_text()
    found = worker.read_assignment(file)
    assert (found.threads, found.sources, found.directory) == (2, "abc", str(Path.cwd()))
    assert found.environment["WANDB_MODE"] == "offline"
    assert FOLDER not in found.environment
    again = found.assignment()
    assert (again.number, again.attempt, again.waits, again.folder) == (3, 1, True, given.folder)
    assert again.prepared.config == given.prepared.config
    assert again.prepared.path == given.prepared.path
    assert again.prepared.words == given.prepared.words


@pytest.mark.parametrize(("attempt", "restarts", "expected"), [(1, "0", "never"), (2, "0", "auto"), (1, "1", "auto")])
def test_only_the_first_start_begins_afresh(
    attempt: int, restarts: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    file = worker.write_assignment(assignment(tmp_path, "resume=never", attempt=attempt))
    assert worker.read_assignment(file).assignment().prepared.config["resume"] == expected


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "its format is not 'lab attempt 1'"),
        ('{"format": "lab attempt 2"}', "its format is not 'lab attempt 1'"),
        ('{"format": "lab attempt 1"}', "number: Field required"),
        ('{"format": "lab attempt 1", "number": "rm"}', "number: Input should be a valid integer"),
    ],
)
def test_another_file_is_refused_in_one_line(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "attempt-1.json"
    file.write_text(content)
    with pytest.raises(RunError, match=said):
        worker.read_assignment(file)
    assert worker.main([str(file)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {file} is not the file of an attempt: ")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="No such file"):
        worker.read_assignment(tmp_path / "none")


def test_other_sources_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = assignment(tmp_path)
    file = worker.write_assignment(given, sources="others")
    monkeypatch.setattr(worker, "run_attempt", lambda _: 0)
    before = dict(os.environ)
    try:
        assert worker.main([str(file)]) == 2
        assert "the sources of lab here differ" in (last_word(given.folder) or {})["text"]
        content = json.loads(file.read_text()) | {"sources": ""}
        file.write_text(json.dumps(content | {"waits": True, "threads": 3}))
        assert worker.main([str(file)]) == 0
        assert (os.environ[FOLDER], os.environ[WAITS]) == (str(given.folder), "1")
        assert os.environ["OMP_NUM_THREADS"] == "3"
        file.write_text(json.dumps(content | {"directory": "/nowhere"}))
        assert worker.main([str(file)]) == 2
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_a_worker_runs_its_job(tmp_path: Path) -> None:
    """In a process of its own, as a launcher starts it; a failure leaves its word."""
    given = assignment(tmp_path, "trainer.max_steps=1", "trainer.val_every_n_steps=1")
    file = worker.write_assignment(given)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "lab.sweeps.worker", str(file)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode() + (given.folder / "output.log").read_text()
    found = record(given.prepared.path)
    assert (found["state"], found["sweep"]) == ("finished", {"directory": str(given.sweep), "number": 3})
    assert "-- job 3, attempt 1" in (given.prepared.path / "output.log").read_text()
    assert found["command"] == worker.read_assignment(file).command


def test_a_job_that_never_began_leaves_its_word(tmp_path: Path) -> None:
    given = assignment(tmp_path)
    code = (
        "import sys; from lab.launch.prepare import Prepared; from lab.errors import RunError\n"
        "def refuse(self, **options): raise RunError('in use')\n"
        "Prepared.run = refuse\n"
        "from lab.sweeps.worker import main; sys.exit(main())"
    )
    file = worker.write_assignment(given)
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, check=False)
    assert done.returncode == 2
    assert "in use" in (last_word(given.folder) or {})["text"]
    assert "error: in use" in (given.folder / "output.log").read_text()
