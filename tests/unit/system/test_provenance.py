"""The commit that a run records is that of lab's own sources."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab.system import provenance

SOURCES = Path(provenance.__file__).resolve().parents[1]
ASK = "from lab.system.provenance import git_output; print(git_output('rev-parse', 'HEAD'))"


def git(folder: Path, *words: str) -> str:
    named = ["-c", "user.name=a", "-c", "user.email=a@localhost"]
    return subprocess.run(
        ["git", "-C", str(folder), *named, *words], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a commit, and lab's package as an untracked folder of it."""
    git(tmp_path, "init", "-q")
    (tmp_path / "own.py").write_text("")
    git(tmp_path, "add", "own.py")
    git(tmp_path, "commit", "-q", "-m", "own")
    (tmp_path / "lab" / "system").mkdir(parents=True)
    for name in ("__init__.py", "system/__init__.py", "system/provenance.py"):
        shutil.copy(SOURCES / name, tmp_path / "lab" / name)
    return tmp_path


def commit_seen_in(folder: Path) -> str:
    done = subprocess.run([sys.executable, "-c", ASK], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_repository_around_an_environment_is_not_labs(repository: Path) -> None:
    assert commit_seen_in(repository) == "None"


def test_a_repository_that_tracks_lab_is(repository: Path) -> None:
    git(repository, "add", "lab")
    git(repository, "commit", "-q", "-m", "lab")
    assert commit_seen_in(repository) == git(repository, "rev-parse", "HEAD")
