"""What the ranks of a prediction write as they go: each into a folder of its own, put together by rank 0 at the end.

Nothing of it stands at its last name before all of it is written: what ends a prediction on its way leaves nothing.
"""

from __future__ import annotations

import heapq
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist

from lab.errors import RunError
from lab.run_lock import RunLock, is_locked
from lab.strategies import collectives
from lab.system.files import sync

_PREFIX = ".parts-"
RECORDS = "records.jsonl"
"""In the folder of a rank: a line of JSON for each input, in ascending order of the key ``number``."""


@dataclass(frozen=True)
class Parts:
    """Where a prediction is written before it is finished.

    Attributes:
        folder: where its files are to stand.
        temporary: the folder beside them that all ranks write into.
        rank: this process.
    """

    folder: Path
    temporary: Path
    rank: int

    @property
    def own(self) -> Path:
        """The folder of this rank."""
        return self.temporary / f"{self.rank:05d}"

    @property
    def merged(self) -> Path:
        """The folder of what rank 0 makes of all parts."""
        return self.temporary / "merged"

    def collect(self) -> list[Path]:
        """Wait until all ranks have come here; return their folders on rank 0, nothing on the others."""
        if collectives.world_size() > 1:
            dist.barrier()
        if self.rank:
            return []
        self.merged.mkdir()
        return [self.temporary / f"{rank:05d}" for rank in range(collectives.world_size())]

    def publish(self, folders: Sequence[Path]) -> None:
        """Give the files of these folders their names in ``folder``, the place of an older file included.

        Files in subfolders come first, ``records.jsonl`` stays. Each was written as a whole before.
        """
        for source in folders:
            for sub in sorted(path for path in source.iterdir() if path.is_dir()):
                (self.folder / sub.name).mkdir(exist_ok=True)
                for file in sub.iterdir():
                    file.replace(self.folder / sub.name / file.name)
        for source in folders:
            for file in sorted(path for path in source.iterdir() if path.is_file() and path.name != RECORDS):
                sync(file)
                file.replace(self.folder / file.name)
        sync(self.folder)


@contextmanager
def parts_in(folder: Path, rank: int) -> Iterator[Parts]:
    """Within this context the ranks of a prediction write into folders beside its target; every rank enters it.

    What a killed prediction has left there is removed first; what this one has written and not published is removed
    when the context ends, and so is ``folder`` if it was made for it and is empty.

    Args:
        folder: where the prediction is to stand.
        rank: this process.

    Raises:
        RunError: this rank does not see what rank 0 has made: they share no disk.
    """
    lock, made, name = _begin(folder) if rank == 0 else (None, [], "")
    name, made = collectives.from_rank_zero((name, made))
    parts = Parts(folder, folder / name, rank)
    try:
        if not parts.temporary.is_dir():
            raise RunError(f"{folder}: rank {rank} does not see it; the ranks of a prediction write to one shared disk")
        parts.own.mkdir()
        yield parts
    except BaseException:
        shutil.rmtree(parts.own, ignore_errors=True)  # it may not have been made
        raise
    finally:
        if lock is not None:
            lock.release()
            shutil.rmtree(parts.temporary, ignore_errors=True)  # another rank may be about to remove its own
        _remove_empty([parts.temporary, *made])


def _begin(folder: Path) -> tuple[RunLock, list[Path], str]:
    """Make the folder for all parts; return its lock, the folders that had to be made for it, and its name."""
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_PREFIX}*"):
            if (left / "run.lock").is_file() and not is_locked(left):
                shutil.rmtree(left)
        temporary = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
        made.insert(0, temporary)
        return RunLock(temporary), made[1:], temporary.name
    except BaseException:
        _remove_empty(made)
        raise


def _remove_empty(folders: Sequence[Path]) -> None:
    for path in folders:
        with suppress(OSError):  # there is something in it, or another rank has removed it
            path.rmdir()


class RecordWriter:
    """Appends a line of JSON for each input to the records of this rank.

    Args:
        parts: whose ``own`` folder is written to.
    """

    def __init__(self, parts: Parts) -> None:
        self._file = (parts.own / RECORDS).open("w", encoding="utf-8")
        self._last = -1

    def write(self, number: int, record: dict[str, Any]) -> None:
        """Append what is to be known of an input; numbers ascend.

        Raises:
            RuntimeError: they do not; the loader has another order than the inputs.
        """
        if number <= self._last:
            raise RuntimeError(f"input {number} comes after input {self._last}: a loader must keep the inputs' order")
        self._last = number
        self._file.write(json.dumps({"number": number, **record}) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True)
class Records:
    """The records of all ranks in the order of the inputs, read anew each time; one of each rank is held.

    Attributes:
        folders: of the ranks.
    """

    folders: Sequence[Path]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield each record."""
        return heapq.merge(*map(_read, self.folders), key=lambda record: int(record["number"]))


def _read(folder: Path) -> Iterator[dict[str, Any]]:
    with (folder / RECORDS).open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
