"""Which runs are jobs of which sweep, and which sweeps have no run left, read from their ledgers. No torch."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from lab.run_lock import is_locked
from lab.run_name import SWEEPS
from lab.sweeps.ledger import FILE
from lab.sweeps.states import BAD, DONE


def sweeps_of_runs(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Return the name of the sweep by the name of each run's directory, and the sweeps that cannot be read.

    A run of several sweeps counts for the one that comes last by name.

    Args:
        folder: ``paths.runs_dir``.
    """
    found: dict[str, str] = {}
    unread: list[str] = []
    for file in _ledgers(folder):
        try:
            found |= {Path(run).name: file.parent.name for run, _ in _jobs(file)}
        except sqlite3.Error as error:
            unread.append(f"{file.parent.name} ({error})")
    return found, unread


def emptied_sweeps(folder: Path) -> list[Path]:
    """Return the folders of the sweeps that are over, are held by no process, and have no run left.

    Args:
        folder: ``paths.runs_dir``; links in it are not followed.
    """
    found = []
    if (folder / SWEEPS).is_symlink():
        return []
    for file in _ledgers(folder):
        place = file.parent
        if place.is_symlink() or file.is_symlink() or is_locked(place):
            continue
        try:
            jobs = _jobs(file)
        except sqlite3.Error:
            continue  # lab runs says so
        is_over = all(state in (*DONE, *BAD) for _, state in jobs)
        if is_over and not any(os.path.lexists(run) or os.path.lexists(folder / Path(run).name) for run, _ in jobs):
            found.append(place)
    return found


def _ledgers(folder: Path) -> list[Path]:
    return sorted((folder / SWEEPS).glob(f"*/{FILE}"))


def _jobs(file: Path) -> list[tuple[str, str]]:
    """Return the run directories and states of a ledger's jobs.

    The ledger is only read: no request and no version is written, and a master that runs is not waited for.

    Raises:
        sqlite3.Error: it cannot be read.
    """
    if not file.is_file():
        raise sqlite3.DatabaseError("no regular file")
    database = sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=1.0)
    try:
        return [(str(run), str(state)) for run, state in database.execute("SELECT run, state FROM jobs")]
    finally:
        database.close()
