"""The blocks of docs/python.md are one program, which runs. (``typed_script.py`` beside it is for mypy alone.)"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_walk_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = ROOT / "docs" / "python.md"
    text = file.read_text()
    names: dict[str, object] = {"__name__": "walk"}
    for match in BLOCK.finditer(text):
        lines = "\n" * (text.count("\n", 0, match.start()) + 1)  # so that a traceback names the line of the text
        exec(compile(lines + match[1], str(file), "exec"), names)
    out = capsys.readouterr().out
    assert "no such model; did you mean 'detr'" in out
    assert "was made from Python with a DataModule of the caller's own, walk.SmallShapes" in out
    assert re.search(r"detr_tiny-SmallShapes-\w{8}", out)
