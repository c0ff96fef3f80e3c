"""Whole sweeps by launcher=slurm and launcher=ray, with jobs that are killed on the way: only where these are there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lab.sweeps.ledger import Ledger
from tests.runs import ROOT, SMALL

WORDS = (*SMALL, "trainer.max_steps=3", "trainer.val_every_n_steps=3", "callbacks.pictures=0", "sweep=s")
slurm = pytest.mark.skipif(
    os.environ.get("LAB_SLURM_TESTS") != "1" or not shutil.which("sbatch"),
    reason="a sweep by Slurm takes minutes: LAB_SLURM_TESTS=1 runs it, with slurm-wlm and munge",
)
ray = pytest.mark.skipif(find_spec("ray") is None, reason="the extra lab[ray] is not installed")


class Sweep:
    """A sweep of three jobs, two at a time."""

    def __init__(self, folder: Path, *words: str, seeds: str = "seed=1,2,3") -> None:
        self.folder = folder / "runs" / "sweeps" / "s"
        self.log = folder / "log"
        command = [sys.executable, str(ROOT / "run.py"), "-m", *words, *WORDS, seeds, "launcher.workers=2"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            )

    def wait_for(self, condition: Callable[[], Any], seconds: float = 300.0) -> Any:
        end = time.monotonic() + seconds
        while not (found := condition()):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.1)
        return found

    def place(self, number: int, part: str) -> str:
        """Return where a job runs, once that has this part."""
        if not (self.folder / "ledger.sqlite").exists():
            return ""
        ledger = Ledger(self.folder)
        places = [attempt.place for attempt in ledger.attempts(number) if attempt.ended is None]
        ledger.close()
        return places[-1] if places and part in places[-1] else ""

    def end(self) -> Ledger:
        try:
            assert self.process.wait(timeout=600) == 0, self.log.read_text()
        finally:
            self.process.kill()
        return Ledger(self.folder)


def results(folder: Path) -> dict[int, dict[str, Any]]:
    """Return the results of a sweep's runs by the number of their job."""
    found = {}
    for file in (folder / "runs").glob("*/run.json"):
        record = json.loads(file.read_text())
        assert record["state"] == "finished"
        found[record["sweep"]["number"]] = record["result"]
    return found


@slurm
def test_a_sweep_by_slurm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, work = tmp_path_factory.mktemp("slurm"), tmp_path_factory.mktemp("work")
    local = str(ROOT / "scripts" / "local_slurm.sh")
    monkeypatch.setenv("LOCAL_SLURM_CPUS", "8")
    subprocess.run([local, "start", str(folder)], check=True, timeout=60)
    monkeypatch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    try:
        sweep = Sweep(work, "launcher=slurm", "launcher.poll=1", "launcher.time=10")
        one, two = (sweep.wait_for(lambda number=number: sweep.place(number, "RUNNING")) for number in (1, 2))
        subprocess.run(["scancel", one.split()[2].rstrip(",")], check=True)
        sweep.wait_for(lambda: (sweep.folder / "jobs/2/progress.json").exists())
        subprocess.run(["scancel", "--signal=USR1", "--batch", two.split()[2].rstrip(",")], check=True)
        ledger = sweep.end()
    finally:
        subprocess.run([local, "stop", str(folder)], check=True, timeout=60)
    assert [job.state for job in ledger.jobs()] == ["finished"] * 3
    assert [job.attempts for job in ledger.jobs()] == [2, 1, 1]  # the requeued one is the same attempt
    assert ledger.attempts(1)[0].problem.endswith("was cancelled (scancel)")
    assert set(results(work)) == {1, 2, 3}


@ray
@pytest.mark.parametrize("shared", ["true", "false"])
def test_a_sweep_by_ray(shared: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray writes its token there
    sweep = Sweep(tmp_path, "launcher=ray", f"launcher.shared={shared}")
    place = sweep.wait_for(lambda: sweep.place(1, "pid "))
    sweep.wait_for(lambda: any((sweep.folder.parents[1]).glob("*/checkpoints/last.ckpt")))
    os.kill(int(place.split()[2]), signal.SIGKILL)
    ledger = sweep.end()
    assert [job.state for job in ledger.jobs()] == ["finished"] * 3
    assert set(results(tmp_path)) == {1, 2, 3}
