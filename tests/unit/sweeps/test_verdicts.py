"""What is kept of a failed job's output."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.sweeps.verdicts import LINES, MOST_LINES, last_lines

TREE = ["model", "├── net", "│   └── dropout: 0.0", "└── pretrained: None"]


def kept(folder: Path, lines: list[str]) -> list[str]:
    (folder / "output.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assignment: Any = SimpleNamespace(prepared=SimpleNamespace(path=folder), folder=folder)
    return last_lines(assignment).splitlines()


def test_the_last_lines_are_kept_without_the_tree_of_the_config(tmp_path: Path) -> None:
    steps = [f"step {number}" for number in range(20)]
    assert kept(tmp_path, [*TREE, *steps]) == steps[-LINES:]
    assert kept(tmp_path, [*steps[:3], "", *TREE]) == [*steps[:3], "model"]


@pytest.mark.parametrize(("frames", "start"), [(3, 0), (20, 0), (200, 2 * 200 + 2 - MOST_LINES)])
def test_a_traceback_is_kept_from_its_first_line(tmp_path: Path, frames: int, start: int) -> None:
    places = [line for number in range(frames) for line in (f'  File "a.py", line {number}', "    call()")]
    trace = ["Traceback (most recent call last):", *places, "RuntimeError: broken"]
    before = [f"step {number}" for number in range(30)]
    wanted = trace[start:] if len(trace) >= LINES else [*before, *trace][-LINES:]
    assert kept(tmp_path, [*TREE, *before, *trace]) == wanted
