"""Checks that data fits into memory: a file of a few bytes may stand for billions of rows or pixels."""

from __future__ import annotations

from pathlib import Path

from lab.errors import DataError

MEMORY = Path("/proc/meminfo")


def require_memory(path: Path, needed: int, what: str) -> None:
    """Refuse a table or an array that cannot be held.

    Args:
        path: its file, for the message.
        needed: the least number of bytes that it takes.
        what: its size in words, for the message.

    Raises:
        DataError: the system has less free memory. If the free memory is not known, nothing is refused.
    """
    if not MEMORY.is_file():
        return
    fields = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines() if ":" in line)
    kibibytes = fields.get("MemAvailable", "").split()
    if kibibytes and needed > (free := int(kibibytes[0]) * 1024):
        raise DataError(
            f"{path}: {what} take {needed / 2**30:.1f} GiB at least, this machine has {free / 2**30:.1f} GiB free; "
            "read a part of it, or use a machine with more memory"
        )
