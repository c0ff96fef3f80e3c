"""TensorBoard and MLflow read back by their own readers: no step twice, none missing, no failure ends a training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.loggers.metrics_csv import MetricsCSV
from lab.loggers.mlflow_run import LONGEST_VALUE, MlflowRun, choose_store
from lab.loggers.tensorboard_run import FOLDER, TensorBoardRun
from lab.loggers.tracker import Tracker
from tests.runs import ROOT

CONFIG = {"optimizer": {"lr": 0.1, "groups": []}, "seed": 3, "check": False, "ckpt": None, "model": {"name": "m"}}

# Each stage is a process of its own, forked where everything is imported already.
TRAINING = """
import json, os, signal, sys
from lab.loggers.metrics_csv import MetricsCSV
from lab.loggers.mlflow_run import MlflowRun
from lab.loggers.tensorboard_run import TensorBoardRun
import mlflow.tracking, torch.utils.tensorboard

def train(folder, first, last, saved, with_mlflow, state):
    run_dir = folder + "/run"
    config = json.loads(sys.argv[3])
    table = MetricsCSV(run_dir)
    trackers = [TensorBoardRun(run_dir, config)]
    trackers += [MlflowRun(run_dir, folder + "/mlflow", "e", config, {"data": "d"})] if with_mlflow else []
    table.cut_back(first - 1)
    for tracker in trackers:
        tracker.begin(first - 1, "val/map")
    for step in range(first, last + 1):
        for logger in (table, *trackers):
            logger.log_metrics({"train/loss": 1 / step, "epoch": step // 10}, step=step)
            if step % 5 == 0:
                undefined = float("nan") if step < 10 else 0.5
                logger.log_metrics({"val/map": step / 1000, "val/per_class/a?b": undefined}, step)
        if step == saved:
            table.flush()
    if not state:
        os.kill(os.getpid(), signal.SIGKILL)
    for logger in (table, *trackers):
        logger.log_metrics({"test/map": 0.25}, last)
    table.flush()
    for tracker in trackers:
        tracker.finish(state)

for index, stage in enumerate(json.loads(sys.argv[2])):
    if not (child := os.fork()):
        os.dup2(os.open(f"{sys.argv[1]}/{index}.txt", os.O_CREAT | os.O_WRONLY), 2)
        os.dup2(2, 1)
        train(sys.argv[1], *stage)
        sys.stdout.flush()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address of the person who runs the tests; what MLflow is told stays in the test."""
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        monkeypatch.delenv(name)
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.setenv(name, "true")


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed twice and resumed twice; MLflow was switched on with the second process."""
    folder = tmp_path_factory.mktemp("resumed")
    # From and to a step, the step of the checkpoint, with MLflow, the state at the end (none: killed).
    stages = [(1, 17, 12, False, ""), (13, 24, 20, True, ""), (21, 30, 30, True, "finished")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", TRAINING, str(folder), json.dumps(stages), json.dumps(CONFIG)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    said = [path.read_text() for path in sorted(folder.glob("*.txt"))]
    assert [int(line) for line in done.stdout.split()] == [-signal.SIGKILL, -signal.SIGKILL, 0], (done.stderr, said)
    assert said == ["", "", ""]
    return folder


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}


def client(store: Path) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(store.as_uri())


def only_mlflow_run(store: Path, experiment: str = "e") -> Any:
    found = client(store).search_runs([client(store).get_experiment_by_name(experiment).experiment_id])
    assert len(found) == 1
    return found[0]


EXPECTED = {
    "train/loss": [(step, 1 / step) for step in range(1, 31)],
    "epoch": [(step, step // 10) for step in range(1, 31)],
    "val/map": [(step, step / 1000) for step in range(5, 31, 5)],
    "test/map": [(30, 0.25)],
}


def test_tensorboard_shows_each_step_of_a_killed_run_once(resumed: Path) -> None:
    found = scalars(resumed / "run" / FOLDER)
    assert len(list((resumed / "run" / FOLDER).iterdir())) == 3
    per_class = [(step, 0.5) for step in range(10, 31, 5)]
    assert found.keys() == {*EXPECTED, "val/per_class/a?b"}
    for name, values in {**EXPECTED, "val/per_class/a?b": per_class}.items():
        assert [step for step, _ in found[name]] == [step for step, _ in values], name
        assert [value for _, value in found[name]] == pytest.approx([value for _, value in values], rel=1e-6), name


def test_tensorboard_has_the_hyperparameters_and_what_they_are_judged_by(resumed: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata

    events = EventAccumulator(str(resumed / "run" / FOLDER))
    events.Reload()
    contents = events.summary_metadata
    started = metadata.parse_session_start_info_plugin_data(
        contents[metadata.SESSION_START_INFO_TAG].plugin_data.content
    )
    numbers = {key: value.number_value for key, value in started.hparams.items() if value.HasField("number_value")}
    texts = {key: value.string_value for key, value in started.hparams.items() if value.HasField("string_value")}
    assert numbers == {"optimizer.lr": 0.1, "seed": 3}
    assert texts == {"optimizer.groups": "[]", "check": "false", "model.name": "m"}
    experiment = metadata.parse_experiment_plugin_data(contents[metadata.EXPERIMENT_TAG].plugin_data.content)
    assert [info.name.tag for info in experiment.metric_infos] == ["val/map", "test/map"]
    assert metadata.SESSION_END_INFO_TAG in contents  # the run has finished


def test_mlflow_has_one_run_of_all_processes(resumed: Path) -> None:
    store = resumed / "mlflow"
    run = only_mlflow_run(store)
    assert json.loads((resumed / "run" / "mlflow.json").read_text()) == {"id": run.info.run_id}
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params == {
        "optimizer.lr": "0.1", "optimizer.groups": "[]", "seed": "3", "check": "false", "ckpt": "null",
        "model.name": "m",
    }  # fmt: skip
    assert {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")} == {
        "data": "d", "lab_state": "finished", "lab_monitor": "val/map"
    }  # fmt: skip
    per_class = [(step, 0.5) for step in range(10, 31, 5)]
    assert run.data.metrics.keys() == {*EXPECTED, "val/per_class/a_3f_b"}
    for name, values in {**EXPECTED, "val/per_class/a_3f_b": per_class}.items():
        history = client(store).get_metric_history(run.info.run_id, name)
        assert [(metric.step, metric.value) for metric in history] == values, name


@pytest.mark.parametrize(
    ("state", "status"),
    [("interrupted", "KILLED"), ("failed", "FAILED"), ("diverged", "FAILED"), ("pruned", "FINISHED")],
)
def test_status_of_an_mlflow_run_and_its_continuation(tmp_path: Path, state: str, status: str) -> None:
    store = tmp_path / "runs" / "mlflow"
    for step in (0, 4):
        tracker = MlflowRun(tmp_path / "run", store, "e", CONFIG)
        (tmp_path / "run").mkdir(exist_ok=True)
        tracker.begin(step, "val/map")
        assert only_mlflow_run(store).info.status == "RUNNING"
        tracker.finish(state)
        assert only_mlflow_run(store).info.status == status
        assert only_mlflow_run(store).data.tags["lab_state"] == state


def test_settings_that_mlflow_cannot_take_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = {f"key{number}": number for number in range(250)}
    config = {"many": many, "long": "x" * 7000, "odd": {"a?b": 1}, "deep": {"k" * 260: 1}}
    tracker = MlflowRun(tmp_path, tmp_path / "mlflow", "e", config)
    tracker.begin(0, "val/map")
    params = only_mlflow_run(tmp_path / "mlflow").data.params
    assert len(params) == 251
    assert len(params["long"]) == LONGEST_VALUE
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("note: MLflow cannot take the names of 2 of 253 settings (deep.kkk")
    assert lines[1] == "note: MLflow takes 6000 characters of a setting: 1 cut (long); config.yaml has them all"
    MlflowRun(tmp_path, tmp_path / "mlflow", "e", {**config, "long": "y", "new": 1}).begin(0, "val/map")
    again = only_mlflow_run(tmp_path / "mlflow").data.params
    assert again["long"] == params["long"]
    assert again["new"] == "1"
    said = "note: MLflow keeps the first value of a setting: 1 changed since (long); config.yaml has them all"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{", '{"id": "0123456789abcdef0123456789abcdef"}', "[]"])
def test_a_lost_mlflow_run_becomes_a_new_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "mlflow.json").write_text(content)
    tracker = MlflowRun(tmp_path, tmp_path / "mlflow", "e", CONFIG)
    if content.startswith('{"id'):
        tracker.begin(0, "val/map")
    else:
        with pytest.warns(UserWarning, match="mlflow.json is damaged"):
            tracker.begin(0, "val/map")
    assert only_mlflow_run(tmp_path / "mlflow").info.run_id == tracker.version


def test_a_tracker_that_fails_is_reported_once_and_the_training_goes_on(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    trackers: list[Tracker] = [
        TensorBoardRun(tmp_path, CONFIG),
        MlflowRun(tmp_path, "http://127.0.0.1:9", "e", CONFIG),  # nobody listens there
    ]
    for tracker in trackers:
        with pytest.warns(UserWarning, match=rf"{tracker.label} logging stops here .*; training goes on"):
            tracker.begin(0, "val/map")
        tracker.log_metrics({"train/loss": 1.0}, 1)  # a second warning would fail the test
        tracker.finish("finished")


def test_a_run_that_began_without_tensorboard_has_its_whole_history(tmp_path: Path) -> None:
    table = MetricsCSV(tmp_path)
    for step in (1, 2, 3):
        table.log_metrics({"train/loss": float(step)}, step)
    table.flush()
    tracker = TensorBoardRun(tmp_path, CONFIG)
    tracker.begin(3, "val/map")
    tracker.log_metrics({"train/loss": 4.0}, 4)
    tracker.finish("interrupted")
    assert scalars(tmp_path / FOLDER)["train/loss"] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]


def test_where_mlflow_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_store(None, "runs") == "runs/mlflow"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert choose_store(None, "runs") == "http://server"
    assert choose_store("sqlite:///a.db", "runs") == "sqlite:///a.db"
