"""Places on this machine: how many jobs fit, which GPUs and threads each slot has; the log file of an attempt."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab.errors import ConfigError
from lab.sweeps import local
from lab.sweeps.local import LocalPlacer
from lab.sweeps.settings import LocalLauncher


class Composed:
    """What of a composed job a placer reads."""

    def __init__(self, devices: int = 1, accelerator: str = "auto") -> None:
        trainer = {"devices": devices, "accelerator": accelerator, "num_nodes": 1}
        self.config: dict[str, Any] = {"trainer": trainer, "strategy": {"name": "auto"}, "check": False}


def placer(jobs: list[Composed], **settings: Any) -> LocalPlacer:
    return LocalPlacer(LocalLauncher(name="local", **settings), jobs)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight cores and 64 GiB, no GPU."""
    monkeypatch.setattr(local, "usable_cores", lambda: 8)
    monkeypatch.setattr(local, "available_memory", lambda: 64 << 30)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.mark.parametrize(
    ("jobs", "settings", "workers", "threads"),
    [
        (20 * [Composed()], {}, 8, 1),
        (3 * [Composed()], {}, 3, 2),
        (20 * [Composed()], {"threads_per_job": 4}, 2, 4),
        (20 * [Composed(devices=2)], {}, 4, 1),  # two ranks each
        (20 * [Composed()], {"workers": 2}, 2, 4),
        (20 * [Composed()], {"workers": 30}, 30, 1),
    ],
)
def test_cores_are_shared_out(jobs: list[Composed], settings: dict[str, int], workers: int, threads: int) -> None:
    found = placer(jobs, **settings)
    number, why = found.workers(jobs)  # type: ignore[arg-type]
    assert number == workers
    assert f"{threads} thread(s)" in why
    assert ("launcher.workers=N" in why) != ("workers" in settings)


def test_memory_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "available_memory", lambda: 5 << 30)
    jobs = 20 * [Composed()]
    assert placer(jobs).workers(jobs)[0] == 2  # type: ignore[arg-type]


def test_each_slot_has_gpus_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7,8,9")
    jobs = 20 * [Composed(devices=2, accelerator="gpu")]
    found = placer(jobs)
    assert found.workers(jobs)[0] == 2  # type: ignore[arg-type]
    assert [found._environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in (0, 1)] == ["3,5", "7,8"]
    on_cpu = placer(20 * [Composed(accelerator="cpu")])
    assert on_cpu._environment(0)["CUDA_VISIBLE_DEVICES"] == ""  # a job without a GPU sees none


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"devices_per_job": 3}, r"devices_per_job=3: this machine has 2 GPU"),
        ({"devices_per_job": 1}, r"devices_per_job=1: a job with trainer.devices=2 needs 2"),
        ({"workers": 2}, r"workers=2: 2 jobs need 4 GPUs, this machine has 2"),
    ],
)
def test_more_gpus_than_there_are(settings: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    jobs = [Composed(devices=2, accelerator="gpu")]
    with pytest.raises(ConfigError, match=said):
        placer(jobs, **settings).workers(jobs)  # type: ignore[arg-type]


LOGGING = """
import os, signal, sys, time
from pathlib import Path
from lab.sweeps.attempt import OutputFile
output = OutputFile(Path(sys.argv[1]) / "early.log")
signal.signal(signal.SIGUSR1, output.reopen)
print("early", flush=True)
output.change(Path(sys.argv[1]) / "output.log")
print("first", flush=True)
while not (Path(sys.argv[1]) / "go").exists():
    time.sleep(0.01)
print("second", flush=True)
os.system("echo a child writes there too")
"""


def test_a_log_file_that_was_renamed_is_opened_again(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", LOGGING, tmp_path])
    log = tmp_path / "output.log"
    while not (log.exists() and log.read_text()):
        assert process.poll() is None
    log.rename(tmp_path / "output.log.1")
    os.kill(process.pid, signal.SIGUSR1)
    while not log.exists():
        assert process.poll() is None
    (tmp_path / "go").touch()
    assert process.wait() == 0
    assert (tmp_path / "early.log").read_text() == "early\n"
    assert (tmp_path / "output.log.1").read_text() == "first\n"
    assert log.read_text() == "second\na child writes there too\n"
