"""Disk errors (full, no inodes, read-only, gone) as one line: where, what was kept, what is needed."""

from __future__ import annotations

import errno
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

FEW_INODES = 64
"""A disk with fewer free inodes than these may have had none a moment ago."""
_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_THE_DISK = (*_FULL, errno.EROFS, errno.EIO, errno.ESTALE, errno.EFBIG, errno.ENODEV, errno.ENXIO, errno.ENOTCONN)
_GONE = (errno.ENOENT, errno.ENOTDIR)
_DENIED = (errno.EACCES, errno.EPERM)
_IN_TEXT = re.compile(r"\[Errno (\d+)\]|\(os error (\d+)\)|\(errno:? (\d+)\)|: No space left on device \((\d+)\)", re.I)
"""How Python, Rust libraries (safetensors) and C++ libraries (Arrow, torch) write the errno in a message."""
_PATH_IN_TEXT = re.compile(r"\[Errno \d+\] [^:'\n]+: '([^'\n]+)'")
_KEPT = ("last.ckpt", "previous.ckpt", "best.ckpt")


class StorageError(Exception):
    """A read or write failed because of the disk. The command is not wrong, and no traceback is needed; exit code 1.

    Args:
        where: the file or folder.
        number: the errno.
        needed: the bytes that were to be written, if known.
    """

    def __init__(self, where: Path, number: int, needed: int | None = None) -> None:
        self.where, self.number, self.needed = where, number, needed
        self.kept = ""
        super().__init__(where, number, needed)

    def __str__(self) -> str:
        """Return the one line."""
        if self.number in _GONE:
            return (
                f"{self.where} was moved or deleted while it was in use; if it was moved, resume=ITS_NEW_PLACE "
                "continues from its last checkpoint"
            )
        line = f"{self.where}: {os.strerror(self.number)}{self.room()}"
        if self.kept:
            line += f"; kept: {self.kept}"
        remedy = "free some space" if self.number in _FULL else "make it readable and writable"
        again = (
            "repeat the command to continue" if self.kept else "repeat the command (paths.runs_dir says where runs go)"
        )
        return f"{line}; {remedy} and {again}"

    def room(self) -> str:
        """Return what is free on a full disk, in parentheses; empty for other errors."""
        if self.number not in _FULL:
            return ""
        found = _usage(self.where)
        needed = f", {_size(self.needed)} needed" if self.needed else ""
        if found is None:
            return needed and f" ({needed[2:]})"
        disk, free, inodes = found
        # With room for the bytes it was the inodes, some of which may have been given back since.
        if inodes == 0 or (inodes < FEW_INODES and free >= (self.needed or free + 1)):
            return f" (the disk at {disk} has no inode left: no more files can be created{needed})"
        return f" (the disk at {disk} has {_size(free)} free{needed})"


def explain(
    error: BaseException, run: Path | None = None, *, where: Path | None = None, needed: int | None = None
) -> StorageError | None:
    """Return a ``StorageError`` if an exception is about the disk; None otherwise.

    Args:
        error: the exception; its causes and contexts are checked too.
        run: the directory of the present run.
        where: the file or folder, if the exception does not name it.
        needed: the bytes that were to be written.
    """
    for link in _chain(error):
        if isinstance(link, StorageError):
            found: StorageError | None = link
        else:
            found = _of(link, run, where, needed)
        if found is not None:
            if run is not None and not found.kept:
                found.kept = describe_kept(run)
            return found
    return None


def describe_kept(run: Path) -> str:
    """Return the checkpoints in a run directory, with their steps; ``""`` if there is none."""
    kept = []
    for name in _KEPT:
        try:
            step = json.loads((run / "checkpoints" / name / "index.json").read_bytes())["step"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # it does not exist, or cannot be read
        kept.append(f"{name} of step {step}")
    return ", ".join(kept)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop(0)
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [link.__cause__, link.__context__]


def _of(error: BaseException, run: Path | None, where: Path | None, needed: int | None) -> StorageError | None:
    text = str(error)
    found = _IN_TEXT.search(text)
    number = error.errno if isinstance(error, OSError) and error.errno else None
    if number is None and found is not None:
        number = int(next(group for group in found.groups() if group))
    if number is None:
        return None
    named = error.filename if isinstance(error, OSError) else None
    if named is None and (path := _PATH_IN_TEXT.search(text)) is not None:
        named = path.group(1)
    where = where or (Path(os.fsdecode(named)) if isinstance(named, str | bytes) else None)
    if number in _OF_THE_DISK:
        return StorageError(where or _fullest(run, number, text), number, needed)
    if run is None:
        return None
    if number in _GONE and (not run.exists() or (where == run and "moved or deleted" in text)):
        return StorageError(run, number)
    inside = where is not None and where.absolute().is_relative_to(run.absolute())
    return StorageError(where, number) if number in _DENIED and inside and where is not None else None


def _fullest(run: Path | None, number: int, text: str) -> Path:
    """Guess the path of an error without one: the written place with the least free space."""
    if ("torch_" in text and "file <" in text) or "shared memory" in text:
        return Path("/dev/shm")
    here = run or Path.cwd()
    if number not in _FULL:
        return here
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    places = [here, Path(os.environ.get("HF_DATASETS_CACHE", home / "datasets")), Path(tempfile.gettempdir())]
    room = {place: found[1] if found[2] else 0 for place in places if (found := _usage(place)) is not None}
    return min(room, key=lambda place: room[place], default=here)


def _usage(path: Path) -> tuple[Path, int, int] | None:
    """Return the mount point of ``path``, its free bytes and free inodes (``FEW_INODES`` if they are not counted)."""
    folder = path.absolute()
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        status = os.statvfs(folder)
    except OSError:
        return None
    while not folder.is_mount() and folder != folder.parent:
        folder = folder.parent
    return folder, status.f_bavail * status.f_frsize, status.f_favail if status.f_files else FEW_INODES


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
