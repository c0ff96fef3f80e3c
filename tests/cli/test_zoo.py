"""``scripts/zoo.py``: docs/zoo.md says what the code is today, and an old one is refused by name."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = """# A room

| row | peer / ours |
|---|---|
| not of the section | **9.00** |

## Speed

| row | ours ms | peer / ours (range) |
|---|---|---|
| a | 1 | **1.25** (1.20 to 1.30) |
| b | 2 | - |

| row | plain torch over ours |
|---|---|
| c | 0.75 |

## Else

| row | peer / ours |
|---|---|
| no more | **8.00** |
"""


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import zoo as script

    return script


def test_the_page_is_up_to_date(zoo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert zoo.main(["--check"]) == 0, capsys.readouterr().err


def test_what_is_out_of_date_is_named(
    zoo: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("zoo.md", "zoo.csv"):
        shutil.copy(ROOT / "docs" / name, tmp_path)
    known = zoo.counts.read(tmp_path / "zoo.csv")
    monkeypatch.setattr(zoo.counts, "count", lambda name, *_: known[name])
    assert zoo.main(["--check"], tmp_path) == 0
    page = tmp_path / "zoo.md"
    page.write_text(page.read_text().replace("`resnet18` | 11.690", "`resnet18` | 11.689"))
    assert zoo.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err == "error: docs/zoo.md is out of date: run python scripts/zoo.py\n"
    table = tmp_path / "zoo.csv"
    table.write_text("".join(line for line in table.open() if ",afno1d," not in line))
    assert zoo.main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err == "error: docs/zoo.csv has no afno1d: run python scripts/zoo.py\n"


def test_multiplications_are_those_of_the_paper(zoo: ModuleType) -> None:
    row = zoo.counts.count("resnet50", {})
    assert (row["kind"], row["room"], row["parameters"], row["input"]) == (
        "classification",
        "resnet",
        "25557032",
        "3 x 224 x 224",
    )
    assert float(row["gmacs"]) == pytest.approx(4.089, abs=0.001)  # torchvision's table of weights: 4.09
    stale = {"resnet50": {**row, "gmacs": "1", "input": "3 x 32 x 32"}}
    assert zoo.counts.count("resnet50", stale, check=True)["gmacs"] == ""
    assert zoo.counts.count("resnet50", {"resnet50": {**row, "gmacs": "1"}})["gmacs"] == "1"


def test_ratios_are_those_of_the_section(zoo: ModuleType) -> None:
    assert list(zoo.page._ratios(README)) == [1.25, 0.75]
