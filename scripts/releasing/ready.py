"""Whether a checkout can be released: its git, and the version wherever it stands."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import yaml

from lab.errors import RunError

HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<date>\d{4}-\d{2}-\d{2}))?[ ]*$", re.MULTILINE)


def git(root: Path, *words: str) -> str:
    """Return the output of a git command.

    Raises:
        RunError: it failed; its last line of errors.
    """
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"git {words[0]} in {root}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout.strip()


def version_of(root: Path) -> str:
    """Return the version in pyproject.toml.

    Raises:
        RunError: it is not of the form 1.2.3, 1.2.3rc1.
    """
    version = str(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])
    if not re.fullmatch(r"\d+\.\d+\.\d+((a|b|rc)\d+)?", version):
        raise RunError(f"pyproject.toml: the version {version} is not of the form 1.2.3 or 1.2.3rc1")
    return version


def obstacles(root: Path, version: str) -> list[str]:
    """Return what stands in the way of the tag, each in words with what to do."""
    return [*_of_git(root, version), *_of_texts(root, version)]


def set_tag(root: Path, version: str) -> None:
    """Set the annotated tag, with the changelog's section of the version as its message."""
    text = _read(root, "CHANGELOG.md")
    found = list(HEADING.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    parts = (text[match.end() : end] for match, end in zip(found, ends, strict=True) if match["version"] == version)
    section = next(parts, "").strip()
    message = f"lab {version}\n\n{section}"
    git(root, "tag", "--annotate", "--cleanup=whitespace", "-m", message, f"v{version}")


def _of_git(root: Path, version: str) -> Iterator[str]:
    changed = git(root, "status", "--porcelain").splitlines()
    if changed:
        yield f"{len(changed)} uncommitted changes, first {changed[0].strip()}: commit or remove them"
    branch = git(root, "branch", "--show-current")
    if branch != "main":
        yield f"this is {f'the branch {branch}' if branch else 'no branch'}: check out main"
    if git(root, "tag", "--list", f"v{version}"):
        yield f"the tag v{version} exists: raise the version in pyproject.toml"


def _of_texts(root: Path, version: str) -> Iterator[str]:
    found = list(HEADING.finditer(_read(root, "CHANGELOG.md")))
    unreleased = next((match for match in found if match["version"] == "Unreleased"), None)
    newest = next((match for match in found if match is not unreleased), None)
    date = newest["date"] if newest else None
    if newest is None or newest["version"] != version or not date:
        said = newest[0].strip() if newest else "no heading of a version"
        yield f"CHANGELOG.md has {said} where it should have '## [{version}] - YEAR-MONTH-DAY'"
    elif unreleased and _read(root, "CHANGELOG.md")[unreleased.end() : newest.start()].strip():
        yield f"CHANGELOG.md has entries under [Unreleased]: move them to [{version}]"
    citation = yaml.safe_load(_read(root, "CITATION.cff"))
    if str(citation.get("version")) != version:
        yield f"CITATION.cff has version {citation.get('version')}: write {version}"
    if (released := str(citation.get("date-released"))) != date:
        yield f"CITATION.cff has date-released {released}: write the date of CHANGELOG.md's heading"


def _read(root: Path, name: str) -> str:
    return (root / name).read_text(encoding="utf-8")
