"""Builds sdist and wheel from what is committed, and checks what is in them."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path

from lab.errors import RunError
from scripts.releasing.ready import git

LIMIT = 10_000_000
"""Bytes that neither file may exceed: more would mean that data or runs came along."""
SDIST = ("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "run.py", "pyproject.toml", "constraints.txt")
SOURCES = ("lab/", "conf/", "experiments/", "tests/", "docs/", "scripts/", "examples/")
NEVER = ("runs/", "data/", "weights/", "wandb/", "dist/", "shared/")
METADATA = ("Name", "Version", "Summary", "License-Expression", "License-File", "Requires-Python", "Requires-Dist")


def build(root: Path, version: str, scratch: Path, out: Path) -> list[Path]:
    """Build the sdist from what is committed and the wheel from the sdist.

    Args:
        root: the checkout.
        version: its version.
        scratch: an empty folder.
        out: the folder for the two files; made if need be.

    Returns:
        The sdist and the wheel.

    Raises:
        RunError: the build failed.
    """
    committed, unpacked = scratch / "committed", scratch / "unpacked"
    git(root, "archive", "--format=tar", "-o", str(scratch / "committed.tar"), "HEAD")
    with tarfile.open(scratch / "committed.tar") as archive:
        archive.extractall(committed, filter="tar")
    out.mkdir(parents=True, exist_ok=True)
    sdist = _hatchling(committed, "sdist", out.resolve(), f"lab-{version}.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, filter="data")
    wheel = f"lab-{version}-py3-none-any.whl"
    return [sdist, _hatchling(next(unpacked.iterdir()), "wheel", out.resolve(), wheel)]


def _hatchling(source: Path, target: str, out: Path, name: str) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)],
        cwd=source,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1580601600"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise RunError(f"hatchling could not build the {target}: {last} (pip install hatchling, if it is missing)")
    return out / name


def names_in(file: Path) -> list[str]:
    """Return the names of the files in an sdist (without its top folder) or a wheel."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as archive:
            return [name for name in archive.namelist() if not name.endswith("/")]
    with tarfile.open(file) as archive:
        return [member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()]


def check(file: Path, root: Path, version: str) -> int:
    """Check name, size, metadata and content of an sdist or a wheel.

    Args:
        file: the ``.tar.gz`` or ``.whl``.
        root: the checkout that it was made from.
        version: the version that it should have.

    Returns:
        The number of files in it.

    Raises:
        RunError: something is missing, or has no business there.
    """
    names = names_in(file)
    find = _wrong_wheel if file.suffix == ".whl" else _wrong_sdist
    wrong = [*find(names, root), *_wrong_metadata(_metadata(file), version)]
    if file.stat().st_size > LIMIT:
        wrong.append(f"{file.stat().st_size:,} bytes are more than {LIMIT:,}")
    if wrong:
        raise RunError(f"{file.name}: {'; '.join(wrong[:5])}{f' and {len(wrong) - 5} more' if len(wrong) > 5 else ''}")
    return len(names)


def _committed(root: Path, *folders: str) -> list[str]:
    return git(root, "ls-tree", "-r", "--name-only", "HEAD", *folders).splitlines()


def _wrong_sdist(names: list[str], root: Path) -> Iterator[str]:
    """Yield what an sdist lacks or should not have."""
    there = set(names)
    wanted = [*SDIST, *(name for name in _committed(root, *SOURCES) if name != "conf/experiments")]
    yield from (f"{name} is missing" for name in wanted if name not in there)
    yield from (f"{name} does not belong there" for name in names if name.startswith(NEVER))


def _wrong_wheel(names: list[str], root: Path) -> Iterator[str]:
    """Yield what a wheel lacks, and what is neither of lab nor of its config."""
    there = {name for name in names if ".dist-info/" not in name}
    wanted = {name for name in _committed(root, "lab/") if not name.endswith("/conf")}
    wanted |= {f"lab/{name}" for name in _committed(root, "conf/") if name != "conf/experiments"}
    wanted |= {f"lab/conf/{name}" for name in _committed(root, "experiments/")}
    yield from (f"{name} is missing" for name in sorted(wanted - there))
    yield from (f"{name} does not belong there" for name in sorted(there - wanted))
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        yield "LICENSE is missing"


def _metadata(file: Path) -> Message:
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as archive:
            name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            return email.message_from_bytes(archive.read(name))
    with tarfile.open(file) as archive:
        stored = archive.extractfile(f"{file.name.removesuffix('.tar.gz')}/PKG-INFO")
        assert stored is not None
        return email.message_from_bytes(stored.read())


def _wrong_metadata(found: Message, version: str) -> Iterator[str]:
    """Yield what a package index would refuse, or show wrongly."""
    yield from (f"the metadata has no {field}" for field in METADATA if not found.get(field))
    if found.get("Version") != version:
        yield f"the metadata has version {found.get('Version')}, not {version}"
    if found.get("Description-Content-Type") != "text/markdown" or not str(found.get_payload()).strip():
        yield "the metadata has no description in Markdown"
    yield from (
        f"{need} names an address, which indexes refuse" for need in found.get_all("Requires-Dist", []) if "@" in need
    )
