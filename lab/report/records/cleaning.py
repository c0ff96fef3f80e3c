"""``lab clean``: what of a runs folder could be deleted, and why; and its deletion. No torch.

What is never touched: a run that a process holds, best.ckpt of a finished run, whatever is no run's directory, and
what a link leads to. Each thing is checked again under the lock of its run before it is deleted.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import ConfigError, RunError
from lab.run_directory import LEFT, RunDirectory
from lab.run_lock import RunLock, is_locked
from lab.run_name import SWEEPS
from lab.system.files import is_checkpoint, remove

_SET_ASIDE = re.compile(r".+~\d+")
_DISCARDED = re.compile(r"\..+\.\d+\.discarded")
_OF_A_NEW_RUN = {"run.lock", "run.json", "config.yaml", "checkpoints"}
_AGES = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
_RESUMING = ("last.ckpt", "previous.ckpt")


@dataclass(frozen=True)
class Deletable:
    """Something that could be deleted.

    Attributes:
        path: a run's directory, a part of one, or the folder of a sweep.
        home: the directory whose lock is held while it is deleted.
        reason: why nobody needs it.
        size: its bytes.
        changed: when something in it was changed last, in seconds since the epoch.
    """

    path: Path
    home: Path
    reason: str
    size: int
    changed: float


def find_deletable(folder: Path, emptied: Sequence[Path] = ()) -> list[Deletable]:
    """Return what could be deleted of the runs that lie directly in a folder.

    Args:
        folder: ``paths.runs_dir``.
        emptied: folders of sweeps of which no run is left (``lab.sweeps.membership``).

    Raises:
        RunError: the folder does not exist, cannot be read, is a run itself or holds neither run nor sweep.
    """
    _check_folder(folder)
    found = [item for path in _children(folder) for item in _in_child(path)]
    found += [_item(path, path, "a sweep of which no run is left") for path in emptied if _is_folder(path)]
    return sorted(found, key=lambda item: str(item.path))


def delete(item: Deletable, emptied: Sequence[Path] = ()) -> str:
    """Delete something if the reason still holds; return why it was left, or ``""``.

    Raises:
        OSError: it cannot be deleted.
    """
    if _DISCARDED.fullmatch(item.path.name):
        if not _is_discarded(item.path):
            return "it has changed meanwhile"
        remove(item.path)
        return ""
    if item.home != item.path or item.path not in emptied:
        return _delete_of_run(item)
    try:
        lock = RunLock(item.path)
    except RunError as error:
        return str(error)
    try:
        remove(item.path)
    finally:
        lock.release()
    return ""


def _delete_of_run(item: Deletable) -> str:
    if not _is_run(item.home):
        return "it has changed meanwhile"
    run = RunDirectory(item.home)
    try:
        run.lock()
    except RunError as error:
        return str(error)
    try:
        if not any((found.path, found.reason) == (item.path, item.reason) for found in _in_run(item.home)):
            return "it has changed meanwhile"
        if item.path == item.home:
            run.discard()
        else:
            run.check_own()
            remove(item.path)
    finally:
        run.release()
    return ""


def older_than(text: str) -> float:
    """Return ``7d``, ``12h`` or ``2w`` as seconds.

    Raises:
        ConfigError: it is none of these.
    """
    found = re.fullmatch(r"([0-9]{1,6})([hdw])", text)
    if found is None:
        raise ConfigError(f"--older-than {text}: write hours, days or weeks, as 12h, 7d or 2w")
    return int(found[1]) * _AGES[found[2]]


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; paths.runs_dir says where runs go")
    if _is_run(folder):
        raise RunError(f"{folder} is a run; name the folder of runs that it lies in")
    try:
        children = _children(folder)
    except OSError as error:
        raise RunError(f"{folder} cannot be read ({error.strerror})") from error
    if not any(_is_run(path) for path in children) and not _is_folder(folder / SWEEPS):
        raise RunError(f"{folder} is no folder of runs: no run's directory lies directly in it")


def _children(folder: Path) -> list[Path]:
    """Return the folders in a folder, no links."""
    with os.scandir(folder) as entries:
        return sorted(folder / entry.name for entry in entries if entry.is_dir(follow_symlinks=False))


def _in_child(path: Path) -> Iterator[Deletable]:
    if _is_discarded(path):
        yield _item(path, path, "what a killed process was removing")
    elif _is_run(path) and not is_locked(path):
        yield from _in_run(path)


def _in_run(path: Path) -> Iterator[Deletable]:
    """Yield what could be deleted of a run that no other process holds; of what goes as a whole no part is named."""
    run = RunDirectory(path)
    state = "" if run.damage else str(run.record.get("state", ""))
    aside = _SET_ASIDE.fullmatch(path.name) is not None
    checkpoints = path / "checkpoints"
    names = _names(checkpoints)
    if aside and state in ("running", "interrupted", "failed", "diverged", "pruned"):
        yield _item(path, path, f"set aside by resume=never, {'stopped' if state == 'running' else state}")
        return
    # A name that ends with .old may be the only copy of a checkpoint, and a link may lead to some.
    has_none = not any(name.endswith(".old") or not LEFT.fullmatch(name) for name in names)
    if state == "failed" and has_none and (_is_folder(checkpoints) or not os.path.lexists(checkpoints)):
        yield _item(path, path, "failed without a checkpoint")
        return
    if state == "finished" and is_checkpoint(checkpoints / "best.ckpt") and _is_folder(checkpoints / "best.ckpt"):
        for name in _RESUMING if aside else ("previous.ckpt",):
            if _is_folder(checkpoints / name) and (aside or is_checkpoint(checkpoints / "last.ckpt")):
                why = "set aside by resume=never, finished: only resuming needs it" if aside else "of a finished run"
                yield _item(checkpoints / name, path, why)
    for folder in (path, checkpoints):
        for name in sorted(_names(folder)):
            whole = folder / name[1:].removesuffix(".old")
            if LEFT.fullmatch(name) and not (name.endswith(".old") and not os.path.lexists(whole)):
                yield _item(folder / name, path, "what a killed process was writing")


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in os.scandir(folder)] if _is_folder(folder) else []


def _is_run(path: Path) -> bool:
    """Whether a folder, no link, has a record or a config that is a file, no link."""
    return _is_folder(path) and any(_mode(path / name, stat.S_ISREG) for name in ("run.json", "config.yaml"))


def _is_discarded(path: Path) -> bool:
    """Whether a folder is what ``RunDirectory.discard`` leaves: a new run's files and nothing else."""
    return _DISCARDED.fullmatch(path.name) is not None and _is_folder(path) and set(_names(path)) <= _OF_A_NEW_RUN


def _is_folder(path: Path) -> bool:
    return _mode(path, stat.S_ISDIR)


def _mode(path: Path, of_kind: Callable[[int], bool]) -> bool:
    """Whether something is there, itself and not what a link leads to, and is of a kind."""
    try:
        return of_kind(path.lstat().st_mode)
    except OSError:
        return False


def _item(path: Path, home: Path, reason: str) -> Deletable:
    size, changed = _measure(path)
    return Deletable(path, home, reason, size, changed)


def _measure(path: Path) -> tuple[int, float]:
    """Return the bytes of a file or folder, and when something in it was changed last; links are not followed."""
    status = path.lstat()
    size, changed = status.st_size if not stat.S_ISDIR(status.st_mode) else 0, status.st_mtime
    for folder, _, files in os.walk(path, followlinks=False):
        for file in files:
            try:
                status = os.lstat(os.path.join(folder, file))  # noqa: PTH118
            except OSError:
                continue  # removed meanwhile
            size, changed = size + status.st_size, max(changed, status.st_mtime)
    return size, changed


def size_words(count: int) -> str:
    """Return bytes as ``12 B``, ``3.4 KiB``, ``5.6 MiB``, ``7.8 GiB``."""
    value, units = float(count), ["B", "KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{value:.1f} {units[0]}"
