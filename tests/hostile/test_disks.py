"""Disks that are full, out of inodes or moved away under a training: one line, exit 1, and it goes on afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.checkpoint.format import CheckpointReader
from lab.loggers.metrics_file import read_metrics
from tests.runs import SMALL, Command, Runs, last_step, only_run, record, wait_for

LONG = (*SMALL, "trainer.max_steps=100000", "trainer.val_every_n_steps=100000", "callbacks.progress=false")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 20 MiB, of which a checkpoint takes 3, with 200 inodes."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=20m,nr_inodes=200", "tmpfs", str(folder)]
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("mounting a tmpfs takes root")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, what: str) -> list[Path]:
    """Take what is left of a disk: its space or its inodes."""
    made = []
    try:
        for number in range(100_000):
            made.append(folder / f"ballast-{number}")
            with made[-1].open("wb", buffering=0) as file:
                while what == "space":
                    file.write(bytes(4096))
    except OSError:
        return made
    raise AssertionError("it never got full")


def error_line(command: Command) -> str:
    """Return the one line that a failed command has said."""
    assert "Traceback" not in command.err
    said = [line for line in command.err.splitlines() if line.startswith("error:")]
    assert len(said) == 1, command.err
    return said[0]


@pytest.mark.parametrize("what", ["space", "inodes"])
def test_a_disk_that_is_full(runs: Runs, small_disk: Path, what: str) -> None:
    command = runs.start(*LONG, folder=small_disk)
    assert wait_for(lambda: last_step(small_disk) >= 3, command), command.err
    ballast = fill(small_disk, what)
    assert command.wait() == 1, command.err
    line = error_line(command)
    run = only_run(small_disk)
    steps = {name: CheckpointReader(run / "checkpoints" / name).step for name in ("last.ckpt", "previous.ckpt")}
    assert "No space left on device" in line
    assert str(run.relative_to(small_disk)) in line
    assert ("no inode left" if what == "inodes" else "MiB free") in line
    assert f"kept: last.ckpt of step {steps['last.ckpt']}, previous.ckpt of step {steps['previous.ckpt']}" in line
    for path in ballast:
        path.unlink(missing_ok=True)
    steps_now = steps["last.ckpt"] + 2
    again = runs.run(f"resume={run}", f"trainer.max_steps={steps_now}", folder=small_disk)
    assert again.code == 0, again.out[-2000:] + again.err
    assert record(run)["resumed_at"] == [steps["last.ckpt"]]
    assert [row["step"] for row in read_metrics(run)] == list(range(1, steps_now + 1))
    assert not list(run.rglob(".*"))


@pytest.mark.parametrize("replaced", [False, True], ids=["gone", "another in its place"])
def test_a_run_that_is_moved_while_it_trains(runs: Runs, tmp_path: Path, replaced: bool) -> None:
    command = runs.start(*LONG, folder=tmp_path)
    assert wait_for(lambda: last_step(tmp_path) >= 3, command), command.err
    run, new = only_run(tmp_path), tmp_path / "elsewhere"
    run.rename(new)
    if replaced:
        run.mkdir()
        (run / "run.json").write_text("theirs")
    assert command.wait() == 1, command.err
    assert f"{run.relative_to(tmp_path)} was moved or deleted while it was in use" in error_line(command)
    if replaced:
        assert [path.name for path in run.iterdir()] == ["run.json"]
        assert (run / "run.json").read_text() == "theirs"
    else:
        assert list((tmp_path / "runs").iterdir()) == []
    step = CheckpointReader(new / "checkpoints" / "last.ckpt").step
    again = runs.run("resume=elsewhere", f"trainer.max_steps={step + 1}", folder=tmp_path)
    assert again.code == 0, again.err
    assert record(new)["resumed_at"] == [step]


def test_a_disk_that_is_full_from_the_start(runs: Runs, small_disk: Path) -> None:
    ballast = fill(small_disk, "space")
    command = runs.run(*SMALL, folder=small_disk)
    assert "No space left on device" in error_line(command)
    for path in ballast:
        path.unlink(missing_ok=True)
    assert not [path for path in small_disk.rglob("*") if path.is_file()]
    assert command.code == 1


def test_a_read_only_disk(runs: Runs, small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    command = runs.run(*SMALL, folder=small_disk)
    assert command.code == 1
    assert "Read-only file system" in error_line(command)


WANDB = """
import os, signal, sys
from pathlib import Path
from lab.loggers.wandb_run import WandbRun

def rows(run, first, last):
    for step in range(first, last):
        run.log_metrics({"train/loss": 1.0 / step}, step)

def services():
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        text = status.read_text()
        if "wandb-core" in text.splitlines()[0] and f"PPid:\\t{os.getpid()}\\n" in text:
            found.append(int(status.parent.name))
    return found

full, killed = (WandbRun(Path(name), project="tests", mode="offline") for name in sys.argv[1:])
rows(full, 1, 5)
full.finish()
rows(killed, 1, 5)
(service,) = services()
os.kill(service, signal.SIGKILL)
rows(killed, 5, 20)
killed.finish()
print("trained on")
"""


def test_wandb_is_left_behind_in_one_line(small_disk: Path, tmp_path: Path) -> None:
    """Its folder is full from the start; its service is killed: nothing but a warning, at exit neither."""
    full, killed = tmp_path / "full", tmp_path / "killed"
    full.mkdir()
    killed.mkdir()
    (full / "wandb").symlink_to(small_disk)
    fill(small_disk, "space")
    command = [sys.executable, "-c", WANDB, str(full), str(killed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (0, "trained on\n"), done.stderr
    assert "Traceback" not in done.stderr
    assert "Logging error" not in done.stderr
    said = [line for line in done.stderr.splitlines() if "W&B logging stops here" in line]
    assert len(said) == 2, done.stderr
    assert f"No space left on device: '{full / 'wandb'}'" in said[0]
    assert "metrics.csv has every value" in said[1]
