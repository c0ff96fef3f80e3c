"""Ends the W&B records that killed processes have left: without an end W&B takes them for running. No torch, no wandb.

A process that is killed cannot end its record. Whoever comes next does: the next process of the run, the parent of its
ranks, or the master of its sweep. Only files of this machine are changed: a server itself takes a run that has fallen
silent for crashed.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from lab.compat.wandb_log import append_exit, read_end
from lab.text import one_line

STATE_FILE = "wandb.json"
KILLED = 128 + 9
_PAUSE = 0.05


def close_left(run_dir: Path, exit_code: int = 1, wait: float = 0.0) -> list[Path]:
    """End the records of a run's earlier processes that have no end; trouble is said, and ends nothing.

    W&B then shows them as failed, with ``state`` in the summary: ``killed`` after a SIGKILL, else ``crashed``.

    Args:
        run_dir: the run directory; none of its processes runs.
        exit_code: the exit code of the process that left the record, if it is known.
        wait: seconds to wait for W&B's service to end, which outlives its process for a moment.

    Returns:
        The folders of the records that were ended. One that is still being written is left alone.
    """
    try:
        run_id = str(json.loads((run_dir / STATE_FILE).read_bytes())["id"])
        folders = sorted((run_dir / "wandb").glob("*run-*"))
        logs = [file for folder in folders for file in folder.glob("*.wandb") if folder.name.endswith(f"-{run_id}")]
        return [file.parent for file in logs if _close(file, exit_code or 1, time.monotonic() + wait)]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []  # no W&B run, or a wandb.json that the run's next process will report
    except OSError as error:
        print(one_line(f"warning: {run_dir}: its W&B record keeps no end ({error.strerror})"), file=sys.stderr)
        return []


def _close(file: Path, exit_code: int, until: float) -> bool:
    if not _lacks_exit(file):
        return False
    while _is_open(file):
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE)
    end = read_end(file)
    if end is None or end.has_exit:
        return False
    append_exit(file, end, exit_code, {"state": "killed" if exit_code == KILLED else "crashed"})
    return True


def _lacks_exit(file: Path) -> bool:
    end = read_end(file)
    return end is not None and not end.has_exit


def _is_open(file: Path) -> bool:
    """Whether a process of this machine has the file open, as far as this one may see."""
    return any(_links_to(entry, file.resolve()) for entry in Path("/proc").glob("[0-9]*/fd/*"))


def _links_to(entry: Path, file: Path) -> bool:
    try:
        return entry.readlink() == file
    except OSError:  # another user's, or gone meanwhile
        return False
