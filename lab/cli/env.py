"""``lab env``: versions, commit and machine, as ``run.json`` records them, to be pasted into a report. No torch."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from lab.cli.arguments import Arguments
from lab.cli.output import unless_reader_left
from lab.config.checks import num_gpus
from lab.errors import ConfigError
from lab.system.provenance import describe_machine, describe_versions, git_output, sources_fingerprint
from lab.text import printable

_USAGE = """lab env [--json]   (or: python run.py env)

Prints versions, commit and machine, as run.json records them. It holds no host name, user name or path, so it can be
pasted into a report.

  --json        the same for programs"""
_LEFT_OUT = ("dev", "docs", "test")
"""Extras whose packages no result depends on."""


def run_env(words: Sequence[str]) -> int:
    """Carry out ``lab env ...`` and return its exit code.

    Args:
        words: what comes after ``env``.

    Raises:
        ConfigError: a word is not understood.
    """
    arguments = Arguments("env", _USAGE)
    arguments.flag("--json", action="store_true")
    read = arguments.read(words)
    if read is None:
        return 0
    options, rest = read
    if rest:
        raise ConfigError(f"{rest[0]}: lab env takes no words (lab env --help)")
    found = describe_environment()
    with unless_reader_left():
        print(json.dumps(found, indent=2) if options.json else _as_text(found))
    return 0


def describe_environment() -> dict[str, Any]:
    """Return lab's version and commit, the versions of packages, and the machine without its name.

    ``commit`` is None and ``uncommitted`` false where lab is no checkout.
    """
    machine = describe_machine()
    machine.pop("host")
    commit = git_output("rev-parse", "HEAD")
    return {
        "lab": _version("lab") or "not installed",
        "commit": commit.strip() if commit else None,
        "uncommitted": bool(git_output("diff", "HEAD")),
        "sources": sources_fingerprint(),
        "system": platform.platform(),
        "machine": machine,
        "gpus": num_gpus(),
        "gpu_driver": _driver(),
        "versions": describe_versions(),
        "optional": {name: version for name in _optional() if (version := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _optional() -> list[str]:
    """Return the names of the packages of lab's extras; none where lab is not installed."""
    try:
        needs = metadata.requires("lab") or []
    except metadata.PackageNotFoundError:
        return []
    names = set()
    for need in needs:
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", need)
        if extra and extra[1] not in _LEFT_OUT:
            names |= set(re.findall(r"^[\w.-]+", need)) - {"lab"}
    return sorted(names)


def _driver() -> str | None:
    """Return the version of NVIDIA's driver; None without one."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return None
    version = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text)
    return version[0] if version else None


def _as_text(found: dict[str, Any]) -> str:
    machine = found["machine"]
    if found["commit"]:
        source = f"commit {found['commit'][:12]}{' and uncommitted changes' if found['uncommitted'] else ''}"
    else:
        source = "no checkout"
    driver = f", driver {found['gpu_driver']}" if found["gpu_driver"] else ""
    rows = {
        "lab": f"{found['lab']}, {source}, sources {found['sources'][:12]}",
        "system": found["system"],
        "machine": f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_gib']} GiB",
        "gpus": f"{found['gpus']}{driver}",
        **found["versions"],
        **found["optional"],
    }
    return "\n".join(f"{printable(name):<18}{printable(value)}" for name, value in rows.items())
