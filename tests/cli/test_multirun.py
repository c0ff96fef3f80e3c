"""``-m``: every job is checked before the first starts; a repeated sweep runs what is not finished."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lab.cli.main import main
from lab.errors import ConfigError
from lab.sweeps import grid as multirun
from tests.runs import SMALL, Runs, summary


def test_two_rates_make_two_runs_and_a_summary(runs: Runs, tmp_path: Path) -> None:
    words = ["-m", *SMALL, "trainer.max_steps=4", "trainer.val_every_n_steps=4"]
    first = runs.run(*words, "optimizer.lr=1e-3,3e-4", folder=tmp_path, fresh_ranks=True)
    assert first.code == 0, first.out[-2000:] + first.err
    folders = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    records = {path.name: json.loads((path / "run.json").read_text()) for path in folders}
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
    assert again.out.count("finished already") == 2
    after = {name: json.loads((tmp_path / "runs" / name / "run.json").read_text()) for name in records}
    assert {name: record["ended"] for name, record in after.items()} == ended

    name = sorted(records)[0]
    (tmp_path / "runs" / name / "run.json").write_text(json.dumps({**after[name], "dataset": "other"}))
    changed = runs.run(*words, "optimizer.lr=1e-3,3e-4", folder=tmp_path)
    assert changed.code == 1
    assert f"{name}: the dataset data=shapes has changed" in changed.err


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Note the jobs that a sweep starts, each failing with its place as exit code, in place of running them."""
    monkeypatch.chdir(tmp_path)
    jobs: list[list[str]] = []

    def note(entry: multirun.Entry) -> int:
        jobs.append(entry.words)
        return 0 if len(jobs) != 1 else 1

    monkeypatch.setattr(multirun, "_run", note)
    return jobs


def test_one_wrong_job_starts_nothing(started: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "optimizer=adamw,sdg"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: job 2 of 2 (optimizer=sdg): optimizer=sdg: no such optimizer; did you mean 'sgd'")
    assert err.count("\n") == 1
    assert started == []
    assert not Path("runs").exists()


def test_a_failed_job_does_not_stop_the_others(started: list[list[str]]) -> None:
    assert main(["-m", "seed=0,1,2"]) == 1
    assert started == [["seed=0"], ["seed=1"], ["seed=2"]]
    assert [line.split(",")[0] for line in Path("runs/summary.csv").read_text().split()] == ["seed", "0", "1", "2"]


def test_a_diverged_job_stands_in_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has no result, or that of an earlier validation; the others run."""
    monkeypatch.chdir(tmp_path)
    states = iter([("diverged", 1, {}), ("finished", 0, {"test/map": 0.5})])

    def run(entry: multirun.Entry) -> int:
        state, code, result = next(states)
        entry.job.path.mkdir(parents=True)
        (entry.job.path / "run.json").write_text(json.dumps({"state": state, "exit_code": code, "result": result}))
        return code

    monkeypatch.setattr(multirun, "_run", run)
    assert main(["-m", "optimizer.lr=1e6,1e-3"]) == 1
    with (tmp_path / "runs" / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["state"], row["test/map"]) for row in rows] == [("diverged", ""), ("finished", "0.5")]
    assert "diverged" in capsys.readouterr().out


def test_jobs_that_are_the_same_run_are_refused(started: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "optimizer.lr=1e-3,0.001"]) == 2
    assert "ask for the same run" in capsys.readouterr().err
    assert started == []


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        (["seed=0,1", "data=shapes,coco"], 4),
        (["optimizer.lr=choice(1,2,3)"], 3),
        (["seed=range(0,4)"], 4),
        (["model=glob(detr_resnet101*)"], 2),
        (["optimizer.betas=[0.9,0.99],[0.8,0.9]"], 2),
        (["seed=1"], 1),
    ],
)
def test_expand(words: list[str], jobs: int) -> None:
    expanded = multirun.expand(words)
    assert len(expanded) == len({tuple(job) for job in expanded}) == jobs


def test_expand_keeps_the_order() -> None:
    assert multirun.expand(["model=glob(detr_resnet101*)", "seed=1"]) == [
        ["model=detr_resnet101", "seed=1"],
        ["model=detr_resnet101_dc5", "seed=1"],
    ]
    assert multirun.expand(["seed=0,1", "optimizer.lr=3e-4"]) == [
        ["seed=0", "optimizer.lr=3e-4"],
        ["seed=1", "optimizer.lr=3e-4"],
    ]


@pytest.mark.parametrize("word", ["model=glob(nothing*)", "optimizer.lr=interval(0,1)", "optimizer.lr=choice(1"])
def test_what_cannot_be_expanded(word: str) -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.lr=|model="):
        multirun.expand([word])


def test_every_wrong_job_is_named(started: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-m", "optimizer=adamw,sdg,sgdd"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in lines] == [
        " job 2 of 3 (optimizer=sdg)",
        " job 3 of 3 (optimizer=sgdd)",
    ]
    assert lines[-1].endswith("no job was started")
    assert started == []
