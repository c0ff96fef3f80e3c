"""launcher=slurm on a real Slurm of this machine: what sbatch, squeue, scancel and a requeue do with our scripts.

A script of the shell stands in the worker's place, so this takes seconds. ``tests/cli/test_clusters.py`` runs a sweep.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.launch.prepare import prepare_job
from lab.sweeps.placing import Assignment, Ended
from lab.sweeps.settings import SlurmLauncher
from lab.sweeps.slurm import SlurmPlacement, SlurmPlacer
from tests.runs import ROOT, SMALL

LOCAL = ROOT / "scripts" / "local_slurm.sh"
PROGRAMS = ("sbatch", "slurmctld", "slurmd", "munged")
MISSING = [name for name in PROGRAMS if not shutil.which(name, path="/usr/sbin:/usr/bin")]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"there is no {', no '.join(MISSING)} (slurm-wlm, munge)")
WORKER = """#!/bin/bash
for file; do :; done
folder=$(dirname "$file")
trap 'exit 143' TERM
[ ! -e "$folder/again" ] || exit 0
touch "$folder/again" "$folder/began"
while :; do sleep 0.1; done
"""
"""Waits for SIGTERM when it is started for the first time, and ends at once the next time."""


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("slurm")
    monkeypatch.setenv("LOCAL_SLURM_CPUS", "8")
    started = subprocess.run(
        [str(LOCAL), "start", str(folder)], capture_output=True, text=True, check=False, timeout=60
    )
    if started.returncode:
        pytest.skip(f"Slurm cannot be started here: {started.stderr.strip()}")
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    yield folder
    pids = [int(file.read_text()) for file in folder.glob("*.pid")]
    assert len(pids) == 3
    subprocess.run([str(LOCAL), "stop", str(folder)], check=True, timeout=60)
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def attempt(tmp_path: Path, number: int) -> Assignment:
    prepared = prepare_job([*SMALL, f"seed={number}", f"paths.runs_dir={tmp_path / 'runs'}"], [])
    folder = tmp_path / "runs" / "sweeps" / "s"
    return Assignment(number, 1, 0, prepared, folder / "jobs" / str(number), folder)


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_slurm_does_what_the_launcher_expects(slurm: Path, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(WORKER)
    python.chmod(0o755)
    jobs = [attempt(tmp_path, number) for number in (1, 2, 3, 4)]
    with pytest.raises(ConfigError, match="Slurm refuses the jobs: sbatch: error: invalid partition specified: nix"):
        SlurmPlacer(SlurmLauncher(name="slurm", partition="nix"), [jobs[0].prepared])
    settings = SlurmLauncher(name="slurm", python=str(python), poll=0.5, time="10", partition="main")
    placer = SlurmPlacer(settings, [jobs[0].prepared])
    requeued, cancelled, stopped, killed = (placer.start(job) for job in jobs)
    attempts = (requeued, cancelled, stopped, killed)
    wait_for(lambda: all((job.folder / "began").exists() for job in jobs))
    wait_for(lambda: not requeued.poll() and requeued.place.endswith("RUNNING on localhost") and not requeued.waits)

    subprocess.run(["scancel", "--signal=USR1", "--batch", str(requeued.job)], check=True)
    subprocess.run(["scancel", str(cancelled.job)], check=True)
    stopped.stop()
    killed.kill()
    places: set[str] = set()
    ended: dict[int, Ended] = {}

    def look(each: SlurmPlacement) -> None:
        places.add(each.place.partition(", ")[2].partition(" ")[0])
        found = each.poll() if each.job not in ended else None
        if found is not None:
            ended[each.job] = found

    wait_for(lambda: [look(each) for each in attempts] and len(ended) == 4)
    number = cancelled.job
    assert ended == {
        requeued.job: Ended(0),  # the same job of Slurm, the same attempt
        number: Ended(137, f"Slurm job {number} was cancelled (scancel)"),
        stopped.job: Ended(143),
        killed.job: Ended(137),
    }
    assert "PENDING" in places
    wait_for(lambda: not left(python))


def left(program: Path) -> list[str]:
    """Return the processes that run a program."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [file.parent.name] if str(program).encode() in file.read_bytes() else []
    return found
