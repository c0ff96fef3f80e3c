"""Files replaced as a whole: a reader, a kill or a power cut finds the old content or the new, never a part."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def replacing(path: Path, binary: bool = False) -> Iterator[IO[Any]]:
    """Open a temporary file beside ``path`` that takes its place, synced to the disk, when the context ends well.

    Args:
        path: the file to write; its folder exists.
        binary: bytes instead of UTF-8 text (whose line ends are written as they are given).
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") if binary else fresh.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)  # makes the rename durable too
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_text(path: Path, content: str) -> None:
    """Replace a text file."""
    with replacing(path) as file:
        file.write(content)
