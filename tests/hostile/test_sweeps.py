"""Sweeps on a full disk, with a damaged ledger, short of memory: said in a line, and the same command goes on."""

from __future__ import annotations

import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lab.checkpoint.format import CheckpointReader
from lab.sweeps.ledger import FILE, Ledger
from lab.sweeps.ledger_errors import DamagedLedger, LedgerError
from tests.hostile.test_disks import error_line, fill, small_disk
from tests.runs import SMALL, Command, Runs, record, wait_for

__all__ = ["small_disk"]

WORDS = (
    "-m",
    *SMALL,
    "callbacks.pictures=0",
    "callbacks.progress=false",
    "launcher.workers=2",
    "launcher.threads_per_job=1",
    "launcher.backoff=0.01",
    "seed=0,1",
)


def ledger_of(folder: Path) -> Ledger:
    (file,) = (folder / "runs" / "sweeps").glob(f"*/{FILE}")
    return Ledger(file.parent)


def runs_of(folder: Path) -> dict[str, dict[str, Any]]:
    return {path.parent.name: record(path.parent) for path in (folder / "runs").glob("*/run.json")}


def swept(runs: Runs, folder: Path, *words: str, code: int = 0) -> Command:
    command = runs.run(*WORDS, *words, folder=folder)
    assert command.code == code, command.out[-2000:] + command.err
    return command


def overwrite(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:12288] = b"\xa5" * 8192
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 - 100])


@pytest.mark.parametrize("damage", [overwrite, truncate, lambda file: file.write_text("no ledger")])
def test_a_damaged_ledger_is_kept_aside(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    with closing(Ledger(tmp_path, create=True)) as ledger:
        ledger.add([([f"seed={number}", "x" * 300], f"run-{number}", {}) for number in range(40)])
    damage(tmp_path / FILE)
    with pytest.raises(DamagedLedger, match="is damaged") as caught:
        Ledger(tmp_path)
    kept = caught.value.set_aside()
    assert kept.name == "damaged-1.sqlite"
    with closing(Ledger(tmp_path, create=True)) as ledger:
        assert ledger.jobs() == []


def test_a_full_disk_is_said_as_one() -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    assert "disk is full (the disk at / has " in str(LedgerError(Path("/ledger.sqlite"), error))
    assert str(LedgerError(Path("/l"), sqlite3.DatabaseError("malformed"))).startswith(
        "/l: the ledger cannot be written: malformed; "
    )


def test_a_ledger_is_made_again_from_the_runs(runs: Runs, tmp_path: Path) -> None:
    """Damaged, then deleted, while no master runs; finished jobs are not trained again."""
    swept(runs, tmp_path)
    before = runs_of(tmp_path)
    overwrite(ledger_of(tmp_path).file)
    again = swept(runs, tmp_path)
    assert "is kept as damaged-1.sqlite, and made again from the run directories" in again.err
    assert runs_of(tmp_path) == before
    for file in ledger_of(tmp_path).file.parent.glob(f"{FILE}*"):
        file.unlink()
    swept(runs, tmp_path)
    assert runs_of(tmp_path) == before
    rows = ledger_of(tmp_path).jobs()
    assert [row.state for row in rows] == ["finished"] * 2
    assert [row.result for row in rows] == [before[Path(row.run).name]["result"] for row in rows]


def test_the_ledgers_disk_is_full(runs: Runs, small_disk: Path, tmp_path: Path) -> None:
    """Jobs whose runs are on another disk end with a checkpoint; with room again, the same command goes on."""
    folder = tmp_path / "home"
    (folder / "runs").mkdir(parents=True)
    (folder / "runs" / "sweeps").symlink_to(small_disk)
    words = ("trainer.max_steps=100", "trainer.val_every_n_steps=100", "trainer.checkpoint_every_n_steps=1000")
    command = runs.start(*WORDS, *words, folder=folder)
    rows = lambda: [len(file.read_bytes().splitlines()) for file in (folder / "runs").glob("*/metrics.csv")]  # noqa: E731
    assert wait_for(lambda: len(rows()) == 2 and min(rows()) > 3, command), command.err
    ballast = fill(small_disk, "space")
    command.send(signal.SIGTTIN)  # one place more, which launcher.yaml records
    assert command.wait() == 1, command.out + command.err
    assert "No space left on device (the disk at " in error_line(command)
    steps = [CheckpointReader(run / "checkpoints" / "last.ckpt").step for run in (folder / "runs").glob("detr*")]
    assert len(steps) == 2
    assert min(steps) > 3
    for path in ballast:
        path.unlink(missing_ok=True)
    swept(runs, folder, *words)
    resumed = [entry["resumed_at"] for entry in runs_of(folder).values()]
    assert sorted(resumed) == sorted([step] for step in steps)
