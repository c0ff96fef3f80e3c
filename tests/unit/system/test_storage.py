"""The system's errors of the disk, as Python, Rust and C++ tell them, in one line with the place and the room."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from lab.launch import jobs
from lab.system.ranks import Place
from lab.system.storage import StorageError, explain


def raised(error: Exception, cause: Exception | None = None, context: Exception | None = None) -> Exception:
    error.__cause__, error.__context__ = cause, context
    return error


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x/y.ckpt")
TOLD = {
    "python": (FULL, "/x/y.ckpt: No space left on device"),
    "quota": (OSError(errno.EDQUOT, "q", "/x/y"), "/x/y: Disk quota exceeded"),
    "read-only": (OSError(errno.EROFS, "r", "/x/y"), "/x/y: Read-only file system; make it readable and writable"),
    "input/output": (OSError(errno.EIO, "i", "/x/y"), "/x/y: Input/output error"),
    "stale": (OSError(errno.ESTALE, "s", "/x/y"), "/x/y: Stale file handle"),
    "no name": (OSError(errno.ENOSPC, "n"), "No space left on device"),
    "rust": (
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        "No space left",
    ),
    "rust, read-only": (RuntimeError("I/O error: Read-only file system (os error 30)"), "Read-only file system"),
    "arrow": (
        OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"),
        "No space",
    ),
    "torch": (
        RuntimeError("unable to write to file </torch_1_2_3>: No space left on device (28)"),
        "/dev/shm: No space",
    ),
    "a loader's worker": (
        RuntimeError("Caught OSError in worker 0.\nTraceback\nOSError: [Errno 28] No space left on device: '/x/y'"),
        "/x/y: No space left on device",
    ),
    "cause": (raised(ValueError("a"), cause=raised(KeyError("b"), context=FULL)), "/x/y.ckpt: No space"),
    "context": (raised(RuntimeError("teardown"), context=FULL), "/x/y.ckpt: No space"),
}


@pytest.mark.parametrize("name", TOLD)
def test_it_is_told_in_one_line(name: str, tmp_path: Path) -> None:
    error, said = TOLD[name]
    line = str(explain(error, tmp_path))
    assert said in line
    assert "\n" not in line
    assert "repeat the command" in line


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/data/a.png"),
        PermissionError(errno.EACCES, "Permission denied", "/data/a.png"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        OSError("something else"),
        RuntimeError("CUDA out of memory"),
        ValueError("28"),
    ],
)
def test_what_is_not_about_the_disk_keeps_its_traceback(error: Exception, tmp_path: Path) -> None:
    assert explain(error, tmp_path) is None


def test_what_was_kept_and_what_is_needed(tmp_path: Path) -> None:
    for name, step in (("last.ckpt", 4), ("previous.ckpt", 2)):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        (tmp_path / "checkpoints" / name / "index.json").write_text(json.dumps({"step": step}))
    (tmp_path / "checkpoints" / "best.ckpt").write_text("no folder")
    first = explain(FULL, None, needed=3 * 2**20)
    assert first is not None
    line = str(explain(raised(RuntimeError("x"), cause=first), tmp_path))
    assert "MiB free, 3.0 MiB needed" in line or "GiB free, 3.0 MiB needed" in line
    assert "kept: last.ckpt of step 4, previous.ckpt of step 2;" in line
    assert line.endswith("free some space and repeat the command to continue")


def test_a_directory_that_was_moved(tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = str(explain(FileNotFoundError(errno.ENOENT, "No such file", str(run / "checkpoints" / "x")), run))
    assert line.startswith(f"{run} was moved or deleted while it was in use")
    run.mkdir()  # somebody has made another one there
    assert explain(FileNotFoundError(errno.ENOENT, "No such file", str(run / "a.png")), run) is None
    other = FileNotFoundError(errno.ENOENT, "moved or deleted while it was in use", str(run))
    assert "was moved or deleted" in str(explain(other, run))
    denied = PermissionError(errno.EACCES, "Permission denied", str(run / "metrics.csv"))
    assert "metrics.csv: Permission denied; make it readable and writable" in str(explain(denied, run))


def test_it_is_no_mistake_of_the_command() -> None:
    assert not issubclass(StorageError, ValueError)


@pytest.mark.parametrize(
    ("kind", "explained"), [("fit", True), ("evaluate", False), ("check", False), ("report", False)]
)
def test_only_a_fit_can_lose_its_directory(kind: str, explained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*arguments: object) -> int:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", "photos/a.png")

    monkeypatch.setattr(jobs, "_run_job", missing)
    with pytest.raises(StorageError if explained else FileNotFoundError):
        jobs.run_job(jobs.Job(kind, {}, "runs/never-made"), Place())
