"""The provenance of a result: sources, commit, machine, versions, time. No torch."""

from __future__ import annotations

import hashlib
import os
import platform
import socket
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib import metadata, util
from pathlib import Path
from typing import Any

_VERSIONS = ("torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "datasets", "wandb", "numpy")


_frozen: dict[Any, Any] = {}
"""What a sweep's master has found at its start: its jobs run the code that it imported, whatever the files say now."""


def freeze(extensions: Iterable[str]) -> None:
    """Let this process and its forks answer by the sources, commit and versions of this moment from now on."""
    _frozen.clear()
    found: dict[Any, Any] = {tuple(sorted(extensions)): sources_fingerprint(extensions)}
    found |= {words: git_output(*words) for words in (("rev-parse", "HEAD"), ("diff", "HEAD"))}
    found["versions"] = describe_versions()
    _frozen.update(found)


def sources_fingerprint(extensions: Iterable[str] = (), now: bool = False) -> str:
    """Return the SHA-256 of lab's and the extensions' Python sources.

    Args:
        extensions: names of packages.
        now: as the files are now, even if ``freeze`` was called.
    """
    if not now and (known := _frozen.get(tuple(sorted(extensions)))) is not None:
        return str(known)
    digest = hashlib.sha256()
    folders = [("lab", Path(__file__).resolve().parents[1])]
    for name in sorted(extensions):
        spec = util.find_spec(name)
        if spec is not None and spec.origin is not None:
            origin = Path(spec.origin)
            folders.append((name, origin.parent if origin.name == "__init__.py" else origin))
    for name, folder in folders:
        files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder]
        for path in files:
            relative = path.relative_to(folder) if folder.is_dir() else path.name
            digest.update(f"{name}/{relative}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def git_output(*arguments: str) -> str | None:
    """Return the output of a git command on lab's own sources; None if no repository tracks them.

    An environment often lies in the repository of another project: its commit is not lab's.
    """
    if arguments in _frozen:
        return _frozen[arguments]
    root = Path(__file__).resolve().parents[2]
    return _git(root, *arguments) if _is_tracked(root) else None


@cache
def _is_tracked(root: Path) -> bool:
    return _git(root, "ls-files", "--error-unmatch", "lab/__init__.py") is not None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout


def cpu_name() -> str:
    """Return the processor's name as the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux: use the platform module's name
    return platform.processor() or platform.machine()


def describe_machine() -> dict[str, Any]:
    """Return host, processor, cores and memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {"host": socket.gethostname(), "cpu": cpu_name(), "cores": os.cpu_count(), "memory_gib": round(memory, 1)}


def describe_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    if "versions" in _frozen:
        return dict(_frozen["versions"])
    versions = {"python": platform.python_version()}
    for name in _VERSIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "absent"
    return versions


def now() -> str:
    """Return the time as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
