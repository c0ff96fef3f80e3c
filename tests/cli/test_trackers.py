"""Commands with several loggers: one run of each, killed and resumed, on two ranks."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from lab.loggers.metrics_file import read_metrics
from lab.loggers.undefined import with_nulls
from tests.runs import SMALL, Runs, last_step, record, wait_for


def test_killed_and_resumed_on_two_ranks(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = [*SMALL, "logger=[wandb,tensorboard,mlflow]", "logger.mlflow.experiment=e", "strategy=ddp"]
    words.append("trainer.devices=2")
    command = runs.start(*words, folder=tmp_path)
    assert wait_for(lambda: last_step(tmp_path) >= 6, command), command.err
    command.send(signal.SIGKILL)
    command.wait()
    command = runs.run(*words, folder=tmp_path)
    assert command.code == 0, command.err
    (run,) = [path.parent for path in (tmp_path / "runs").glob("*/run.json")]
    assert record(run)["resumed_at"][0] > 0
    assert (command.out + command.err).count("logging stops here") == 0

    rows = [with_nulls(row) for row in read_metrics(run)]
    names = {name for row in rows for name, value in row.items() if value is not None} - {"step"}
    expected = {
        name: [(row["step"], row[name]) for row in rows if row.get(name) is not None] for name in names
    }  # the test too, which is logged at the last step
    assert len(expected["train/loss"]) == 12

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = MlflowClient((tmp_path / "runs" / "mlflow").as_uri())
    (found,) = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    assert json.loads((run / "mlflow.json").read_text()) == {"id": found.info.run_id}
    assert (found.info.status, found.info.run_name) == ("FINISHED", run.name)
    assert found.data.params["model.net.embed_dim"] == "16"
    assert found.data.tags["model"] == "detr_tiny"
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    assert {*found.data.metrics} == {*events.Tags()["scalars"]} == names
    for name, values in expected.items():
        steps = [step for step, _ in values]
        in_mlflow = client.get_metric_history(found.info.run_id, name)
        assert [metric.step for metric in in_mlflow] == steps, name
        assert [event.step for event in events.Scalars(name)] == steps, name
        if name.startswith(("val/", "test/", "train/loss")):
            assert [metric.value for metric in in_mlflow] == [value for _, value in values], name
