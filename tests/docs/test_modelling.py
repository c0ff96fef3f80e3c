"""What docs/modelling.md shows runs, and its table has every operation."""

from __future__ import annotations

import re

import numpy as np

from lab.geometry.measures import is_watertight
from lab.geometry.script import read_script
from lab.geometry.words import OPERATIONS
from tests.documents import ROOT

TEXT = (ROOT / "docs" / "modelling.md").read_text(encoding="utf-8")


def test_the_program_runs() -> None:
    names: dict = {"__name__": "walk"}
    for text in re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE):
        exec(compile(text, "docs/modelling.md", "exec"), names)
    assert np.isfinite(names["hits"].distances).tolist() == [True, False]
    assert len(names["drawn"].points) == 1000


def test_the_table_of_what_is_kept_has_every_operation() -> None:
    table = TEXT.split("## Attributes that are kept")[1].split("##")[0]
    first_column = " ".join(re.findall(r"^\| (`.*?) \|", table, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", first_column)) == set(OPERATIONS)


def test_the_mug_is_closed() -> None:
    mesh = read_script(ROOT / "docs" / "geometry" / "mug.yaml").run()
    assert is_watertight(mesh)
    assert [material.name for material in mesh.materials] == ["glaze", "clay", "terracotta"]
