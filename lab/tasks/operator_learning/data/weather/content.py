"""Finds files of fields, and takes the fingerprint of their content."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

from lab.data.caches import contents
from lab.data.folders import is_hidden
from lab.errors import DataError


def find_files(root: Path, patterns: str | Sequence[str] | None, suffixes: Collection[str], key: str) -> list[Path]:
    """Return the files that names or patterns mean, sorted by name; a folder of Zarr counts as a file.

    Args:
        root: the folder of the files.
        patterns: names or patterns (``t2m_*.nc``) relative to it; None: all files with a known suffix.
        suffixes: of files, with the dot.
        key: the key of the patterns, for messages.

    Raises:
        DataError: one means no file.
    """
    if root.is_file() or root.suffix == ".zarr":
        return [root]
    if patterns is None:
        found = [
            path for path in sorted(root.glob("*")) if path.suffix.lower() in suffixes and not is_hidden(path.name)
        ]
        if not found:
            raise DataError(f"{root}: there is no file of {', '.join(sorted(suffixes))}; {key} names them")
        return found
    names = [patterns] if isinstance(patterns, str) else list(patterns)
    files: dict[Path, None] = {}
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DataError(f"{key}={name}: give a name or a pattern in the folder data.root={root}")
        matches = sorted(root.glob(name))
        if not matches:
            there = ", ".join(sorted(path.name for path in root.glob("*"))[:5]) or "nothing"
            raise DataError(f"{key}={name}: there is no such file in {root}, only {there}")
        files.update(dict.fromkeys(matches))
    return list(files)


def content_of(paths: Sequence[Path]) -> str:
    """Return a hash of names and content of files; of the files of each folder of Zarr.

    Raises:
        DataError: a file is missing, or the cache of datasets cannot be written to.
    """
    digest = hashlib.sha256()
    for path in paths:
        files = [path] if path.is_file() else sorted(inner for inner in path.rglob("*") if inner.is_file())
        try:
            listed = [(str(file.relative_to(path.parent)), file.stat().st_size) for file in files]
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
        hashes = contents(path.parent, listed)
        for (name, _), content in zip(listed, hashes, strict=True):
            digest.update(f"{name}\0{content}\0".encode())
    return digest.hexdigest()
