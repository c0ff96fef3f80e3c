"""Things made once and kept in the cache of datasets; processes that want the same thing wait for each other."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lab.data.caches import cache_folder, cannot_write, is_of_writing
from lab.errors import DataError
from lab.system.files import sync

log = logging.getLogger(__name__)
COMPLETE = "meta.json"
"""The file without which a folder is not complete."""


def made_once(key: str, make: Callable[[Path], None], kind: str = "texts") -> Path:
    """Return a folder of the cache, which is made if it does not exist.

    Args:
        key: its name, a hash of all that decides its content.
        make: fills an empty folder, ``meta.json`` included. A process that is killed meanwhile leaves nothing that
            counts.
        kind: what is made, which names the folder that holds it, and a wait in its message.

    Raises:
        DataError: the cache cannot be written to.
    """
    root = cache_folder() / f"lab-{kind}"
    folder = root / key
    if (folder / COMPLETE).is_file():
        return folder
    try:
        root.mkdir(exist_ok=True)
        with (root / f".{key}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.warning("waiting for another process that reads the same %s", kind)
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / COMPLETE).is_file():
                _make(folder, make)
    except OSError as error:
        if is_of_writing(error) or (error.filename and str(error.filename).startswith(str(root))):
            raise DataError(cannot_write(root, error)) from error
        raise
    return folder


def _make(folder: Path, make: Callable[[Path], None]) -> None:
    for left in folder.parent.glob(f".{folder.name}.making*"):
        shutil.rmtree(left)
    shutil.rmtree(folder, ignore_errors=True)
    fresh = folder.with_name(f".{folder.name}.making{os.getpid()}")
    fresh.mkdir()
    try:
        make(fresh)
        for path in fresh.iterdir():
            sync(path)  # a power cut must not leave a folder that looks complete
        fresh.rename(folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
