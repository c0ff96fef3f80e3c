"""Runs are read whatever state they are in; what cannot be read is said and costs nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import yaml

from lab.errors import RunError
from lab.report.evaluations import Evaluation
from lab.report.runs import list_runs, read_run

RECORD = {
    "name": "a-b-1",
    "state": "finished",
    "sources": "0",
    "overrides": ["model=detr_tiny", "seed=3"],
    "exit_code": 0,
    "resumed_at": [],
    "changes": [],
    "result": {"val/map": 0.25, "test/map": None},
    "started": "2026-11-28T08:00:00+00:00",
}
METRICS = "step,epoch,train/loss,val/map\n1,0,2.5,\n2,0,1.5,0.25\n"


def write_run(folder: Path, **changes: object) -> Path:
    (folder / "checkpoints" / "best.ckpt").mkdir(parents=True)
    (folder / "checkpoints" / "best.ckpt" / "index.json").write_text("{}")
    (folder / "checkpoints" / ".last.ckpt.writing").mkdir()
    (folder / "run.json").write_text(json.dumps(RECORD | changes))
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": {"name": "a"}, "data": {"name": "b"}, "seed": 3}))
    (folder / "metrics.csv").write_text(METRICS)
    (folder / "pictures").mkdir()
    (folder / "pictures" / "0.png").write_bytes(b"")
    (folder / "tables").mkdir()
    (folder / "tables" / "classes.csv").write_text("class,iou\nred,0.5\n")
    return folder


def test_a_whole_run(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a-b-1"))
    assert (run.name, run.state, run.steps, run.problems) == ("a-b-1", "finished", 2, ())
    assert run.words == ("model=detr_tiny", "seed=3")
    assert run.config.model.name == "a"
    assert run.result["val/map"] == 0.25
    assert math.isnan(run.result["test/map"])
    frame = run.metrics
    assert list(frame.columns) == ["step", "epoch", "train/loss", "val/map"]
    assert frame["step"].tolist() == [1, 2]
    assert math.isnan(frame["val/map"][0])
    assert run.checkpoints == {"best": run.path / "checkpoints" / "best.ckpt"}
    assert run.best == run.checkpoints["best"]
    assert run.pictures == [run.path / "pictures" / "0.png"]
    assert run.tables["classes"]["iou"].tolist() == [0.5]
    assert "val/map: 0.2500" in repr(run)


def test_a_run_that_nobody_holds_is_interrupted(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", state="running", result={}, exit_code=None)
    (folder / "metrics.csv").unlink()
    (folder / "checkpoints" / "best.ckpt" / "index.json").unlink()
    run = read_run(folder)
    assert (run.state, run.result, run.steps, run.problems) == ("interrupted", {}, 0, ())
    assert run.metrics.empty
    with pytest.raises(RunError, match=r"interrupted\) has no best.ckpt"):
        _ = run.best


def test_damage_is_said_and_costs_nothing_else(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    (folder / "run.json").write_text('{"state": ')
    (folder / "config.yaml").write_text("model: [")
    (folder / "metrics.csv").write_text("step,epoch\n1,0\nx,y\n2,0\n")
    (folder / "test-best").mkdir()
    (folder / "test-best" / "result.json").write_text("[]")
    run = read_run(folder)
    assert run.config == {}
    assert run.metrics.empty
    assert run.checkpoints["best"].name == "best.ckpt"
    said = "\n".join(run.problems)
    for part in (
        "run.json is no JSON",
        "config.yaml cannot be read",
        "line 3 is damaged",
        "not the result of an evaluation",
    ):
        assert part in said
    assert all("\n" not in problem for problem in run.problems)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    for name in ("config.yaml", "metrics.csv", "checkpoints/best.ckpt/index.json"):
        (folder / name).unlink()
    assert read_run(folder).problems == (
        "config.yaml is missing",
        "metrics.csv is missing",
        "checkpoints/best.ckpt is missing",
    )


def test_no_run_is_refused_with_what_is_there(tmp_path: Path) -> None:
    write_run(tmp_path / "detr-shapes-1")
    with pytest.raises(RunError, match=r"no such folder; did you mean 'detr-shapes-1'"):
        read_run(tmp_path / "detr-shapes-2")
    with pytest.raises(RunError, match=r"is not a run: none of run.json, .*; lab.runs\(.*reads its 1 runs"):
        read_run(tmp_path)


def test_the_runs_of_a_folder(tmp_path: Path) -> None:
    write_run(tmp_path / "b", started="2026-11-28T07:00:00+00:00")
    write_run(tmp_path / "a", state="interrupted", result={})
    (tmp_path / "notes").mkdir()
    runs = list_runs(tmp_path)
    assert [run.name for run in runs] == ["b", "a"]
    frame = runs.frame()
    assert frame["state"].tolist() == ["finished", "interrupted"]
    assert frame["val/map"].tolist()[0] == 0.25
    assert frame["steps"].tolist() == [2, 2]
    assert len(runs[:1]) == 1
    with pytest.raises(RunError, match="no such folder"):
        list_runs(tmp_path / "none")


def test_an_evaluation(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a") / "test-best"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({"result": {"test/map": None}, "protocol": "all"}))
    found = read_run(tmp_path / "a").evaluations["test-best"]
    assert math.isnan(found.result["test/map"])
    assert found.protocol == "all"
    with pytest.raises(RunError, match="cannot be read"):
        Evaluation(tmp_path)
