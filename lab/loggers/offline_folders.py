"""W&B's own folders in run directories, as its files name them: what is not uploaded yet, which media were logged.

``RUN/wandb/offline-run-20261129_102017-0b446418`` is what one process of the W&B run 0b446418 has recorded offline;
``run-...`` was recorded online.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_FOLDER = re.compile(r"offline-run-(?P<start>\d{8}_\d{6})-(?P<id>[A-Za-z0-9_-]+)")
_MEDIUM = re.compile(r"(?P<key>.+)_\d+_[0-9a-f]{16,}(\.[a-z0-9]+)+")
_PARTS = ("metadata/", "images/mask/")
"""Boxes and masks of pictures, which have no keys of their own."""


@dataclass(frozen=True, order=True)
class OfflineFolder:
    """What one process has recorded offline; in the order of their starts.

    Attributes:
        start: when it began, ``20261129_102017``.
        id: the id of its W&B run.
        path: the folder.
    """

    start: str
    id: str
    path: Path

    @property
    def record(self) -> Path:
        """The file with all that was logged."""
        return self.path / f"run-{self.id}.wandb"

    @property
    def mark(self) -> Path:
        """The file that ``wandb sync`` leaves beside the record when it has uploaded it."""
        return self.path / f"{self.record.name}.synced"

    @property
    def is_uploaded(self) -> bool:
        """Whether all of it has been uploaded."""
        return self.mark.exists()


def offline_folders(run_dir: Path) -> list[OfflineFolder]:
    """Return the offline folders of a run directory, the earliest first; those without a record are left out."""
    found = []
    for path in (run_dir / "wandb").glob("offline-run-*"):
        named = _FOLDER.fullmatch(path.name)
        if named and path.is_dir() and (path / f"run-{named['id']}.wandb").is_file():
            found.append(OfflineFolder(named["start"], named["id"], path))
    return sorted(found)


def logged_media(run_dir: Path) -> dict[str, str]:
    """Return the kind of each media key that a run has logged: ``images``, ``table``, ``audio``, ``html`` and so on."""
    found: dict[str, str] = {}
    for media in sorted((run_dir / "wandb").glob("*run-*/files/media")):
        if not media.parents[1].is_symlink():
            found |= dict(_keys(media))
    return found


def _keys(media: Path) -> Iterator[tuple[str, str]]:
    for path in media.rglob("*"):
        name = path.relative_to(media).as_posix()
        kind, _, rest = name.partition("/")
        named = _MEDIUM.fullmatch(rest)
        if named and not name.startswith(_PARTS):
            yield named["key"], kind
