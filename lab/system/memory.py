"""The host memory that a process may still allocate. No torch."""

from __future__ import annotations

import os
from pathlib import Path


def available_memory(root: Path = Path("/")) -> int:
    """Return the available bytes: the kernel's figure, or less if a cgroup limits it.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    left = [value for value in (_from_kernel(root), _from_cgroup(root)) if value is not None]
    if left:
        return max(0, min(left))
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")  # not Linux: all memory of the machine


def _from_kernel(root: Path) -> int | None:
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _from_cgroup(root: Path) -> int | None:
    """Return the smallest remaining memory over all cgroup levels; page cache that can be dropped counts as free."""
    left = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory") and "memory" not in controllers.split(","):
            continue
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        base = root / "sys/fs/cgroup/memory"
        if controllers == "":
            names, base = ("memory.max", "memory.current", "inactive_file"), root / "sys/fs/cgroup"
        own = Path(path.lstrip("/"))
        for folder in (own, *own.parents):
            limit, used = _read(base / folder / names[0]).strip(), _read(base / folder / names[1]).strip()
            if limit.isdigit() and used.isdigit():
                stats = dict(text.split() for text in _read(base / folder / "memory.stat").splitlines())
                left.append(int(limit) - int(used) + int(stats.get(names[2], 0)))
    return min(left, default=None)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
