"""The files of a job of a sweep: whole or not there, damaged ones read as none, a full disk ends no training."""

from __future__ import annotations

import errno
import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from lab import run_progress as files
from lab.errors import ConfigError, Diverged, Pruned
from lab.system.signals import Interrupted


def test_what_is_written_is_read(tmp_path: Path) -> None:
    progress = files.Progress(1.5, "train", 40, 100, 21, {"train/loss": 2.0, "val/map": math.nan}, 4.0, 0.5)
    files.write_progress(tmp_path, progress)
    found = files.read_progress(tmp_path)
    assert found is not None
    assert vars(found) == {**vars(progress), "metrics": {"train/loss": 2.0, "val/map": None}}
    assert found.seconds_left == 15.0
    files.write_verdict(tmp_path, 40, prune=True)
    assert files.read_verdict(tmp_path) == (40, True)
    assert {path.name for path in tmp_path.iterdir()} == {"progress.json", "verdict.json"}  # no temporary file


@pytest.mark.parametrize(
    "content", [b"", b'{"time": 1.0, "st', b"[1]", b'{"time": "now"}', b'{"odd": 1}', b"\xff", b"[" * 9999]
)
def test_a_damaged_file_is_none(tmp_path: Path, content: bytes) -> None:
    for name in ("progress.json", "verdict.json", "word.json"):
        (tmp_path / name).write_bytes(content)
    assert (files.read_progress(tmp_path), files.read_verdict(tmp_path), files.last_word(tmp_path)) == (None,) * 3
    assert files.read_progress(tmp_path / "none") is None


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    ends = threading.Event()

    def write() -> None:
        step = 0
        while not ends.is_set():
            files.write_progress(tmp_path, files.Progress(0.0, "train", step := step + 1, 0, 1, {"x" * step: 1.0}))

    files.write_progress(tmp_path, files.Progress(0.0))
    writer = threading.Thread(target=write)
    writer.start()
    steps = [found.step if (found := files.read_progress(tmp_path)) else None for _ in range(300)]
    ends.set()
    writer.join()
    assert None not in steps
    assert steps == sorted(steps)  # type: ignore[type-var]


def test_reports_are_read_as_they_come(tmp_path: Path) -> None:
    assert files.read_reports(tmp_path, 0) == ([], 0)
    files.append_report(tmp_path, 5, {"val/map": 0.25, "val/loss": math.nan})
    found, end = files.read_reports(tmp_path, 0)
    assert found == [(5, {"val/map": 0.25, "val/loss": None})]
    with (tmp_path / "reports.jsonl").open("ab") as file:
        file.write(b'{"step": 10, "val')  # killed here
    assert files.read_reports(tmp_path, end) == ([], end)
    files.append_report(tmp_path, 10, {"val/map": 0.5})  # by the next attempt, and its first one once more
    files.append_report(tmp_path, 5, {"val/map": 0.25})
    found, end = files.read_reports(tmp_path, end)
    assert found == [(10, {"val/map": 0.5}), (5, {"val/map": 0.25})]
    assert files.read_reports(tmp_path, end) == ([], end)


def test_a_full_disk_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    for step in (1, 2):
        files.write_progress(tmp_path, files.Progress(0.0, "train", step))
        files.append_report(tmp_path, step, {"val/map": 0.5})
    said = f"warning: {tmp_path}: the sweep does not see this job's progress (No space left on device)\n"
    assert capsys.readouterr().err == said


def test_a_last_word(tmp_path: Path) -> None:
    try:
        raise KeyError("odd")
    except KeyError as error:
        word = files.word_of(error)
    assert "Traceback" in word["details"]
    files.write_word(tmp_path, word)
    assert files.last_word(tmp_path) == json.loads(json.dumps(word))
    kinds = {
        "refused": ConfigError("no"),
        "diverged": Diverged("step 3", 3, "loss"),
        "pruned": Pruned("pruned at step 5", 5),
        "interrupted": Interrupted(15, "at step 2"),
    }
    words = {kind: files.word_of(error) for kind, error in kinds.items()}
    assert {kind: word["kind"] for kind, word in words.items()} == {kind: kind for kind in kinds}
    assert (words["refused"]["class"], words["diverged"]["term"], words["pruned"]["step"]) == ("ConfigError", "loss", 5)
    assert words["interrupted"]["text"] == "at step 2"


def test_only_a_job_of_a_sweep_has_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(files.FOLDER, raising=False)
    monkeypatch.setenv(files.WAITS, "1")
    assert (files.job_folder(), files.waits_for_verdicts()) == (None, False)
    monkeypatch.setenv(files.FOLDER, str(tmp_path))
    assert (files.job_folder(), files.waits_for_verdicts()) == (tmp_path, True)
    files.beat_at_start(5, 12)
    found = files.read_progress(tmp_path)
    assert found is not None
    assert (found.phase, found.step, found.max_steps, found.first_step) == ("start", 5, 12, None)
