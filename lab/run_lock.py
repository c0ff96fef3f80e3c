"""The lock of a run directory: held by one process, on the file that stands at the path. No torch.

A POSIX record lock: not inherited by forked workers, released by the kernel at death. A directory may be renamed or
discarded between opening its lock file and locking it; so it is locked first, then the path is looked at again.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from pathlib import Path

from lab.errors import RunError

_PATIENCE = 5
"""Tries for a lock that another process has: it may only have been looking."""
_PAUSE = 0.01
_ROUNDS = 1000
"""Tries to open a lock file that is not there though its directory was made: more are no race."""

_held: dict[tuple[int, int], int] = {}
"""Device and inode of the lock files that this process holds, and its pid: a forked child does not hold them."""


class RunLock:
    """Takes the directory ``path`` for this process, until ``release``.

    Raises:
        RunError: another process holds it, or this one does already; the message names its pid and host.
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
                # Renamed or discarded since it was made, or between pathlib's finding it there and asking what it is.
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
        """Give back a directory in which nothing could be written, and remove it if there is nothing else in it."""
        if self.names_path() and [file.name for file in self.path.iterdir()] == [self.file.name]:
            self.file.unlink()  # whoever has opened it meanwhile finds that the path names another one
            self.path.rmdir()
        self.release()

    def _refuse_own(self) -> None:
        """Refuse what this process holds: opening the file again and closing it would release the lock."""
        if _held.get(_identity_at(self.file)) == os.getpid():
            raise RunError(f"{self.path} is in use by this process already")

    def names_path(self) -> bool:
        """Whether the lock file at the path is the one that was opened: the directory is still one's own."""
        return _identity_at(self.file) == self._identity

    def release(self) -> None:
        """Give the directory back."""
        _held.pop(self._identity, None)
        os.close(self._descriptor)


def is_locked(path: Path) -> bool:
    """Whether some process holds the run directory ``path``."""
    file = path / "run.lock"
    try:
        # Opening and closing the file would release a lock of this process.
        if _held.get(_identity_at(file)) == os.getpid():
            return True
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
