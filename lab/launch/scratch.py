"""Keeps the temporary files of a process in one folder, so that the files of a killed process can be found and removed.

W&B, multiprocessing and torch each leave folders in TMPDIR when their process is killed. lab lets them all be made
inside ``lab-tmp-PID-xxxxxxxx``, whose lock tells whether that process is still alive.
"""

from __future__ import annotations

import atexit
import getpass
import os
import re
import shutil
import tempfile
from pathlib import Path

from lab.errors import RunError
from lab.run_lock import RunLock, is_locked

_NAME = re.compile(r"lab-tmp-\d+-\w{8}")
_own: dict[int, Path] = {}
"""The folder of each process, by pid: a forked child makes its own."""


def use_own_folder() -> None:
    """Set TMPDIR to a folder of this process, removed at its end; remove folders of this user's killed processes.

    If the folder cannot be made, TMPDIR stays unchanged; code that needs space there raises its own error.
    """
    if os.getpid() in _own:  # a call from Python has restored TMPDIR meanwhile
        os.environ["TMPDIR"], tempfile.tempdir = str(_own[os.getpid()]), None
        return
    base = Path(tempfile.gettempdir())
    remove_left(base)
    try:
        folder = Path(tempfile.mkdtemp(prefix=f"lab-tmp-{os.getpid()}-"))
    except OSError:
        return
    try:
        lock = RunLock(folder)
    except (OSError, RunError):
        folder.rmdir()
        return
    _own[os.getpid()] = folder
    # This cache must persist: torch would put it into TMPDIR by default.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(base / f"torchinductor_{getpass.getuser()}"))
    os.environ["TMPDIR"], tempfile.tempdir = str(folder), None
    atexit.register(_remove, os.getpid(), folder, lock)  # registered before the libraries' handlers, so it runs last


def remove_left(base: Path) -> None:
    """Remove the folders in ``base`` that killed processes of this user have left."""
    for path in base.glob("lab-tmp-*"):
        try:
            mine = path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.geteuid()
            left = mine and _NAME.fullmatch(path.name) and (path / "run.lock").is_file() and not is_locked(path)
        except FileNotFoundError:
            continue  # another process has just removed it
        if left:
            shutil.rmtree(path, ignore_errors=True)  # another process may be removing it too


def _remove(pid: int, folder: Path, lock: RunLock) -> None:
    if os.getpid() == pid:
        shutil.rmtree(folder, ignore_errors=True)  # a loader process may still write there; the next start removes it
        lock.release()
