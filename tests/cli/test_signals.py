"""Ctrl-C, SIGTERM and the lock: a run ends with a checkpoint, goes on when repeated, and belongs to one process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.checkpoint.format import CheckpointReader
from lab.run_directory import RunDirectory
from tests.runs import ROOT, SMALL, Runs, last_step, only_run, record, wait_for

LONG = (
    *SMALL,
    "trainer.max_steps=100000",
    "trainer.checkpoint_every_n_steps=100000",
    "trainer.val_every_n_steps=1000000",
)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_a_training_with_a_checkpoint(runs: Runs, tmp_path: Path, signum: int, code: int) -> None:
    words = [*SMALL, "trainer.checkpoint_every_n_steps=1000", "data.num_workers=1"]
    command = runs.start(*words, folder=tmp_path)
    assert wait_for(lambda: last_step(tmp_path) >= 6, command), command.err
    os.killpg(command.pid, signum)  # as a terminal and a scheduler do: the loader's workers get it too
    assert command.wait() == code, command.err
    assert "Traceback" not in command.err
    assert command.err.count("stopping after this step") == 1
    run = only_run(tmp_path)
    assert (record(run)["state"], record(run)["exit_code"]) == ("interrupted", code)
    step = CheckpointReader(run / "checkpoints" / "last.ckpt").step
    assert step == last_step(tmp_path) > 5  # later than the checkpoint of the validation at step 5
    assert runs.run(*words, folder=tmp_path).code == 0
    assert record(run)["resumed_at"] == [step]
    assert record(run)["state"] == "finished"


def test_second_interrupt_stops_at_once(runs: Runs, tmp_path: Path) -> None:
    # A step takes seconds here, so the second signal comes before the first one has been honoured.
    command = runs.start(*LONG, "data.batch_size=1024", "data.num_train=1024", folder=tmp_path)
    assert wait_for(lambda: last_step(tmp_path) >= 1, command), command.err
    command.send(signal.SIGINT)
    assert wait_for(lambda: "stopping after this step" in command.err, command), command.err
    command.send(signal.SIGINT)
    assert command.wait() == 130
    assert "Traceback" not in command.err
    run = only_run(tmp_path)
    assert not (run / "checkpoints" / "last.ckpt").exists()
    assert record(run)["state"] == "interrupted"


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_during_the_imports(tmp_path: Path, signum: int, code: int) -> None:
    command = [sys.executable, str(ROOT / "run.py"), *SMALL, f"paths.runs_dir={tmp_path / 'runs'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not list((tmp_path / "runs").glob("*/run.json")):
            assert process.poll() is None, process.stderr
            time.sleep(0.01)
        process.send_signal(signum)  # run.json is written before torch is imported, which takes seconds
        _, error = process.communicate(timeout=120)
    assert process.returncode == code, error
    assert "Traceback" not in error
    assert RunDirectory(only_run(tmp_path)).state == "interrupted"


def test_signal_during_the_test_leaves_the_test_to_do(runs: Runs, tmp_path: Path) -> None:
    words = [*SMALL, "trainer.max_steps=3", "data.num_test=20000"]
    command = runs.start(*words, folder=tmp_path)
    assert wait_for(lambda: list((tmp_path / "runs").glob("*/checkpoints/last.ckpt")), command), command.err
    run = only_run(tmp_path)
    assert wait_for(lambda: "best_step" in record(run), command), command.err
    time.sleep(0.5)
    command.send(signal.SIGTERM)
    assert command.wait() == 143, command.err
    assert "Traceback" not in command.err
    assert record(run)["state"] == "interrupted"


def test_second_process_is_refused_and_a_dead_one_is_interrupted(runs: Runs, tmp_path: Path) -> None:
    first = runs.start(*LONG, folder=tmp_path)
    assert wait_for(lambda: last_step(tmp_path) >= 1, first), first.err
    second = runs.run(*LONG, folder=tmp_path)
    assert second.code == 2
    (error,) = second.err.splitlines()
    assert f"pid {first.pid} on {socket.gethostname()}" in error
    assert RunDirectory(only_run(tmp_path)).state == "running"
    first.send(signal.SIGKILL)
    first.wait()
    assert record(only_run(tmp_path))["state"] == "running"
    assert RunDirectory(only_run(tmp_path)).state == "interrupted"
