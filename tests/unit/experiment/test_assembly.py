"""The parts of an experiment: what a rank of a job does first."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lab.experiment.assembly import prepare
from lab.registry import allowed


def test_a_rank_finds_a_package_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks are started with ``python -P``, which leaves the working directory out."""
    (tmp_path / "package_of_here.py").write_text("MINE = 3\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", str(tmp_path))])
    monkeypatch.setattr(allowed, "_packages", allowed._packages.copy())
    try:
        prepare({"extensions": ["package_of_here"], "seed": 0})
        assert sys.modules["package_of_here"].MINE == 3
        assert sys.path[-1] == str(tmp_path)  # installed packages come first
    finally:
        sys.modules.pop("package_of_here", None)
