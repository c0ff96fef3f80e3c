"""The lock of a run directory: one process holds it, on the lock file at the directory's path. No torch.

It is a POSIX record lock: forked workers do not inherit it, and the kernel releases it when the process dies. Another
process may rename or remove the directory between opening its lock file and locking it. So the file is locked first,
and then it is checked that the path still names it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import time
from pathlib import Path

from lab.errors import RunError

_PATIENCE = 5
"""Attempts to get a lock that another process holds: ``is_locked`` of another process takes it for a moment."""
_PAUSE = 0.01
_ROUNDS = 1000
"""Attempts to open a lock file whose directory another process keeps removing; more cannot be a race."""

_held: dict[tuple[int, int], int] = {}
"""Device and inode of each lock file that this process holds, with its pid: a forked child does not hold them."""


class RunLock:
    """Locks the directory ``path`` for this process, until ``release``.

    Raises:
        RunError: another process holds the lock, or this one already does; the message names its pid and host.
        OSError: the directory or its lock file cannot be made or locked.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path / "run.lock"
        tries = rounds = 0
        while True:
            rounds += 1
            self._refuse_own()
            try:
                path.mkdir(parents=True, exist_ok=True)
                descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except (FileNotFoundError, FileExistsError):
                # Renamed or removed since it was made, or between the two system calls of pathlib's mkdir.
                if rounds > _ROUNDS or (os.path.lexists(path) and not path.is_dir()):
                    raise
                continue
            self._identity = _identity(os.fstat(descriptor))
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                owner = os.pread(descriptor, 200, 0).decode("utf-8", "replace").strip()
                tries += self.names_path()
                os.close(descriptor)
                if tries >= _PATIENCE:
                    raise RunError(
                        f"{path} is in use by {owner or 'an unknown process'}; wait for it, or end it to continue "
                        "from its checkpoint"
                    ) from None
                time.sleep(_PAUSE)
                continue
            except OSError:
                os.close(descriptor)
                raise
            if self.names_path():
                break
            os.close(descriptor)
        self._descriptor = descriptor
        _held[self._identity] = os.getpid()
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"pid {os.getpid()} on {socket.gethostname()}".encode(), 0)
        except OSError:
            self._withdraw()
            raise

    def _withdraw(self) -> None:
        """Release a directory in which nothing could be written, and remove it if it holds nothing else."""
        if self.names_path() and [file.name for file in self.path.iterdir()] == [self.file.name]:
            self.file.unlink()  # a process that has opened it meanwhile finds that the path no longer names it
            self.path.rmdir()
        self.release()

    def _refuse_own(self) -> None:
        """Refuse a directory that this process already holds: opening and closing its file would release the lock."""
        if _held.get(_identity_at(self.file)) == os.getpid():
            raise RunError(f"{self.path} is in use by this process already")

    def names_path(self) -> bool:
        """Whether the lock file at the path is the one that was opened, so that the directory is still locked."""
        return _identity_at(self.file) == self._identity

    def release(self) -> None:
        """Release the lock."""
        _held.pop(self._identity, None)
        os.close(self._descriptor)


def is_locked(path: Path) -> bool:
    """Whether some process holds the run directory ``path``."""
    file = path / "run.lock"
    try:
        # Opening and closing the file would release a lock of this process.
        if _held.get(_identity_at(file)) == os.getpid():
            return True
        if not stat.S_ISREG(file.stat().st_mode):
            return True  # as one that cannot be opened; opening a pipe would block for ever
        with file.open("r", encoding="utf-8") as opened:
            fcntl.lockf(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _identity_at(path: Path) -> tuple[int, int]:
    try:
        return _identity(path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return 0, 0  # no file has this


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
