"""``tests/unit`` mirrors ``lab``: whoever changes a module knows where its tests stand."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
LAB = HERE.parents[1] / "lab"
OF_ALL = {"test_imports.py", "test_mirror.py", "test_names.py"}
"""Tests of the house as a whole."""
FILES = sorted(path for path in HERE.rglob("test_*.py") if path.name not in OF_ALL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HERE)))
def test_a_test_stands_where_its_subject_does(path: Path) -> None:
    """Its folder is a folder of lab; at the top it is named after a module or folder, in models after a room."""
    folder = LAB / path.parent.relative_to(HERE)
    assert folder.is_dir(), f"there is no {folder.relative_to(LAB.parent)}: tests move with what they test"
    name = path.stem.removeprefix("test_")
    if folder == LAB / "models":
        rooms = [room.name for room in folder.iterdir() if room.is_dir()]
        assert any(f"{name}_".startswith(f"{room}_") for room in rooms), f"no room of lab/models is called {name}"
    if folder == LAB:
        assert (LAB / name).is_dir() or (LAB / f"{name}.py").is_file(), f"there is no lab/{name}.py"
