"""Sends the files of a run between machines that share no file system: what has changed, as one tar stream. No torch.

A tar from another machine is read as data: names are checked, only regular files are taken, sizes are limited, and
nothing is written outside of the run's directory. A checkpoint is a folder: it is packed as it is at one moment, and
replaces the old one as a whole.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import IO

from lab.errors import RunError
from lab.system.files import remove, replace_folder, replacing, restore_folders
from lab.text import printable

PIECE = 16 << 20
"""Bytes that are sent at a time."""
MOST = 10_000
"""Files of a run."""
CHECKPOINTS = "checkpoints"
_NOT_SENT = frozenset({"run.lock", "config.yaml", "previous.ckpt"})
"""The lock, what the other side writes itself, and the checkpoint that is only there for damaged ones."""
_LAST = ("metrics.csv", "run.json")
"""Sent after the checkpoints, so that they are never older than these."""
_PART = re.compile(r"[\w~=+-][\w.~=+, @-]{0,200}")
"""A name that begins with a dot is never sent."""
_TRIES = 20
FileMark = tuple[int, int, int]
"""Time of the last change, size and inode."""


def pack(run: Path, known: dict[str, FileMark], target: Path, most: int) -> dict[str, FileMark]:
    """Write the files of a run that have changed into a tar file.

    Args:
        run: the run's directory.
        known: the files that the other side has.
        target: the tar file; not written if nothing has changed.
        most: the largest size of a file.

    Returns:
        The files that the other side has afterwards.

    Raises:
        RunError: a file is too large, or there are too many.
    """
    for _ in range(_TRIES):
        with ExitStack() as opened:
            try:
                files = _find_all(run, opened)
            except FileNotFoundError:  # a checkpoint was replaced at this moment
                continue
            found = {name: _signature(file) for name, file in files.items()}
            changed = _changed(found, known)
            if changed:
                _write(target, {name: files[name] for name in changed}, most)
            return known | found
    raise RunError(f"{run} changes faster than it can be read")


def _find_all(run: Path, opened: ExitStack) -> dict[str, IO[bytes] | Path]:
    """Return all files of a run; those of checkpoints are opened, so that they stay readable when one is replaced."""
    top = [path for path in sorted(run.iterdir()) if not _is_left(path.name)] if run.is_dir() else []
    first = [path for path in top if path.name == CHECKPOINTS]
    last = [path for name in _LAST for path in top if path.name == name]
    found: dict[str, IO[bytes] | Path] = {}
    for path in [*first, *[path for path in top if path not in (*first, *last)], *last]:
        for file in _files_below(path):
            found[str(file.relative_to(run))] = opened.enter_context(file.open("rb")) if path in first else file
            if len(found) > MOST:
                raise RunError(f"{run} has more than {MOST} files")
    return found


def _files_below(path: Path) -> Iterator[Path]:
    mode = path.lstat().st_mode
    if stat.S_ISREG(mode):
        yield path
    elif stat.S_ISDIR(mode):
        for below in sorted(path.iterdir()):
            if not _is_left(below.name):
                yield from _files_below(below)


def _is_left(name: str) -> bool:
    return name in _NOT_SENT or name.startswith(".")  # being written, or left by a killed process


def _signature(file: IO[bytes] | Path) -> FileMark:
    found = file.stat() if isinstance(file, Path) else os.fstat(file.fileno())
    return found.st_mtime_ns, found.st_size, found.st_ino


def _changed(found: dict[str, FileMark], known: dict[str, FileMark]) -> list[str]:
    """Return the changed files; of a checkpoint all if one has changed."""
    changed = {name for name in found if found[name] != known.get(name)}
    folders = {folder for name in changed if (folder := _checkpoint_of(name))}
    return [name for name in found if name in changed or _checkpoint_of(name) in folders]


def _checkpoint_of(name: str) -> str:
    """Return the folder of the checkpoint that a file is part of; empty if it is part of none."""
    parts = name.split("/")
    return "/".join(parts[:2]) if parts[0] == CHECKPOINTS and len(parts) > 2 else ""


def _write(target: Path, files: dict[str, IO[bytes] | Path], most: int) -> None:
    with tarfile.open(target, "w") as tar:
        for name, file in files.items():
            with file.open("rb") if isinstance(file, Path) else nullcontext(file) as content:
                entry = tarfile.TarInfo(name)
                entry.size = os.fstat(content.fileno()).st_size
                if entry.size > most:
                    raise RunError(f"{printable(name)} has {entry.size} bytes; launcher.max_file allows {most}")
                tar.addfile(entry, content)


def unpack(source: Path, run: Path, most: int) -> list[str]:
    """Take the files of a tar file into a run's directory, each replaced as a whole; return their names.

    Args:
        source: the tar file, which may come from anybody.
        run: the run's directory.
        most: the largest size of a file.

    Raises:
        RunError: an entry is no regular file, its name leads elsewhere, it is too large, or there are too many.
    """
    run.mkdir(parents=True, exist_ok=True)
    taken: list[str] = []
    staged: dict[str, Path] = {}
    try:
        with tarfile.open(source, "r:") as tar:
            for entry in tar:
                _check(entry, most)
                taken.append(entry.name)
                if len(taken) > MOST:
                    raise RunError(f"more than {MOST} files of a run")
                content = tar.extractfile(entry)
                assert content is not None
                _take(content, run, entry.name, staged)
    except BaseException as error:
        for fresh in staged.values():
            remove(fresh)
        if isinstance(error, tarfile.TarError):
            raise RunError(f"the files of a run arrived damaged: {error}") from None
        raise
    if staged:
        restore_folders(run / CHECKPOINTS)
    for folder, fresh in staged.items():
        replace_folder(fresh, run / folder)
    return taken


def _check(entry: tarfile.TarInfo, most: int) -> None:
    parts = entry.name.split("/")
    fits = entry.isreg() and len(parts) <= 8 and all(_PART.fullmatch(part) for part in parts)
    if not fits or parts[-1] in _NOT_SENT:
        raise RunError(f"{printable(entry.name)!r} is no name of a file of a run")
    if entry.size > most:
        raise RunError(f"{printable(entry.name)} has {entry.size} bytes; launcher.max_file allows {most}")


def _take(content: IO[bytes], run: Path, name: str, staged: dict[str, Path]) -> None:
    folder = _checkpoint_of(name)
    if folder:
        if folder not in staged:
            staged[folder] = (run / folder).with_name(f".{Path(folder).name}.writing")
            remove(staged[folder])
        target = staged[folder] / Path(name).relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            shutil.copyfileobj(content, file)
            file.flush()
            os.fsync(file.fileno())
        return
    target = run / name
    for parent in target.relative_to(run).parents:
        if (run / parent).is_symlink():
            raise RunError(f"{run / parent} is a link")
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target, binary=True) as file:
        shutil.copyfileobj(content, file)
