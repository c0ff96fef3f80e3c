"""WandbRun against the real SDK, offline: one run for a directory, no step twice, no failure that stops a training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image

from lab.errors import ConfigError
from lab.loggers import wandb_state
from lab.loggers.wandb_media import log_pictures
from lab.loggers.wandb_offline import choose_mode, last_step
from lab.loggers.wandb_run import WandbRun

# Each stage is a process of its own, forked where everything is imported already and W&B has not been started.
TRAINING = """
import json, os, signal, sys
from lab.loggers.metrics_csv import MetricsCSV
from lab.loggers.wandb_run import WandbRun

def train(run_dir, first, last, saved):
    run = WandbRun(run_dir, "p", config={"lr": 0.1}, tags=["a", "b"], group="g", job_type="fit", git_commit="c0ffee")
    table = MetricsCSV(run_dir)
    table.cut_back(first - 1)
    for step in range(first, last + 1):
        for logger in (table, run):
            logger.log_metrics({"train/loss": 1 / step, "epoch": step // 100}, step=step)
            if step % 50 == 0:
                logger.log_metrics({"val/map": step / 1000}, step=step)
        if step == saved:
            table.flush()
    if saved < last:
        os.kill(os.getpid(), signal.SIGKILL)
    run.finish(exit_code=3)

for index, stage in enumerate(json.loads(sys.argv[2])):
    if not (child := os.fork()):
        os.dup2(os.open(f"{sys.argv[1]}.{index}.txt", os.O_CREAT | os.O_WRONLY), 2)
        train(sys.argv[1], *stage)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(autouse=True)
def _no_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no settings of the person who runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "settings"))
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb.teardown()


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A run killed twice and resumed twice: its directory, and what each of the three processes said on stderr."""
    folder = tmp_path_factory.mktemp("resumed")
    stages = [(1, 400, 300), (301, 520, 350), (351, 600, 600)]  # from and to a step, and the step of the checkpoint
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"NETRC": str(folder / "netrc"), "WANDB_CONFIG_DIR": str(folder), "WANDB_ERROR_REPORTING": "false"}
    command = [sys.executable, "-c", TRAINING, str(folder / "run"), json.dumps(stages)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=600)
    assert [int(line) for line in done.stdout.split()] == [-signal.SIGKILL, -signal.SIGKILL, 0]
    return folder / "run", [Path(f"{folder}/run.{index}.txt").read_text() for index in range(3)]


def _records(folder: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return [json.loads(line) for line in done.stdout.splitlines()]


def _folders(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "wandb").glob("offline-run-*"))


def _history(run_dir: Path) -> list[dict[str, Any]]:
    records = [record for folder in _folders(run_dir) for record in _records(folder)]
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def test_killed_and_resumed_no_step_stands_twice_and_none_is_missing(resumed: tuple[Path, list[str]]) -> None:
    run_dir, said = resumed
    folders = _folders(run_dir)
    assert len(folders) == 3
    history = _history(run_dir)
    assert [row["_step"] for row in history] == list(range(1, 601))
    assert [row["train/loss"] for row in history] == [1 / step for step in range(1, 601)]
    assert {row["_step"]: row["val/map"] for row in history if "val/map" in row} == {
        step: step / 1000 for step in range(50, 601, 50)
    }
    identity = json.loads((run_dir / "wandb.json").read_text())
    assert identity["highest_step"] == 600
    assert all(folder.name.endswith(identity["id"]) for folder in folders)
    # The sync line of the last process names all three.
    assert all(str(folder) in said[2].splitlines()[-1] for folder in folders)
    assert "wandb sync" in said[2]


def test_what_the_record_says_about_the_run(resumed: tuple[Path, list[str]]) -> None:
    run_dir, said = resumed
    assert said[0].splitlines()[0] == (
        f"W&B: no key is configured, so this run is recorded offline. View it with `wandb leet {run_dir}/wandb`."
    )
    assert [len(text.splitlines()) for text in said] == [2, 2, 2]
    folder = _folders(run_dir)[-1]
    records = _records(folder)
    run = next(record["run"] for record in records if record["type"] == "run")
    assert run["config"]["update"]["lr"] == 0.1
    assert (run["display_name"], run["project"], run["run_group"], run["job_type"]) == ("run", "p", "g", "fit")
    assert (sorted(run["tags"]), run["git"]["commit"]) == (["a", "b"], "c0ffee")
    assert [record["exit"]["exit_code"] for record in records if record["type"] == "exit"] == [3]


def test_rows_of_metrics_csv_reach_a_run_that_starts_later(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,epoch,train/loss\n0,0,2.0\n1,0,1.0\n2,0,0.5\n")
    run = WandbRun(tmp_path)
    run.log_metrics({"train/loss": 0.25}, step=2)
    run.log_metrics({"train/loss": 0.125}, step=3)
    run.finish()
    assert {row["_step"]: row["train/loss"] for row in _history(tmp_path)} == {0: 2.0, 1: 1.0, 2: 0.25, 3: 0.125}
    assert last_step(_folders(tmp_path)) == 3


def test_pictures_and_late_values(tmp_path: Path) -> None:
    run = WandbRun(tmp_path, mode="offline")
    run.log_metrics({"train/loss": 1.0}, step=5)
    log_pictures(run, {"val/a": Image.new("RGB", (4, 4), "red"), "val/b": Image.new("RGB", (4, 4))}, step=5)
    run.log_metrics({"train/loss": 0.5}, step=6)
    run.log_metrics({"test/map": 0.75, "train/loss": 9.0}, step=5)
    run.finish(state="pruned")
    (folder,) = _folders(tmp_path)
    history = _history(tmp_path)
    assert [row["_step"] for row in history] == [5, 6]
    assert {"val/a._type", "val/b._type"} <= set(history[0])
    assert len(list(folder.rglob("*.png"))) == 2
    updates = [record["summary"]["update"] for record in _records(folder) if record["type"] == "summary"]
    assert any(update.get("test/map") == 0.75 for update in updates)
    assert any(update.get("state") == "pruned" for update in updates)
    assert all(update.get("train/loss") != 9.0 for update in updates)


def test_a_failure_of_wandb_is_said_once_and_stops_nothing(tmp_path: Path) -> None:
    run = WandbRun(tmp_path, mode="offline")
    run.start()
    sdk_run = run.experiment
    sdk_run.finish()  # whatever is logged from here on fails inside wandb
    run.log_metrics({"train/loss": 1.0}, step=0)
    with pytest.warns(UserWarning, match=r"W&B logging stops here \(.*finished.*\); training goes on"):
        run.log_metrics({"train/loss": 1.0}, step=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.log_metrics({"train/loss": 1.0}, step=2)
        run.finish(exit_code=1)


def test_a_directory_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder should be")
    run = WandbRun(tmp_path / "run", mode="offline")
    with pytest.warns(UserWarning, match="W&B logging stops here"):
        run.log_metrics({"train/loss": 1.0}, step=0)
    run.finish()


def test_without_a_network_an_online_run_is_recorded_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port: nobody answers
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setitem(wandb_state._SETTINGS, "init_timeout", 1.0)
    wandb.teardown()
    run = WandbRun(tmp_path / "run")
    run.log_metrics({"train/loss": 1.0}, step=1)
    run.finish()
    assert "W&B: W&B cannot be used online" in capsys.readouterr().err
    assert [row["_step"] for row in _history(tmp_path / "run")] == [1]


@pytest.mark.parametrize(
    ("environment", "mode", "expected"),
    [
        ({}, "auto", "no key is configured, so this run is recorded offline"),
        ({}, "online", "no key is configured, though online is asked for, so this run is recorded offline"),
        ({"WANDB_MODE": "offline", "WANDB_API_KEY": "0" * 40}, "auto", "W&B is set to offline"),
        ({"WANDB_MODE": "disabled"}, "auto", ""),
        ({}, "disabled", ""),
    ],
)
def test_modes(
    environment: dict[str, str],
    mode: Any,
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    wandb.teardown()
    run = WandbRun(tmp_path / "run", mode=mode)
    run.log_metrics({"train/loss": 1.0}, step=1)
    run.finish()
    said = capsys.readouterr().err
    assert expected in said
    assert bool(said) == bool(expected)
    assert (tmp_path / "run").exists() == bool(expected)


def test_a_key_in_netrc_counts(tmp_path: Path) -> None:
    assert choose_mode("auto", wandb.setup().settings)[0] == "offline"
    (tmp_path / "netrc").write_text("machine elsewhere.org login user password x\n")
    assert choose_mode("auto", wandb.setup().settings)[0] == "offline"
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "0" * 40 + "\n")
    assert choose_mode("auto", wandb.setup().settings)[0] == "online"


def test_unknown_mode() -> None:
    with pytest.raises(ConfigError, match="did you mean 'offline'"):
        WandbRun("run", mode="ofline")  # type: ignore[arg-type]
