"""``examples/wandb_sweep.yaml``: the command that W&B's own agent makes of it, run by that agent without a server."""

from __future__ import annotations

import json
import os
import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.config.checks import check_config
from lab.config.compose import compose_config
from lab.launch.kinds import settings_finder
from lab.loggers.wandb_agent import chosen_by_agent
from tests.runs import ROOT, SMALL, only_run, record

FILE = ROOT / "examples" / "wandb_sweep.yaml"
POINT = {"optimizer.lr": 0.00123, "optimizer.weight_decay": 0.01, "model.net.num_queries": 10}


def content() -> dict[str, Any]:
    return yaml.safe_load(FILE.read_text())


def points(parameters: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each key with the values at the ends of its range, or all that it lists."""
    for key, parameter in parameters.items():
        for value in parameter.get("values") or (parameter["min"], parameter["max"]):
            yield key, value


def test_the_file_is_a_sweep_of_wandb() -> None:
    """The rules of W&B's schema of sweeps (package sweeps 0.2.0, schema.json) that this file comes under."""
    sweep = content()
    known = {"program", "name", "method", "metric", "parameters", "early_terminate", "command"}
    assert sweep.keys() <= known
    assert sweep["method"] in ("grid", "random", "bayes")
    assert sweep["metric"]["goal"] in ("maximize", "minimize")
    assert sweep["early_terminate"]["type"] == "hyperband"
    for key, parameter in sweep["parameters"].items():
        listed, ranged = {"values"}, {"distribution", "min", "max"}
        assert parameter.keys() in (listed, ranged), key
    assert {str(word) for word in sweep["command"] if str(word).startswith("${")} == {"${env}", "${args_no_hyphens}"}


def test_each_parameter_is_a_key_of_lab_at_both_ends_of_its_range() -> None:
    sweep = content()
    fixed = [word for word in sweep["command"] if "=" in word]
    assert POINT.keys() == sweep["parameters"].keys()
    for key, value in points(sweep["parameters"]):
        composed = compose_config([*fixed, f"{key}={value}"])
        check_config(composed, settings_finder(composed))


def test_the_agent_runs_a_command_whose_run_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb.wandb_agent import Agent

    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "WANDB_SWEEP_ID": "sw33pid", "WANDB_PROJECT": "agents", "WANDB_MODE": "offline", "PYTHONPATH": str(ROOT),
        "WANDB_DIR": str(tmp_path), "WANDB_ERROR_REPORTING": "false", "OMP_NUM_THREADS": "1",
        "WANDB_RUN_ID": "", "WANDB_SWEEP_PARAM_PATH": "",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)  # the agent sets the last two itself; the end of this test takes them back
    words = [word for word in SMALL if not word.startswith(("logger=", "model.net.num_queries"))]
    run_py = [str(ROOT / "run.py") if word == "run.py" else word for word in content()["command"]]
    index = run_py.index("trainer.max_steps=300")
    agent = Agent(api=None, queue=queue.Queue(), sweep_id="sw33pid")
    agent._sweep_command = [
        *run_py[:index],
        *words,
        "trainer.max_steps=2",
        "logger.wandb.media=0",
        *run_py[index + 1 :],
    ]
    told = {"run_id": "ag3ntrun", "program": "run.py", "args": {key: {"value": value} for key, value in POINT.items()}}
    agent._command_run(told)
    assert agent._run_processes["ag3ntrun"].wait(900) == 0

    run = only_run(tmp_path)
    assert record(run)["state"] == "finished"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["optimizer"]["lr"] == 0.00123
    assert config["model"]["net"]["num_queries"] == 10
    assert json.loads((run / "wandb.json").read_text())["id"] == "ag3ntrun"
    (folder,) = (run / "wandb").glob("offline-run-*")
    assert folder.name.endswith("-ag3ntrun")
    assert (folder / "run-ag3ntrun.wandb").is_file()


@pytest.mark.parametrize(
    ("sweep", "agent", "expected"),
    [
        ("", "", ("old", 7)),
        ("", "new", ("old", 7)),  # a variable of the user's, who starts no sweep: a run directory has its own id
        ("s", "", ("old", 7)),
        ("s", "old", ("old", 7)),
        ("s", "new", ("new", -1)),
    ],
)
def test_the_id_is_the_agents_within_a_sweep(
    sweep: str, agent: str, expected: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", sweep)
    monkeypatch.setenv("WANDB_RUN_ID", agent)
    assert chosen_by_agent("old", 7) == expected
