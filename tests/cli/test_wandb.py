"""W&B as users see it: one step axis over signals and resumes, the same samples each time, the end of each run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from tests.runs import SMALL, Runs, last_step, only_run, record, wait_for
from tests.unit.compat.test_wandb_log import summary_of

WORDS = [*(word for word in SMALL if word != "logger=csv"), "logger=both", "logger.wandb.media=3"]

WRITTEN = 5000
"""Bytes of a log that has a row: W&B's service writes some seconds later than the training."""


def _logs(run: Path) -> list[Path]:
    return sorted(run.glob("wandb/offline-run-*/*.wandb"), key=lambda log: log.parent.name)


def _records(log: Path, kind: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    records = [json.loads(line) for line in done.stdout.splitlines()]
    return [record[kind] for record in records if record["type"] == kind]


def _rows(log: Path) -> list[dict[str, Any]]:
    return [row["item"] for row in _records(log, "history")]


def _end(log: Path) -> tuple[str, int | None, Any]:
    said = summary_of(log)
    return said["state"], said["exit_code"], said["summary"].get("state")


def _truth(folder: Path, row: dict[str, Any], number: int) -> Any:
    layers = row["val/predictions.all_boxes"]
    layers = json.loads(layers) if isinstance(layers, str) else layers
    return json.loads((folder / "files" / layers[number]["truth"]["path"]).read_text())["box_data"]


def test_preempted_killed_and_resumed_a_run_has_one_step_axis(runs: Runs, tmp_path: Path) -> None:
    words = [*WORDS, "trainer.max_steps=40", "trainer.val_every_n_steps=10"]
    first = runs.start(*words, folder=tmp_path)
    assert wait_for(lambda: last_step(tmp_path) >= 12, first, 600), first.err
    first.send(signal.SIGTERM)
    assert first.wait() == 143, first.err
    second = runs.start(*words, folder=tmp_path)
    assert wait_for(lambda: len(_logs(only_run(tmp_path))) == 2, second, 600), second.err
    assert wait_for(lambda: _logs(only_run(tmp_path))[1].stat().st_size > WRITTEN, second, 600), second.err
    second.send(signal.SIGKILL)
    second.wait()
    third = runs.run(*words, folder=tmp_path)
    assert third.code == 0, third.err
    run = only_run(tmp_path)
    logs = _logs(run)
    assert [_end(log) for log in logs] == [
        ("failed", 143, "preempted"),
        ("failed", 1, "crashed"),
        ("finished", 0, "finished"),
    ]
    rows = [(log.parent, row) for log in logs for row in _rows(log)]
    assert [row["_step"] for _, row in rows] == list(range(1, 41))
    assert all(row["train/lr"] > 0 and row["train/samples_per_s"] > 0 for _, row in rows)

    said = summary_of(logs[0])
    assert said["name"] == run.name
    assert said["notes"].startswith("run.py ")
    config = summary_of(logs[-1])["config"]
    assert config["lab/commit"] == record(run)["commit"]
    assert config["lab/data_fingerprint"] == record(run)["dataset"]
    assert config["strategy"]["name"] == "single"

    shown = [(folder, row) for folder, row in rows if "val/predictions.count" in row]
    assert {row["_step"] for _, row in shown} <= {10, 20, 30, 40}
    assert all(row["val/predictions.count"] == 3 for _, row in shown)
    truths = [_truth(folder, row, number) for folder, row in shown for number in range(3)]
    assert len(truths) >= 6
    assert truths[:3] == truths[-3:]
    assert any(truths[0:3])
    assert rows[-1][1]["test/predictions.count"] == 3


def test_a_job_that_is_killed_in_a_sweep_has_an_end(runs: Runs, tmp_path: Path) -> None:
    words = [*WORDS, "trainer.max_steps=100000", "trainer.val_every_n_steps=100000", "launcher.retries=0"]
    command = runs.start("-m", *words, "seed=3,4", "launcher.workers=1", folder=tmp_path)
    assert wait_for(lambda: list((tmp_path / "runs").glob("*/wandb/offline-run-*/*.wandb")), command, 600), command.err
    assert wait_for(lambda: last_step(tmp_path) >= 2, command, 600), command.err
    (run,) = (path.parent for path in (tmp_path / "runs").glob("*/wandb.json"))
    (log,) = _logs(run)
    assert wait_for(lambda: log.stat().st_size > WRITTEN, command, 600), command.err
    os.kill(int((run / "run.lock").read_text().split()[1]), signal.SIGKILL)
    assert wait_for(lambda: _end(log)[0] != "running", command, 600), command.err
    assert _end(log) == ("failed", 137, "killed")
    said = summary_of(log)
    assert (said["name"], said["notes"].partition(" ")[0]) == (f"seed={record(run)['seed']}", "run.py")
    command.send(signal.SIGTERM)
    command.wait()


def test_a_stage_that_trains_nothing_is_a_run_in_the_group_of_the_training(runs: Runs, tmp_path: Path) -> None:
    few = ("trainer.max_steps=2", "trainer.val_every_n_steps=2", "logger.wandb.group=both", "callbacks.pictures=0")
    assert runs.run(*WORDS, *few, folder=tmp_path).code == 0
    run = only_run(tmp_path)
    step, ckpt = record(run)["best_step"], f"ckpt={run / 'checkpoints' / 'best.ckpt'}"
    before = [log.read_bytes() for log in _logs(run)]
    for stage, split in (("test", "test"), ("validate", "val")):
        done = runs.run(f"stage={stage}", ckpt, folder=tmp_path)
        assert done.code == 0, done.err
        folder = run / f"{stage}-best"
        (log,) = _logs(folder)
        said = summary_of(log)
        assert _end(log) == ("finished", 0, "finished")
        (begun,) = _records(log, "run")
        assert (begun["display_name"], begun["job_type"]) == (f"{run.name} {folder.name}", stage)
        assert begun["run_group"] == "both"  # that of the training
        assert f"stage={stage}" in said["notes"]
        assert said["config"]["lab/run"] == run.name
        (row,) = _rows(log)
        assert row["_step"] == step
        written = json.loads((folder / "result.json").read_text())["result"]
        assert len(written) > 10
        assert {key: row.get(key) for key in written} == written
        assert row[f"{split}/predictions.count"] == 3
        assert not [key for key in row if key.startswith("test/" if split == "val" else "val/")]
    again = runs.run("stage=test", ckpt, folder=tmp_path)
    assert again.code == 0, again.err
    logs = _logs(run / "test-best")
    assert len(logs) == 2
    assert len({log.name for log in logs}) == 1  # the same run, so that a server has its values once
    Image.new("RGB", (32, 32), "red").save(tmp_path / "photo.png")
    predicted = runs.run("stage=predict", ckpt, f"input={tmp_path / 'photo.png'}", folder=tmp_path)
    assert predicted.code == 0, predicted.err
    assert {path.parent.name for path in run.glob("*/wandb")} == {"test-best", "validate-best"}  # it measures nothing
    assert [log.read_bytes() for log in _logs(run)] == before
