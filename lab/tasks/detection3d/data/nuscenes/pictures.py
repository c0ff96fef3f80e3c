"""Finds the pictures that a source names, below the dataset's folder; identifies files by their contents.

Infos hold paths of the machine that made them (``./data/nuscenes/samples/CAM_FRONT/a.jpg``), or names without a folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lab.data.caches import contents
from lab.data.folders import name_problem

_TOPS = ("samples", "sweeps")


class PictureFolders:
    """The folders below a dataset's root, each listed once.

    Args:
        roots: where pictures are looked for, in this order.
    """

    def __init__(self, *roots: Path) -> None:
        self.roots = tuple(dict.fromkeys(roots))
        self._listed: dict[str, frozenset[str]] = {}

    def find(self, camera: str, name: str) -> Path | None:
        """Return the file of a camera's picture, or None."""
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if not parts or name_problem(parts[-1]):
            return None
        last = parts[-1]
        top = next((number for number, part in enumerate(parts) if part in _TOPS), None)
        places = [] if top is None else ["/".join(parts[top:-1])]
        for root in self.roots:
            for place in (*places, f"samples/{camera}", camera, ""):
                if ".." not in place.split("/") and last in self._names(root, place):
                    return root / place / last
        return None

    def _names(self, root: Path, place: str) -> frozenset[str]:
        folder = str(root / place)
        if folder not in self._listed:
            try:
                self._listed[folder] = frozenset(os.listdir(folder))  # noqa: PTH208 - names alone, of 170,000 files
            except (FileNotFoundError, NotADirectoryError):
                self._listed[folder] = frozenset()
        return self._listed[folder]


def hash_of(files: Sequence[Path]) -> str:
    """Return a hash of the names, sizes and contents of files."""
    digest = hashlib.sha256(b"nuscenes-1")
    paths = [file.absolute() for file in files]
    top = Path(os.path.commonpath([path.parent for path in paths]))
    named = [(path.relative_to(top).as_posix(), _size(path)) for path in paths]
    for (name, size), content in zip(named, contents(top, named), strict=True):
        digest.update(f"{name}\0{size}\0{content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a broken link: reading the picture will say so
        return -1
