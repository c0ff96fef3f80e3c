"""Replaces files and folders atomically: a reader sees the old or the new one, also after a kill or a power cut."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

CHECKPOINT_INDEX = "index.json"
"""The file that makes a folder a checkpoint: see ``lab.checkpoint.format``."""


@contextmanager
def replacing(path: Path, binary: bool = False, synced: bool = True) -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path`` that replaces it when the context ends without error.

    Args:
        path: the file to write; its folder exists.
        binary: bytes instead of UTF-8 text (whose line ends are written unchanged).
        synced: whether the content is on the disk first; otherwise a power cut may lose it, a kill does not.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") if binary else fresh.open("w", encoding="utf-8", newline="") as file:
            yield file
            if synced:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    if synced:
        sync(path.parent)  # makes the rename durable too


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, content: str) -> None:
    """Replace a text file."""
    with replacing(path) as file:
        file.write(content)


def read_regular(path: Path, most: int, end: bool = False) -> bytes:
    """Read a file from elsewhere: never a pipe or device, which would block for ever, nor more than ``most`` bytes.

    Args:
        path: the file.
        most: how many bytes are read.
        end: the last ones, not the first.

    Raises:
        OSError: it cannot be read, or is no regular file (EINVAL; a folder EISDIR).
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.EINVAL
            raise OSError(number, "a folder" if number == errno.EISDIR else "no regular file", str(path))
        start = max(0, status.st_size - most) if end else 0
        parts, left = [], min(most, status.st_size)
        while left > 0 and (part := os.pread(descriptor, left, start)):
            parts.append(part)
            left, start = left - len(part), start + len(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def remove(path: Path) -> None:
    """Delete a file, or a folder with its content; do nothing if it does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace_folder(fresh: Path, path: Path, keep: Path | None = None) -> None:
    """Replace the folder ``path`` by the folder ``fresh`` beside it.

    If the file system can exchange two names, ``path`` exists at every moment. Otherwise it is missing between two
    renames, and the old folder is ``.NAME.old``, which ``restore_folders`` finds after a kill.

    Args:
        fresh: the new folder, its content synced to the disk.
        path: the folder to replace.
        keep: where the old folder is moved, replacing what is there; None deletes it.
    """
    if not os.path.lexists(path):
        fresh.rename(path)
        sync(path.parent)
        return
    if not _exchange(fresh, path):
        aside = path.with_name(f".{path.name}.old")
        path.rename(aside)
        fresh.rename(path)
        aside.rename(fresh)
    sync(path.parent)
    if keep is None:
        remove(fresh)
    else:
        replace_folder(fresh, keep)


def restore_folders(folder: Path) -> None:
    """Rename back the folders in ``folder`` that a killed ``replace_folder`` had moved aside."""
    for aside in folder.glob(".*.old"):
        path = aside.with_name(aside.name[1:].removesuffix(".old"))
        if not os.path.lexists(path):
            aside.rename(path)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names in one step; return False if the system or the file system cannot."""
    here, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    return bool(renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def is_there(path: str | Path) -> bool:
    """Whether a path exists; False for an invalid path (a name too long, a null byte)."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def archive_in(path: str | Path) -> tuple[Path, str] | None:
    """Return the file that a path goes on inside of, and the part behind it; None if there is no such file.

    ``data/flowers.zip/train`` is the folder ``train`` of ``data/flowers.zip``; of a file itself the part is ``""``.
    """
    whole = Path(path)
    for place in (whole, *whole.parents):
        if is_there(place):
            return (place, "/".join(whole.parts[len(place.parts) :])) if place.is_file() else None
    return None


def is_checkpoint(path: str | Path) -> bool:
    """Whether a path is the folder of a checkpoint."""
    return (Path(path) / CHECKPOINT_INDEX).is_file()
