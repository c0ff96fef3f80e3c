"""Jobs of two ranks from the command line: started by us, by torchrun, by Slurm; killed in every way; repeated."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.loggers.metrics_file import read_metrics
from lab.run_directory import RunDirectory
from tests.runs import ROOT, SMALL, Command, Runs, last_step, only_run, record, summary, wait_for

DDP = ("strategy=ddp", "trainer.devices=2")

_BAD_RANK = """
import os
from lab.tasks.detection.task import DetectionTask

step = DetectionTask.training_step

def fail(self, batch, batch_idx):
    if batch_idx == 2:
        raise ZeroDivisionError("the third batch of rank one")
    return step(self, batch, batch_idx)

if os.environ["RANK"] == "1":
    DetectionTask.training_step = fail
"""


def descendants(pid: int) -> list[int]:
    """Return the processes below ``pid``."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[0] != "Z":
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, front = [], [pid]
    while front:
        front = [child for parent in front for child in parents.get(parent, [])]
        found += front
    return found


def alive(pids: list[int]) -> list[int]:
    left = []
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                left.append(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return left


def end_of(pids: list[int], seconds: float = 10.0) -> list[int]:
    """Return which of the processes are there still after a while."""
    end = time.monotonic() + seconds
    while (left := alive(pids)) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def ranks_of(command: Command) -> list[int]:
    """Return the pids of a command's ranks, in their order."""
    names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in descendants(command.pid)}
    return sorted(pid for pid, name in names.items() if b"lab.launch.worker" in name)


@pytest.fixture(scope="module")
def whole(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fit on one process that nothing has disturbed."""
    return runs.fit(folder=tmp_path_factory.mktemp("whole"))


def assert_same_training(run: Path, other: Path) -> None:
    """The same losses and metrics at every step; the worst measured difference is 3e-7."""
    these, those = read_metrics(run / "metrics.csv"), read_metrics(other / "metrics.csv")
    assert [row["step"] for row in these] == [row["step"] for row in those]
    for ours, theirs in zip(these, those, strict=True):
        for key, value in theirs.items():
            if value is not None and (key.startswith(("val/", "test/")) or "loss" in key):
                assert ours[key] == pytest.approx(value, rel=1e-5, abs=1e-6), (theirs["step"], key)


@pytest.mark.parametrize("devices", ["2,1", "1,2"])
def test_a_sweep_over_devices(runs: Runs, tmp_path: Path, devices: str) -> None:
    words = [*SMALL, "logger=both", "strategy=ddp", "trainer.max_steps=3", f"trainer.devices={devices}"]
    command = runs.run("-m", *words, folder=tmp_path)
    assert command.code == 0, command.out[-3000:] + command.err
    rows = summary(tmp_path)
    assert [row["trainer.devices"] for row in rows] == devices.split(",")
    wandb_ids = set()
    for row in rows:
        run = tmp_path / "runs" / row["run"]
        assert record(run)["world_size"] == int(row["trainer.devices"])
        assert record(run)["state"] == "finished"
        assert len(read_metrics(run / "metrics.csv")) == 3
        assert "validated" in (run / "output.log").read_text()
        assert len(list((run / "wandb").glob("offline-run-*"))) == 1
        wandb_ids.add(json.loads((run / "wandb.json").read_text())["id"])
    assert len(wandb_ids) == 2
    assert len(list((tmp_path / "runs").glob("*/run.json"))) == 2
    assert rows[0]["test/map"] == rows[1]["test/map"]


def test_a_killed_rank_ends_the_job_and_repeating_finishes_it(runs: Runs, tmp_path: Path, whole: Path) -> None:
    words = [*SMALL, *DDP]
    command = runs.start(*words, folder=tmp_path, fresh_ranks=True)
    assert wait_for(lambda: last_step(tmp_path) >= 3, command)
    ranks = ranks_of(command)
    assert len(ranks) == 2
    everyone = descendants(command.pid)
    os.kill(ranks[1], signal.SIGKILL)
    killed = time.monotonic()
    assert command.wait() in (1, 137)
    assert time.monotonic() - killed < 30
    assert end_of(everyone) == []
    assert "killed by SIGKILL" in command.err or "failed" in command.err
    run = only_run(tmp_path)
    assert record(run)["state"] == "failed"
    again = runs.run(*words, folder=tmp_path)
    assert again.code == 0, again.out[-3000:] + again.err
    assert record(run)["resumed_at"][0] >= 2
    assert_same_training(run, whole)


def test_a_killed_parent_leaves_nobody_behind(runs: Runs, tmp_path: Path, whole: Path) -> None:
    words = [*SMALL, "strategy=fsdp", "trainer.devices=2", "data.num_workers=1"]
    command = runs.start(*words, folder=tmp_path, fresh_ranks=True)
    assert wait_for(lambda: last_step(tmp_path) >= 3, command)
    everyone = descendants(command.pid)
    assert len(everyone) >= 4  # two ranks, a loader process of each
    command.send(signal.SIGKILL)
    command.wait()
    assert end_of(everyone) == []
    again = runs.run(*words, folder=tmp_path)
    assert again.code == 0, again.out[-3000:] + again.err
    assert record(only_run(tmp_path))["resumed_at"][0] >= 2
    assert_same_training(only_run(tmp_path), whole)


def test_sigterm_stops_all_ranks_at_the_same_step(runs: Runs, tmp_path: Path) -> None:
    words = [*SMALL, *DDP, "trainer.max_steps=400", "trainer.val_every_n_steps=400"]
    command = runs.start(*words, folder=tmp_path)
    assert wait_for(lambda: last_step(tmp_path) >= 3, command)
    command.send(signal.SIGTERM)
    assert command.wait() == 143
    run = only_run(tmp_path)
    assert record(run)["state"] == "interrupted"
    (step,) = re.findall(r"interrupted by SIGTERM at step (\d+); repeat the command to continue\n", command.err)
    assert read_metrics(run / "metrics.csv")[-1]["step"] == int(step)


_LATE_RANK = """
import os, time
from pathlib import Path
from lab.tasks.detection.task import DetectionTask

step = DetectionTask.training_step

def late(self, batch, batch_idx):
    if batch_idx == 2:
        Path(os.environ["WAITING"]).touch()
        for _ in range(3000):
            time.sleep(0.02)
    return step(self, batch, batch_idx)

if os.environ["RANK"] == os.environ["LATE"]:
    DetectionTask.training_step = late
"""


@pytest.mark.parametrize(("late", "pause"), [(0, 1.0), (1, 0.1)])
def test_a_second_interrupt_ends_ranks_that_wait_for_each_other(tmp_path: Path, late: int, pause: float) -> None:
    # One rank is in Python, the other one in gloo, where no handler of Python runs.
    (tmp_path / "late_rank.py").write_text(_LATE_RANK)
    words = [*SMALL, *DDP, "extensions=[late_rank]", f"paths.runs_dir={tmp_path / 'runs'}"]
    waiting = tmp_path / "waiting"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "LATE": str(late), "WAITING": str(waiting)}
    environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{tmp_path}"
    command = [sys.executable, str(ROOT / "run.py"), *words]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        end = time.monotonic() + 120
        while not waiting.exists():
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        time.sleep(1.0)  # the other rank gets to the collective
        everyone = descendants(process.pid)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(pause)
        sent = time.monotonic()
        output, error = process.communicate(timeout=120)
        took = time.monotonic() - sent
    assert process.returncode == 130, output[-3000:] + error
    assert took < 30
    assert end_of(everyone) == []
    assert "Traceback" not in output + error
    run = only_run(tmp_path)
    assert (record(run)["state"], record(run)["exit_code"]) == ("interrupted", 130)
    assert RunDirectory(run).state == "interrupted"


def test_a_failing_rank_shows_its_own_traceback(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "bad_rank.py").write_text(_BAD_RANK)
    words = [*SMALL, *DDP, "extensions=[bad_rank]"]
    command = runs.run(*words, folder=tmp_path, fresh_ranks=True, PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}")
    assert command.code == 1
    assert "ZeroDivisionError: the third batch of rank one" in command.err
    assert command.err.splitlines()[-1] == ("error: rank 1 of 2 failed: ZeroDivisionError: the third batch of rank one")
    assert record(only_run(tmp_path))["state"] == "failed"


def test_a_refusal_on_the_ranks_is_one_line(runs: Runs, tmp_path: Path) -> None:
    command = runs.run(*SMALL, *DDP, "model.net.backbone=nosuch", folder=tmp_path)  # no source text tells
    assert command.code == 2
    assert command.err.startswith("error: model.net: unknown model 'nosuch'")
    assert command.err.count("\n") == 1
    assert not list((tmp_path / "runs").glob("*/run.json"))


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def placed(folder: Path, environments: list[dict[str, str]], *words: str) -> list[tuple[int, str]]:
    """Run ``run.py WORDS`` once for each environment, at the same time; return exit codes and outputs."""
    base = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"}
    command = [sys.executable, str(ROOT / "run.py"), *words]
    started = [
        subprocess.Popen(
            command, env={**base, **env}, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for env in environments
    ]
    outputs = [process.communicate(timeout=180)[0] for process in started]
    return [(process.returncode, output) for process, output in zip(started, outputs, strict=True)]


def slurm(rank: int, port: int) -> dict[str, str]:
    return {
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_NTASKS": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_STEP_ID": "0",
        "SLURM_JOB_ID": "7",
        "SLURM_STEP_NODELIST": "localhost",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def test_slurm_ranks_share_one_run(tmp_path: Path, whole: Path, port: int) -> None:
    # The second rank is given other words: rank 0's count, through the store.
    results = placed(tmp_path, [slurm(0, port), slurm(1, port)], *SMALL, "strategy=ddp")
    assert [code for code, _ in results] == [0, 0], results
    run = only_run(tmp_path)
    assert record(run)["world_size"] == 2
    assert "joins 2 ranks" in results[1][1]
    assert_same_training(run, whole)


def test_what_rank_zero_refuses_ends_all_ranks(tmp_path: Path, port: int) -> None:
    results = placed(tmp_path, [slurm(0, port), slurm(1, port)], "strategy=ddp", "optimizer.lrr=1")
    assert [code for code, _ in results] == [2, 2], results
    assert results[0][1].startswith("error: optimizer.lrr=1: unknown key")
    assert "error" not in results[1][1]


def test_torchrun(tmp_path: Path, whole: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"}
    done = subprocess.run(
        [*torchrun, str(ROOT / "run.py"), *SMALL, "strategy=ddp"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert record(only_run(tmp_path))["world_size"] == 2
    assert_same_training(only_run(tmp_path), whole)


def test_a_sweep_under_a_launcher_is_refused(tmp_path: Path, port: int) -> None:
    results = placed(tmp_path, [slurm(0, port), slurm(1, port)], "-m", "seed=0,1")
    assert [code for code, _ in results] == [2, 2]
    assert results[0][1].startswith("error: -m under slurm: every rank would run the whole sweep")
    assert results[0][1].count("\n") == 1
    assert results[1][1] == ""


def test_two_machines() -> None:
    script = ROOT / "scripts" / "rehearse_two_machines.sh"
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([str(script)], env=environment, capture_output=True, text=True, timeout=240)
    if done.returncode == 77:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "two machines, world_size 2: finished" in done.stdout
