"""What may be deleted of a folder of runs, and what never is."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lab.errors import ConfigError, RunError
from lab.report.records.cleaning import delete, find_deletable, older_than, size_words
from lab.run_lock import RunLock
from tests.reports import write_run

ASIDE = "set aside by resume=never"


def checkpoint(run: Path, name: str) -> None:
    (run / "checkpoints" / name).mkdir(parents=True)
    (run / "checkpoints" / name / "index.json").write_text("{}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    for name, state in (
        ("done", "finished"),
        ("done~1", "finished"),
        ("stopped~1", "interrupted"),
        ("killed~12", "running"),
        ("failed", "failed"),
        ("failed_later", "failed"),
        ("alone", "interrupted"),
    ):
        write_run(folder / name, state=state, points=20)
    for name in ("done", "done~1", "failed_later", "stopped~1"):
        checkpoint(folder / name, "last.ckpt")
        checkpoint(folder / name, "previous.ckpt")
    (folder / "alone" / ".run.json.123").write_text("x" * 100)
    (folder / "alone" / "checkpoints" / ".last.ckpt.writing").mkdir(parents=True)
    (folder / "alone" / "checkpoints" / ".best.ckpt.old").mkdir()
    (folder / "alone" / ".notes").write_text("mine")
    (folder / ".new.77.discarded").mkdir()
    (folder / ".new.78.discarded").mkdir()
    (folder / ".new.78.discarded" / "thesis.tex").write_text("mine")
    (folder / "notes~1").mkdir()
    return folder


EXPECTED = {
    ".new.77.discarded": "what a killed process was removing",
    "alone/.run.json.123": "what a killed process was writing",
    "alone/checkpoints/.last.ckpt.writing": "what a killed process was writing",
    "done/checkpoints/previous.ckpt": "of a finished run",
    "done~1/checkpoints/last.ckpt": f"{ASIDE}, finished: only resuming needs it",
    "done~1/checkpoints/previous.ckpt": f"{ASIDE}, finished: only resuming needs it",
    "failed": "failed without a checkpoint",
    "killed~12": f"{ASIDE}, stopped",
    "stopped~1": f"{ASIDE}, interrupted",
}


def named(folder: Path) -> dict[str, str]:
    return {str(item.path.relative_to(folder)): item.reason for item in find_deletable(folder)}


def test_what_could_go_and_what_stays(folder: Path) -> None:
    assert named(folder) == EXPECTED
    before = {path for path in folder.rglob("*") if path.name != "run.lock"}
    items = find_deletable(folder)
    assert [delete(item) for item in items] == [""] * len(EXPECTED)
    gone = {path for path in before if not os.path.lexists(path)}
    assert gone == {path for path in before if any(path.is_relative_to(folder / name) for name in EXPECTED)}
    assert named(folder) == {}
    for name in ("done", "done~1"):
        assert (folder / name / "checkpoints" / "best.ckpt" / "index.json").is_file()


def test_sizes(folder: Path) -> None:
    sizes = {item.path.name: item.size for item in find_deletable(folder)}
    assert sizes[".run.json.123"] == 100
    assert sizes["last.ckpt"] == 2
    assert [size_words(count) for count in (0, 1023, 1024, 1.5 * 2**30, 5000 * 2**30)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 GiB",
        "5000.0 GiB",
    ]


def test_a_run_that_a_process_holds_stays(folder: Path) -> None:
    items = {str(item.path.relative_to(folder)): item for item in find_deletable(folder)}
    lock = RunLock(folder / "failed")
    try:
        assert "failed" not in named(folder)
        assert "is in use by" in delete(items["failed"])
    finally:
        lock.release()
    assert (folder / "failed" / "run.json").is_file()


def test_what_has_changed_since_it_was_listed_stays(folder: Path) -> None:
    items = {str(item.path.relative_to(folder)): item for item in find_deletable(folder)}
    checkpoint(folder / "failed", "last.ckpt")
    assert delete(items["failed"]) == "it has changed meanwhile"
    (folder / ".new.77.discarded" / "mine.txt").write_text("")
    assert delete(items[".new.77.discarded"]) == "it has changed meanwhile"
    (folder / "done" / "checkpoints" / "previous.ckpt").rename(folder / "elsewhere")
    assert delete(items["done/checkpoints/previous.ckpt"]) == "it has changed meanwhile"
    (folder / "stopped~1").rename(folder / "stopped")
    assert delete(items["stopped~1"]) == "it has changed meanwhile"
    assert (folder / "stopped" / "run.json").is_file()


def test_links_are_never_followed(folder: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    write_run(precious / "run~1", state="failed", points=20)
    checkpoint(precious, "previous.ckpt")
    (folder / "linked~1").symlink_to(precious / "run~1")
    write_run(folder / "b", points=20)
    checkpoint(folder / "b", "last.ckpt")
    (folder / "b" / "checkpoints" / "previous.ckpt").symlink_to(precious / "checkpoints" / "previous.ckpt")
    write_run(folder / "c~1", state="failed", points=20)
    (folder / "c~1" / "checkpoints").symlink_to(precious / "checkpoints")
    write_run(folder / "d~1", state="failed", points=20)
    (folder / "d~1" / "run.json").rename(precious / "run.json")
    (folder / "d~1" / "config.yaml").unlink()
    (folder / "d~1" / "run.json").symlink_to(precious / "run.json")
    assert named(folder) == {**EXPECTED, "c~1": f"{ASIDE}, failed"}
    kept = sorted(precious.rglob("*"))
    for item in find_deletable(folder):
        assert delete(item) == ""
    assert sorted(precious.rglob("*")) == kept
    assert not (folder / "c~1").exists()


def test_a_damaged_record_is_no_reason(folder: Path) -> None:
    for name in ("failed", "stopped~1", "done~1"):
        (folder / name / "run.json").write_text("{")
    assert not {"failed", "stopped~1", "done~1/checkpoints/last.ckpt"} & set(named(folder))


def test_other_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "home" / "deeper").mkdir(parents=True)
    for place, line in (
        (tmp_path / "home", "is no folder of runs: no run's directory lies directly in it"),
        (tmp_path / "none", "no such folder"),
        (folder / "done", "is a run; name the folder of runs that it lies in"),
        (folder / "done" / "run.json", "no such folder"),
    ):
        with pytest.raises(RunError, match=line):
            find_deletable(place)


def test_ages(folder: Path) -> None:
    assert [older_than(text) for text in ("12h", "7d", "2w")] == [43200, 604800, 1209600]
    for text in ("7", "d", "-1d", "7 d", "1e3d", "٣d", "9999999d"):
        with pytest.raises(ConfigError, match="write hours, days or weeks"):
            older_than(text)
    assert all(abs(item.changed - time.time()) < 600 for item in find_deletable(folder))
