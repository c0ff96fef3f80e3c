"""What ends a job: raised in the parent as it was in a rank; its exit code, and what a command line says of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.errors import ConfigError, DataError, Diverged, LabError, Pruned
from lab.launch.outcomes import RanksFailed, exit_code, say
from lab.launch.worker import _leave_word
from lab.launch.workers import Worker, _failure
from lab.system.signals import Interrupted
from lab.system.storage import StorageError


def worker(folder: Path, rank: int, code: int, error: BaseException | None, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """Return a rank that has ended with an exit code and may have left word of an error."""
    file = folder / f"rank-{rank}.json"
    if error is not None:
        monkeypatch.setenv("LAB_ERROR_FILE", str(file))
        _leave_word(error)
    ending = f"import os, signal; os.kill(os.getpid(), {-code})" if code < 0 else f"import sys; sys.exit({code})"
    process: subprocess.Popen[bytes] = subprocess.Popen([sys.executable, "-c", ending])
    process.wait()
    return Worker(rank, process, file)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("trainer.devices=9: no"), 2),
        (DataError("a file\nis missing"), 2),
        (Diverged("step 3: the loss is not finite", 3, "loss"), 1),
        (Pruned("pruned at step 5", 5), 0),
        (Interrupted(2, "at step 5"), 130),
    ],
)
def test_a_rank_s_error_is_raised_in_the_parent(
    error: BaseException, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exit_code(error) == code
    found = _failure([worker(tmp_path, 0, code, error, monkeypatch)], code)
    assert type(found) is type(error)
    assert str(found) == str(error)
    assert exit_code(found) == code
    if isinstance(found, Diverged):
        assert (found.step, found.term) == (3, "loss")
    if isinstance(found, Pruned):
        assert found.step == 5


def test_what_nobody_foresaw_comes_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        raise KeyError("odd")
    except KeyError as error:
        ranks = [worker(tmp_path, rank, 1, error, monkeypatch) for rank in (0, 1)]
    found = _failure(ranks, 1)
    assert isinstance(found, RanksFailed)
    assert str(found) == "rank 0 of 2 failed: KeyError: 'odd'"
    say(found)
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("error: rank 0 of 2 failed: KeyError: 'odd'\n")


def test_a_killed_rank_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = [worker(tmp_path, 0, 0, None, monkeypatch), worker(tmp_path, 1, -9, None, monkeypatch)]
    found = _failure(ranks, 137)
    assert str(found) == "rank 1 of 2 was killed by SIGKILL"
    assert exit_code(found) == 137
    silent = _failure([worker(tmp_path, 2, 3, None, monkeypatch)], 3)
    assert (str(silent), exit_code(silent)) == ("a rank of 1 ended with exit code 3", 3)


def test_the_disk_s_word_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = StorageError(tmp_path / "x", 28)
    found = _failure([worker(tmp_path, 0, 1, error, monkeypatch)], 1)
    assert exit_code(found) == exit_code(error) == 1
    say(found)
    assert capsys.readouterr().err == f"error: {error}\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (LabError("no"), 2, "error: no\n"),
        (Diverged("gone", 1, "loss"), 1, "error: gone\n"),
        (Pruned("pruned at step 5", 5), 0, "pruned at step 5; repeat the command to train on\n"),
        (Interrupted(15), 143, "interrupted by SIGTERM; repeat the command to continue\n"),
        (KeyboardInterrupt(), 130, ""),
        (SystemExit(3), 3, ""),
        (SystemExit("why"), 1, ""),
        (ZeroDivisionError("x"), 1, "ZeroDivisionError: x\n"),
    ],
)
def test_exit_codes_and_words(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(error) == code
    say(error)
    assert capsys.readouterr().err == said


def test_a_word_is_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Any = worker(tmp_path, 0, 2, ConfigError("no"), monkeypatch)
    assert json.loads(made.error_file.read_text()).keys() == {"time", "kind", "class", "text"}
