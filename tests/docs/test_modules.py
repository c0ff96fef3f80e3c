"""The blocks of docs/modules.md are one program, whose assertions hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.registry import migrations
from tests.docs.test_python import BLOCK
from tests.documents import ROOT


def test_the_examples_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(migrations, "_registered", {})
    file = ROOT / "docs" / "modules.md"
    text = file.read_text()
    names: dict[str, object] = {"__name__": "examples"}
    for match in BLOCK.finditer(text):
        lines = "\n" * (text.count("\n", 0, match.start()) + 1)  # so that a traceback names the line of the text
        exec(compile(lines + match[1], str(file), "exec"), names)
    assert capsys.readouterr().out == "Sequential has no module 'layer3'; it has 0, 1, 2\n"
