"""What can be wrong with the ledger of a sweep: it cannot be written, or it is damaged. No torch."""

from __future__ import annotations

import errno
import itertools
import os
import sqlite3
from pathlib import Path

from lab.errors import RunError
from lab.system.storage import StorageError


class LedgerError(StorageError):
    """The ledger cannot be written: the disk is full or gone, or another process has damaged it. Exit code 1.

    Args:
        file: the ledger.
        error: what SQLite says.
    """

    def __init__(self, file: Path, error: sqlite3.Error) -> None:
        is_full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
        super().__init__(file, errno.ENOSPC if is_full else errno.EIO)
        self.why = str(error)

    def __str__(self) -> str:
        """Return the one line."""
        return (
            f"{self.where}: the ledger cannot be written: {self.why}{self.room()}; no job is started, running ones "
            "have ended with a checkpoint, the run directories keep their results: repeat the command to continue"
        )


class DamagedLedger(RunError):
    """A ledger that SQLite cannot read; ``set_aside`` keeps it, and a new one is made from the run directories."""

    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} is damaged ({why})")
        self.file = file

    def set_aside(self) -> Path:
        """Rename the damaged file and return its new name."""
        names = (self.file.with_name(f"damaged-{number}.sqlite") for number in itertools.count(1))
        kept = next(name for name in names if not os.path.lexists(name))
        self.file.rename(kept)
        for suffix in ("-wal", "-shm"):
            beside = self.file.with_name(self.file.name + suffix)
            if beside.exists():
                beside.rename(kept.with_name(kept.name + suffix))
        return kept


def is_damage(error: sqlite3.OperationalError) -> bool:
    """Whether an operational error is about the file's content, not about the disk or a lock."""
    return any(word in str(error) for word in ("no such column", "malformed", "no such table", "has no column"))
