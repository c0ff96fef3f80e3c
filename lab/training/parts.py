"""How the ranks of a prediction write results: each rank into its own folder; rank 0 puts them together at the end.

Files get their final names only when all of them are written. A prediction that is cut short leaves no results.
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
"""A file in the folder of a rank: one line of JSON per input, in ascending order of the key ``number``."""


@dataclass(frozen=True)
class Parts:
    """The folders of an unfinished prediction.

    Attributes:
        folder: where the finished files go.
        temporary: the folder beside it that all ranks write into.
        rank: the rank of this process.
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
        """The folder for the results that rank 0 merges from all parts."""
        return self.temporary / "merged"

    def collect(self) -> list[Path]:
        """Wait for all ranks. Return their folders on rank 0, an empty list on the others."""
        if collectives.world_size() > 1:
            dist.barrier()
        if self.rank:
            return []
        self.merged.mkdir()
        return [self.temporary / f"{rank:05d}" for rank in range(collectives.world_size())]

    def publish(self, folders: Sequence[Path]) -> None:
        """Move the files of these folders into ``folder``; they replace older files of the same name.

        Files in subfolders are moved first; ``records.jsonl`` is not moved. All files are complete by now.
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
    """Context in which the ranks of a prediction write into folders beside its target. Every rank enters it.

    Leftovers of a killed prediction are removed first. When the context ends, files that were not published are
    removed, and so is ``folder`` if it was made here and is empty. A rank that fails removes what it wrote itself:
    another may be writing still, and its error shall not be that its folder is gone.

    Args:
        folder: where the finished prediction goes.
        rank: the rank of this process.

    Raises:
        RunError: this rank does not see the folder that rank 0 has made: the ranks share no disk.
    """
    lock, made, name = _begin(folder) if rank == 0 else (None, [], "")
    name, made = collectives.from_rank_zero((name, made))
    parts = Parts(folder, folder / name, rank)
    try:
        if not parts.temporary.is_dir():
            raise RunError(f"{folder}: rank {rank} does not see it; the ranks of a prediction need one shared disk")
        parts.own.mkdir()
        yield parts
    except BaseException:
        collected = rank == 0 and parts.merged.is_dir()  # the other ranks have left
        shutil.rmtree(parts.temporary if collected else parts.own, ignore_errors=True)  # it may not have been made
        raise
    else:
        if rank == 0:
            shutil.rmtree(parts.temporary, ignore_errors=True)
    finally:
        if lock is not None:
            lock.release()
        with suppress(FileNotFoundError):  # another rank may be doing the same
            if not any(path.is_dir() for path in parts.temporary.iterdir()):
                shutil.rmtree(parts.temporary, ignore_errors=True)
        _remove_empty(made)


def _begin(folder: Path) -> tuple[RunLock, list[Path], str]:
    """Make the folder for all parts. Return its lock, the folders that were created for it, and its name."""
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
        with suppress(OSError):  # it is not empty, or another rank has removed it
            path.rmdir()


class RecordWriter:
    """Appends one line of JSON per input to the records of this rank.

    Args:
        parts: the records go into its ``own`` folder.
    """

    def __init__(self, parts: Parts) -> None:
        self._file = (parts.own / RECORDS).open("w", encoding="utf-8")
        self._last = -1

    def write(self, number: int, record: dict[str, Any]) -> None:
        """Append the record of an input; numbers must ascend.

        Raises:
            RuntimeError: they do not, because the loader changed the order of the inputs.
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
    """The records of all ranks, in the order of the inputs; one of each input, which the ranks of a tensor group share.

    Each iteration reads the files again and holds only one record per rank in memory.

    Attributes:
        folders: the folders of the ranks.
    """

    folders: Sequence[Path]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield each record."""
        last = -1
        for record in heapq.merge(*map(_read, self.folders), key=lambda record: int(record["number"])):
            number = record["number"]
            if number != last:
                yield record
            last = number


def _read(folder: Path) -> Iterator[dict[str, Any]]:
    with (folder / RECORDS).open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
