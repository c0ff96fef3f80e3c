"""scripts/results_table.py: a row of a run, its expectation on the side that the metric's direction makes it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "results_table.py"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("results_table", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_run(folder: Path, two_sided: bool, **record: Any) -> None:
    recorded = {
        "state": "finished",
        "overrides": ["experiments=mine"],
        "started": "2026-01-01T00:00:00",
        "ended": "2026-01-01T00:03:00",
        "machine": {"cores": 2, "cpu": "x"},
        "hardware": "cpu",
        "commit": "0123456789",
        "diff": "",
        "result": {"test/rmse": 0.25},
        **record,
    }
    (folder / "run.json").write_text(json.dumps(recorded))
    sides = "  two_sided: true\n" if two_sided else ""
    (folder / "config.yaml").write_text(f"expected:\n  metric: test/rmse\n  value: 0.3\n  tolerance: 0.02\n{sides}")


@pytest.mark.parametrize(
    ("two_sided", "lower", "asked"),
    [
        (False, ["test/rmse"], "at most 0.3 + 0.02"),
        (False, [], "at least 0.3 - 0.02"),
        (True, ["test/rmse"], "0.3 +- 0.02"),
    ],
)
def test_an_expectation_is_on_the_side_of_its_metric(
    two_sided: bool, lower: list[str], asked: str, tmp_path: Path
) -> None:
    script = load()
    write_run(tmp_path, two_sided, lower_is_better=lower)
    row = script.row_of(tmp_path)
    assert list(row) == script.COLUMNS
    assert row["measured"] == 0.25
    assert f"| mine | test/rmse | {asked} | 0.25 | 3.0 |" in script.table([row])


def test_the_table_of_the_readme_is_the_one_that_the_script_writes() -> None:
    script = load()
    with (script.FOLDER / "results.csv").open(newline="", encoding="utf-8") as source:
        rows = {row["recipe"]: row for row in script.csv.DictReader(source)}
    text = script.table([rows[name] | script.stated(name) for name in sorted(rows)])
    assert text in (script.FOLDER / "README.md").read_text(encoding="utf-8")
