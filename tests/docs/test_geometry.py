"""What docs/geometry.md shows as YAML and Python runs, and its lines of errors are those that are raised."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.errors import GeometryError
from lab.geometry.script import parse_script
from tests.documents import ROOT

TEXT = (ROOT / "docs" / "geometry.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(yaml|python)\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_script_runs() -> None:
    (text,) = (text for kind, text in BLOCKS if kind == "yaml")
    script = parse_script(text)
    assert script.budget.triangles == 200000
    assert len(script.steps) == 4
    assert script.run().num_triangles > 100


def test_the_program_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "walk"}
    for kind, text in BLOCKS:
        if kind == "python":
            exec(compile(text, "docs/geometry.md", "exec"), names)
    assert "steps:" in capsys.readouterr().out
    assert (tmp_path / "table.glb").stat().st_size > 1000


@pytest.mark.parametrize(
    "text",
    [
        "steps:\n- cylnder: {}",
        "steps:\n- box\n- box\n- difference: {other: \n  [{box: {size: [1, -2, 1]}}]}",
        "steps: [box, {delete: {select: {facing: [0, 0, 1]}}}, {difference: {other: [sphere]}}]",
        "steps: [{box: {steps: [50000, 50000, 50000]}}]",
    ],
)
def test_the_errors_are_those(text: str) -> None:
    with pytest.raises(GeometryError) as caught:
        parse_script(text, "part.yaml").run()
    assert f"    {caught.value}\n" in TEXT
