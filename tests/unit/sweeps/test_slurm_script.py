"""The batch script: its options, and what it does with signals and exit codes, run by bash without Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.launch.prepare import prepare_job
from lab.sweeps.placing import Assignment
from lab.sweeps.settings import SlurmLauncher
from lab.sweeps.slurm_script import options_of, script_of
from tests.runs import SMALL
from tests.unit.sweeps.fake_slurm import FakeSlurm


def attempt(tmp_path: Path) -> Assignment:
    prepared = prepare_job([*SMALL, f"paths.runs_dir={tmp_path / 'runs'}"], [])
    folder = tmp_path / "runs" / "sweeps" / "s"
    return Assignment(1, 1, 0, prepared, folder / "jobs" / "1", folder)


def settings(**values: Any) -> SlurmLauncher:
    return SlurmLauncher(name="slurm", **values)


def test_options(tmp_path: Path) -> None:
    asked = settings(
        partition="gpu", time="4:00:00", memory="16G", constraint="a100", account="me", qos="low", signal_before=120,
        threads_per_job=8, devices_per_job=2, sbatch=["--exclusive", "--comment=two words"],
    )  # fmt: skip
    assert options_of(attempt(tmp_path), asked) == [
        "--job-name=lab-s-1",
        f"--output={tmp_path / 'runs/sweeps/s/jobs/1/output.log'}",
        *("--open-mode=append", "--nodes=1", "--ntasks=1", "--cpus-per-task=8", "--gpus-per-node=2"),
        *("--partition=gpu", "--time=4:00:00", "--mem=16G", "--constraint=a100", "--account=me", "--qos=low"),
        *("--signal=B:USR1@120", "--requeue", "--exclusive", '--comment="two words"'),
    ]
    assert "--no-requeue" in options_of(attempt(tmp_path), settings(requeue=False))


def test_gpus_follow_from_the_trainer(tmp_path: Path) -> None:
    given = attempt(tmp_path)
    given.prepared.config["trainer"] |= {"accelerator": "gpu", "devices": 4}
    assert "--gpus-per-node=4" in options_of(given, settings())
    assert "--gpus-per-node=1" in options_of(given, settings(devices_per_job=1))


def test_signs_that_sbatch_reads(tmp_path: Path) -> None:
    """As Slurm 22.05 has read them: %% is a %, and within double quotes a backslash keeps the next sign."""
    given = replace(attempt(tmp_path), folder=tmp_path / 'a "b" #c %d')
    assert options_of(given, settings())[1] == f'--output="{tmp_path}/a \\"b\\" #c %%d/output.log"'


class Batch:
    """A batch script that runs, with a shell script in place of the worker."""

    def __init__(self, tmp_path: Path, worker: str, **values: Any) -> None:
        self.fake = FakeSlurm(tmp_path)
        python = tmp_path / "python"
        python.write_text(f"#!/bin/bash\n{worker}\n")
        python.chmod(0o755)
        given = attempt(tmp_path)
        given.folder.mkdir(parents=True)
        self.exit_file = given.folder / "exit-1"
        self.began = tmp_path / "began"
        script = tmp_path / "job.sbatch"
        script.write_text(script_of(given, settings(python=str(python), **values), Path("file"), self.exit_file))
        environment = {**os.environ, "PATH": f"{self.fake.bin}:/usr/bin:/bin", "SLURM_JOB_ID": "17"}
        self.process = subprocess.Popen(["bash", str(script)], env=environment | {"BEGAN": str(self.began)})

    def send(self, signum: int) -> None:
        end = time.monotonic() + 10
        while not self.began.exists():
            assert time.monotonic() < end
            time.sleep(0.01)
        self.process.send_signal(signum)

    def end(self) -> tuple[int, str]:
        code = self.process.wait(timeout=10)
        return code, self.exit_file.read_text().strip() if self.exit_file.exists() else ""


TRAINS = "trap 'exit 143' TERM; touch \"$BEGAN\"; while :; do sleep 0.05; done"


@pytest.mark.parametrize("code", [0, 1, 2])
def test_the_exit_code_is_left(code: int, tmp_path: Path) -> None:
    assert Batch(tmp_path, f"exit {code}").end() == (code, str(code))


def test_a_killed_worker_leaves_128_and_its_signal(tmp_path: Path) -> None:
    assert Batch(tmp_path, "kill -9 $$").end() == (137, "137")


def test_usr1_lets_slurm_queue_the_job_again(tmp_path: Path) -> None:
    batch = Batch(tmp_path, TRAINS)
    batch.send(signal.SIGUSR1)
    assert batch.end() == (0, "")  # no exit code: the attempt goes on
    assert batch.fake.calls() == ["scontrol requeue 17"]


def test_usr1_without_requeue_is_told(tmp_path: Path) -> None:
    batch = Batch(tmp_path, TRAINS, requeue=False)
    batch.send(signal.SIGUSR1)
    assert batch.end() == (143, "143 its time limit was near")
    assert batch.fake.calls() == []


def test_a_refused_requeue_is_told(tmp_path: Path) -> None:
    batch = Batch(tmp_path, TRAINS)
    (batch.fake.queue / "norequeue").touch()
    batch.send(signal.SIGUSR1)
    assert batch.end() == (143, "143 its time limit was near")


def test_usr1_at_the_last_moment_queues_no_finished_job(tmp_path: Path) -> None:
    batch = Batch(tmp_path, "trap 'exit 0' TERM; touch \"$BEGAN\"; while :; do sleep 0.05; done")
    batch.send(signal.SIGUSR1)
    assert batch.end() == (0, "0")
    assert batch.fake.calls() == []


def test_scancel_stops_without_a_requeue(tmp_path: Path) -> None:
    batch = Batch(tmp_path, TRAINS)
    batch.send(signal.SIGTERM)
    assert batch.end() == (143, "143")
    assert batch.fake.calls() == []


def test_usr2_reopens_the_log_and_ends_nothing(tmp_path: Path) -> None:
    # In Python: a shell cannot trap what was ignored when it began, as USR1 is until the worker has set its handler.
    handlers = "signal.signal(signal.SIGTERM, lambda *_: os._exit(143)); signal.signal(signal.SIGUSR1, again)"
    again = "def again(*_): pathlib.Path(os.environ['BEGAN']).write_text('again')"
    code = f"import os, pathlib, signal, time\n{again}\n{handlers}\npathlib.Path(os.environ['BEGAN']).touch()"
    batch = Batch(tmp_path, f'exec {sys.executable} -c "{code}\nwhile True: time.sleep(0.05)"')
    batch.send(signal.SIGUSR2)
    end = time.monotonic() + 10
    while batch.began.read_text() != "again":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert batch.process.poll() is None
    batch.send(signal.SIGTERM)
    assert batch.end() == (143, "143")


def test_lines_before_the_job(tmp_path: Path) -> None:
    batch = Batch(tmp_path, 'exit "$CODE"', setup=["export CODE=7"])
    assert batch.end() == (7, "7")
