"""``-m``: every job is checked before the first starts; a repeated sweep runs what is not finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.runs import SMALL, Runs, summary


def test_two_rates_make_two_runs_and_a_summary(runs: Runs, tmp_path: Path) -> None:
    words = ["-m", *SMALL, "trainer.max_steps=4", "trainer.val_every_n_steps=4"]
    first = runs.run(*words, "optimizer.lr=1e-3,3e-4", folder=tmp_path, fresh_ranks=True)
    assert first.code == 0, first.out[-2000:] + first.err
    files = (tmp_path / "runs").glob("*/run.json")
    records = {file.parent.name: json.loads(file.read_text()) for file in files}
    assert len(records) == 2
    assert {record["state"] for record in records.values()} == {"finished"}
    assert "[2/2]" in first.out
    rows = summary(tmp_path)
    assert [row["optimizer.lr"] for row in rows] == ["0.001", "0.0003"]
    assert "seed" not in rows[0]
    best = max(rows, key=lambda row: float(row["val/map"]))
    assert f"\nbest      optimizer.lr={best['optimizer.lr']}: val/map {float(best['val/map']):.4f} (higher" in first.out
    assert all(record["monitor"] == "val/map" for record in records.values())
    assert all(record["lower_is_better"] == ["val/loss"] for record in records.values())
    for row in rows:
        assert row["state"] == "finished"
        assert float(row["test/map_50"]) == pytest.approx(records[row["run"]]["result"]["test/map_50"])

    ended = {name: record["ended"] for name, record in records.items()}
    again = runs.run(*words, "optimizer.lr=1e-3,3e-4", folder=tmp_path)
    assert again.code == 0, again.err
    assert again.out.count("] started ") == 1  # which reports its result: it asks whether the data still stand
    assert again.out.count("] finished ") == 1
    assert [row | {"attempts": "1"} for row in summary(tmp_path)] == rows
    after = {name: json.loads((tmp_path / "runs" / name / "run.json").read_text()) for name in records}
    assert {name: record["ended"] for name, record in after.items()} == ended

    name = rows[0]["run"]
    (tmp_path / "runs" / name / "run.json").write_text(json.dumps({**after[name], "dataset": "other"}))
    changed = runs.run(*words, "optimizer.lr=1e-3,3e-4", folder=tmp_path)
    assert changed.code == 1
    assert f"{name}: the dataset data=shapes has changed" in changed.err
