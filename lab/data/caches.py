"""The cache folder of datasets, and hashes of files' contents: content identifies a file, not its name or time.

Only the standard library is used, so that a fingerprint can be taken before torch is imported.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeGuard

from lab.errors import DataError
from lab.system.files import write_text

WHOLE_BELOW = 4 << 30
"""Folders up to this many bytes are hashed completely: 4 GiB take a few seconds."""
EDGE = 4096
"""In larger folders (COCO has 19 GB) this many bytes are hashed at the start and at the end of each file."""
RECENT_NS = 2_000_000_000
"""Seconds: the hash of a file changed more recently is not remembered, as it may change again without a new time."""
_VERSION = 1

FileIdentity = tuple[int, int, int, int]
"""Size, modification time, inode change time, inode: a file for which all four are equal is unchanged."""

_remembered: dict[str, dict[str, tuple[FileIdentity, str]]] = {}


def cache_folder() -> Path:
    """Return the cache folder of Hugging Face ``datasets``; it is created if it does not exist.

    Raises:
        DataError: it cannot be written to; the message names the variable that moves it.
    """
    loaded = sys.modules.get("datasets")
    if loaded is not None:
        folder = Path(loaded.config.HF_DATASETS_CACHE)
    else:
        home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
        folder = Path(os.environ.get("HF_DATASETS_CACHE") or Path(home, "datasets")).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:
        raise DataError(cannot_write(folder, error)) from error
    return folder


def cannot_write(folder: Path, error: BaseException) -> str:
    """Return the message for a cache that cannot be written to."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (
        f"{folder}: this is the cache of datasets, and it cannot be written to ({why}); "
        "HF_DATASETS_CACHE=FOLDER names another place"
    )


def is_of_writing(error: BaseException | None) -> TypeGuard[OSError]:
    """Return whether an error comes from writing and not from reading."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def contents(folder: Path, files: Sequence[tuple[str, int]]) -> list[str]:
    """Return for each file a string that identifies its content: a different string means different content.

    Several threads hash the files. A hash is remembered as long as the file keeps its inode and the inode's change
    time, which no program can set back. For files that cannot be read nothing is remembered.

    Args:
        folder: where the files are.
        files: (name relative to the folder, size) of each file.

    Raises:
        DataError: the cache cannot be written to.
    """
    whole = sum(max(size, 0) for _, size in files) <= WHOLE_BELOW
    memory_key = f"{folder.resolve()}\0{whole}"
    path = cache_folder() / "lab-contents" / f"{hashlib.sha256(memory_key.encode('utf-8', 'replace')).hexdigest()}.json"
    known = _remembered.get(memory_key) or _load(path)
    states = [_identity(f"{folder}{os.sep}{name}") for name, _ in files]
    digests: list[str | None] = []
    for (name, _), state in zip(files, states, strict=True):
        before = known.get(name)
        digests.append(before[1] if before is not None and before[0] == state else None)
    unknown = [number for number, digest in enumerate(digests) if digest is None]
    if unknown:
        with ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1))) as threads:
            hashed = threads.map(lambda number: _hash(folder / files[number][0], whole), unknown)
            for number, (readable, digest) in zip(unknown, hashed, strict=True):
                digests[number] = digest
                states[number] = states[number] if readable else None
    settled = time.time_ns() - RECENT_NS
    kept = {
        name: (state, str(digest))
        for (name, _), state, digest in zip(files, states, digests, strict=True)
        if state is not None and max(state[1:3]) < settled
    }
    if kept != known:
        _save(path, kept)
    _remembered[memory_key] = kept
    return [str(digest) for digest in digests]


def _identity(path: str) -> FileIdentity | None:
    """Return values that stay the same as long as a file is unchanged, or None if it does not exist."""
    try:
        state = os.stat(path)  # noqa: PTH116 - 5x faster than Path
    except OSError:  # opening the file will report what is wrong
        return None
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def _hash(path: Path, whole: bool) -> tuple[bool, str]:
    """Return whether a file can be read, and the hash of its content or why it cannot."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe would block for ever
            return False, "no regular file"
        with path.open("rb") as file:
            if whole or os.fstat(file.fileno()).st_size <= 2 * EDGE:
                return True, hashlib.file_digest(file, "sha256").hexdigest()
            start = file.read(EDGE)
            file.seek(-EDGE, os.SEEK_END)
            return True, hashlib.sha256(start + file.read(EDGE)).hexdigest()
    except OSError as error:
        return False, f"cannot be read: {error.errno}"


def _load(path: Path) -> dict[str, tuple[FileIdentity, str]]:
    """Return the remembered hashes; a damaged file counts as missing."""
    try:
        stored = json.loads(path.read_text())
        if stored["version"] != _VERSION:
            return {}
        return {
            name: ((size, mtime, ctime, inode), digest) for name, size, mtime, ctime, inode, digest in stored["files"]
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _save(path: Path, kept: dict[str, tuple[FileIdentity, str]]) -> None:
    stored = {"version": _VERSION, "files": [[name, *identity, digest] for name, (identity, digest) in kept.items()]}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(stored))
    except OSError as error:
        raise DataError(cannot_write(path.parent, error)) from error
