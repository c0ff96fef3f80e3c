"""How a run ends is what W&B says of it: by processes that end, fail, are pruned, preempted and killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.loggers.wandb_close import close_left
from tests.unit.compat.test_wandb_log import summary_of

# Each process is forked where everything is imported already and W&B has not been started.
PROCESSES = """
import json, os, signal, sys, time
from lab.loggers.wandb_run import WandbRun

def train(run_dir, first, end):
    run = WandbRun(run_dir, "p", mode="offline")
    for step in range(first, first + 3):
        run.log_metrics({"train/loss": 1 / step}, step=step)
    if end[0] == "kill":
        time.sleep(3.0)  # W&B's service has written by then
        os.kill(os.getpid(), signal.SIGKILL)
    if end[0] == "silent":
        os._exit(0)
    run.finish(*end)

for name, first, end in json.loads(sys.argv[2]):
    if not (child := os.fork()):
        train(f"{sys.argv[1]}/{name}", first, end)
        os._exit(0)
    os.waitpid(child, 0)
"""
ENDS: list[tuple[str, int, list[Any]]] = [
    ("finished", 1, [0, "finished"]),
    ("failed", 1, [1, "failed"]),
    ("pruned", 1, [0, "pruned"]),
    ("preempted", 1, [128 + signal.SIGTERM, "interrupted"]),
    ("preempted", 4, [0, "finished"]),
    ("killed", 1, ["kill"]),
    ("crashed", 1, ["kill"]),
    ("crashed", 4, [0, "finished"]),
]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run for each of ``ENDS``, some of them continued."""
    folder = tmp_path_factory.mktemp("ended")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"NETRC": str(folder / "netrc"), "WANDB_CONFIG_DIR": str(folder), "WANDB_ERROR_REPORTING": "false"}
    command = [sys.executable, "-c", PROCESSES, str(folder), json.dumps(ENDS)]
    subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=900)
    return folder


def _logs(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("wandb/offline-run-*/*.wandb"), key=lambda file: file.parent.name)


def _said(log: Path) -> tuple[str, int | None, Any]:
    said = summary_of(log)
    return said["state"], said["exit_code"], said["summary"].get("state")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("finished", [("finished", 0, "finished")]),
        ("failed", [("failed", 1, "failed")]),
        ("pruned", [("finished", 0, "pruned")]),
        # With a server W&B makes "preempted" of an exit other than 0 after the record that the next test looks for.
        ("preempted", [("failed", 143, "preempted"), ("finished", 0, "finished")]),
        # The next process has ended the record of the killed one.
        ("crashed", [("failed", 1, "crashed"), ("finished", 0, "finished")]),
    ],
)
def test_what_wandb_says_of_the_end(ended: Path, name: str, expected: list[tuple[str, int, str]]) -> None:
    assert [_said(log) for log in _logs(ended / name)] == expected


def test_sigterm_is_recorded_as_preemption(ended: Path) -> None:
    kinds = []
    for log in _logs(ended / "preempted"):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        kinds.append([json.loads(line)["type"] for line in done.stdout.splitlines()])
    assert kinds[0].index("preempting") < kinds[0].index("exit")
    assert "preempting" not in kinds[1]


def test_the_parent_of_a_killed_process_ends_its_record(ended: Path) -> None:
    run_dir = ended / "killed"
    (log,) = _logs(run_dir)
    assert _said(log) == ("running", None, None)
    with log.open("rb"):  # as its service does, which outlives it for a moment
        assert close_left(run_dir, 137, wait=0.1) == []
    assert close_left(run_dir, 137) == [log.parent]
    assert _said(log) == ("failed", 137, "killed")
    assert close_left(run_dir, 137) == []
    assert close_left(ended / "finished", 137) == []


def test_a_folder_without_a_record_and_a_damaged_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert close_left(tmp_path / "none") == []
    (tmp_path / "wandb.json").write_text('{"id": "abc", "highest_step": 1}')
    folder = tmp_path / "wandb" / "offline-run-20260101_000000-abc"
    folder.mkdir(parents=True)
    (folder / "run-abc.wandb").write_bytes(b"what is this")
    assert close_left(tmp_path) == []
    (tmp_path / "wandb.json").write_text("{")
    assert close_left(tmp_path) == []
    assert capsys.readouterr().err == ""
