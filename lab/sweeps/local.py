"""``launcher=local``: each attempt is a process forked from the master, with a process group of its own.

The master imports torch, Lightning and lab once; a fork has them at once. It computes nothing and starts no thread, so
that its forks are sound (lab.launch.forking).
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from lab.config.checks import num_gpus
from lab.errors import ConfigError
from lab.launch.forking import begin, fork, leave
from lab.launch.jobs import processes
from lab.launch.prepare import Prepared
from lab.sweeps.attempt import IMPORTED, environment_of, run_attempt
from lab.sweeps.placing import Assignment, Ended
from lab.sweeps.settings import LocalLauncher
from lab.system.cores import NUM_THREADS, WAIT_POLICY, usable_cores
from lab.system.memory import available_memory
from lab.system.processes import die_with_parent, end_in_words, poll_group, signal_group

MEMORY = 2 << 30
"""Bytes that a process of a job is assumed to need, beside what it shares with the master."""
_NOT_IMPORTED = ("wandb", "deepspeed", "triton", "torch._inductor", "torch._dynamo", "IPython", "ray")
"""Packages that start threads, processes or compilers when they are imported: a job imports them if it needs them."""


class LocalPlacer:
    """Forks the attempts of a sweep on this machine.

    Args:
        settings: those of the launcher.
        jobs: the jobs that are known at the start.

    Raises:
        ConfigError: a job needs more devices than there are.
    """

    def __init__(self, settings: LocalLauncher, jobs: Sequence[Prepared]) -> None:
        self.settings = settings
        self.gpus = _gpu_names()
        self.ranks = max((processes(job.config) for job in jobs), default=1)
        self.devices = self._devices_per_job(jobs)
        self.slots = 1
        self._failed: set[str] = set()

    def _devices_per_job(self, jobs: Sequence[Prepared]) -> int:
        needed = max((_gpus_of(job) for job in jobs), default=0) if self.gpus else 0
        given = self.settings.devices_per_job
        if given is not None and given > len(self.gpus):
            raise ConfigError(f"launcher.devices_per_job={given}: this machine has {len(self.gpus)} GPU(s)")
        if given is not None and 0 < given < needed:
            raise ConfigError(f"launcher.devices_per_job={given}: a job with trainer.devices={needed} needs {needed}")
        return needed if given is None else given

    def workers(self, jobs: Sequence[Prepared]) -> tuple[int, str]:
        """Return how many jobs fit at a time, and why."""
        cores, free = usable_cores(), available_memory()
        limits = {
            f"{cores} cores": max(1, cores // (self.ranks * (self.settings.threads_per_job or 1))),
            f"{free / 2**30:.0f} GiB of memory": max(1, free // (MEMORY * self.ranks)),
        }
        if self.devices:
            limits[f"{len(self.gpus)} GPUs, {self.devices} a job"] = max(1, len(self.gpus) // self.devices)
        number = self.settings.workers or min(*limits.values(), max(1, len(jobs)))
        if self.devices and number * self.devices > len(self.gpus):
            raise ConfigError(
                f"launcher.workers={number}: {number} jobs need {number * self.devices} GPUs, this machine has "
                f"{len(self.gpus)}"
            )
        self.slots = number
        why = "launcher.workers" if self.settings.workers else f"{', '.join(limits)}; launcher.workers=N sets it"
        return number, f"{why}; {self._threads()} thread(s) for each process"

    def _threads(self) -> int:
        return self.settings.threads_per_job or max(1, usable_cores() // (self.slots * self.ranks))

    def has_left(self, folder: Path) -> bool:
        """Forked attempts die with their master."""
        return False

    def warm_up(self, packages: Sequence[str]) -> None:
        """Import all of lab and the packages of ``extensions``, so that every fork has the same code at once."""
        os.environ.setdefault(WAIT_POLICY, "PASSIVE")  # jobs come and go beside each other
        import torch

        torch.set_num_threads(1)  # a fork of a process that has computed on several threads would hang
        importlib.import_module("lightning.pytorch")
        for package in ("lab", *packages):
            module = importlib.import_module(package)
            for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{package}.", onerror=_skip):
                if not found.name.endswith(".__main__"):
                    self._import(found.name)
        gc.collect()
        gc.freeze()  # so that a collection in a fork does not copy the memory that it shares

    def _import(self, name: str) -> None:
        if name in sys.modules or name in self._failed or name.startswith(_NOT_IMPORTED) or "deepspeed" in name:
            return
        try:
            importlib.import_module(name)
        except Exception:  # an optional library is not installed: a job that needs it says so
            self._failed.add(name)

    def start(self, assignment: Assignment) -> ForkedAttempt:
        """Fork an attempt.

        Raises:
            OSError: the operating system refuses another process.
        """
        master = os.getpid()
        environment = {**os.environ, **environment_of(assignment), **self._environment(assignment.slot)}

        def child() -> NoReturn:
            os.setpgid(0, 0)
            die_with_parent(master)
            nothing = os.open(os.devnull, os.O_RDONLY)
            early = os.open(assignment.folder / "output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            blocked = (signal.SIGINT, signal.SIGTERM)  # until the attempt's handlers are set
            begin((nothing, early, early), environment, blocked=blocked)
            leave(lambda: run_attempt(assignment, fork=True))

        pid = fork(child)
        return ForkedAttempt(pid, lambda: self._learn(assignment))

    def _environment(self, slot: int) -> dict[str, str]:
        environment = {"PYTHONUNBUFFERED": "1", NUM_THREADS: str(self._threads())}
        if self.gpus:
            first = slot * self.devices
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus[first : first + self.devices])
        return environment

    def _learn(self, assignment: Assignment) -> None:
        """Import what an attempt has imported beyond this process, so that the next fork need not."""
        file = assignment.folder / IMPORTED
        try:
            names = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        file.unlink()
        for name in names:
            if isinstance(name, str):
                self._import(name)

    def close(self) -> None:
        """Let this process end as usual; check that it has stayed fit to be forked."""
        gc.unfreeze()
        assert threading.active_count() == 1, "a sweep's master has started a thread"


class ForkedAttempt:
    """An attempt in a forked process.

    Args:
        pid: the process, which leads its group.
        at_end: called once it has ended.
    """

    waits = False

    def __init__(self, pid: int, at_end: Callable[[], None]) -> None:
        self.pid, self._at_end = pid, at_end
        with suppress(PermissionError, ProcessLookupError):  # the child does the same: whoever comes first
            os.setpgid(pid, pid)
        self._ended: Ended | None = None

    @property
    def place(self) -> str:
        """Its pid and host."""
        return f"pid {self.pid} on {socket.gethostname()}"

    def poll(self) -> Ended | None:
        """Return how it has ended; None while it runs."""
        if self._ended is None and (code := poll_group(self.pid)) is not None:
            self._ended = Ended(code, end_in_words(code) if code else "")
            self._at_end()
        return self._ended

    def stop(self) -> None:
        """Ask it to write a checkpoint and end."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and all its processes."""
        if self.poll() is None:
            signal_group(self.pid, signal.SIGKILL)

    def reopen(self) -> None:
        """Let it open its log file again."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGUSR1)


def _gpus_of(job: Prepared) -> int:
    trainer = job.config["trainer"]
    return 0 if trainer["accelerator"] == "cpu" else int(trainer["devices"])


def _gpu_names() -> list[str]:
    """Return the names of the visible GPUs, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in map(str.strip, visible.split(",")) if name not in ("", "-1")]
    return [str(number) for number in range(num_gpus())]


def _skip(name: str) -> None:
    """A package that cannot be imported has no modules to look at."""
