"""How many threads each rank of a job computes with, and how they wait; decided before torch is loaded.

The rule: as many threads as there are cores that nothing else keeps busy, and they spin while they wait. A product is
split evenly, so it takes as long as its slowest thread: one on a busy core slows down the others. Threads that sleep
must be woken hundreds of times a step.

The number decides in which order sums are formed, hence their last digits. So a run keeps it when it is continued. How
threads wait changes no digit, and is decided anew.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.config.checks import num_gpus
from lab.errors import ConfigError
from lab.launch.jobs import processes
from lab.system import cores
from lab.system.cores import NUM_THREADS, WAIT_POLICY
from lab.system.ranks import Place


@dataclass(frozen=True)
class Threads:
    """What was decided.

    Attributes:
        number: threads of each rank.
        origin: who says so: ``trainer.threads``, ``OMP_NUM_THREADS``, ``run.json``, ``free cores`` or ``cores``.
        waiting: ``spin``, for some milliseconds before they sleep, or ``sleep``, at once.
        cores: those that each rank may use.
        free_cores: how many of them all nothing else kept busy; None where that was not measured.
        notes: lines for the user.
    """

    number: int
    origin: str
    waiting: str
    cores: int
    free_cores: int | None = None
    notes: list[str] = field(default_factory=list, compare=False)

    def record(self) -> dict[str, Any]:
        """Return the entry of ``run.json``."""
        return {key: getattr(self, key) for key in ("number", "origin", "waiting", "cores", "free_cores")}


class _Room:
    """What a job may use of this machine, and how much of it is free: measured once, when first asked for."""

    def __init__(self, config: Mapping[str, Any], place: Place | None) -> None:
        trainer = config["trainer"]
        self.ranks, self.cores = processes(dict(config)), cores.full_cores()
        launched = place is not None and place.world_size > 1
        if launched and cores.usable_cores() < (os.cpu_count() or 1):
            self.ranks = 1  # the launcher has bound each rank to cores of its own
        self.share = max(1, self.cores // self.ranks)
        on_gpu = trainer["accelerator"] == "gpu" or (trainer["accelerator"] == "auto" and num_gpus() > 0)
        self.may_measure = not launched and not on_gpu
        self.measured: int | None = None

    def free(self) -> int:
        if self.measured is None:
            self.measured = cores.free_cores(self.cores)
        return self.measured


def decide(config: Mapping[str, Any], before: int | None = None, place: Place | None = None) -> Threads:
    """Decide for a job; only rank 0 or the parent of the ranks does.

    The first of these that says a number: ``trainer.threads``, ``OMP_NUM_THREADS``, the run so far, and what is
    measured: the free cores, shared out to the ranks. On GPUs, with ``trainer.deterministic``, and where a launcher has
    started several ranks, which would disturb the measurement, all cores are shared out.

    Args:
        config: the resolved config.
        before: the number that the run was trained with so far.
        place: this process's rank, if an external launcher has started it.

    Raises:
        ConfigError: a variable of the environment has no meaning.
    """
    room = _Room(config, place)
    number, origin, notes = _number(config, before, room)
    if before not in (None, number):
        notes.append(
            f"note: {origin} says {number} thread(s), {before} were used before: from here on numbers may differ in "
            "the last digits"
        )
    return Threads(number, origin, _waiting(config, number, room), room.share, room.measured, notes)


def _number(config: Mapping[str, Any], before: int | None, room: _Room) -> tuple[int, str, list[str]]:
    """Return the number of threads, who says so, and notes."""
    typed, told, share = config["trainer"]["threads"], _told(), room.share
    if typed != "auto":
        conflict = f"note: trainer.threads={typed} counts, not {NUM_THREADS}={told} of the environment"
        return int(typed), "trainer.threads", [] if told in (None, typed) else [conflict]
    if told is not None:
        return told, NUM_THREADS, []
    if before is not None:
        fewer = (
            f"note: this run keeps its {before} threads, so that its numbers stay equal, but this machine has {share} "
            f"core(s) for each rank; trainer.threads={share} would be faster"
        )
        return before, "run.json", [fewer] if before > share else []
    if share == 1 or not room.may_measure or config["trainer"]["deterministic"]:
        return share, "cores", []
    number = max(1, room.free() // room.ranks)
    busy = f"threads   {number}: {room.free()} of {room.cores} cores are free (trainer.threads=N sets it)"
    return number, "free cores", [busy] if number < share else []


def _waiting(config: Mapping[str, Any], number: int, room: _Room) -> str:
    if (policy := _policy()) is not None:
        return policy
    if "torch" in sys.modules and processes(dict(config)) == 1:
        return "spin"  # OpenMP has read the environment already
    workers = int(config["data"].get("num_workers") or 0)  # they load data, and are no less busy
    needed = (number + workers) * room.ranks
    spins = number > 1 and room.may_measure and needed <= room.cores and needed <= room.free()
    return "spin" if spins else "sleep"


def make_wait(threads: Threads) -> None:
    """Let the threads of this process and of those that it starts wait as decided, before OpenMP is loaded."""
    if threads.waiting == "sleep":
        os.environ.setdefault(WAIT_POLICY, "PASSIVE")  # unset, they spin for some milliseconds and then sleep


def share_of_cores(config: Mapping[str, Any]) -> int:
    """Return how many threads each rank of a job may have if it has the machine for itself."""
    return max(1, cores.full_cores() // processes(dict(config)))


def _told() -> int | None:
    """Return what ``OMP_NUM_THREADS`` says; a list is one of nested levels, of which torch uses the first."""
    text = os.environ.get(NUM_THREADS, "").strip()
    first = text.split(",")[0].strip()
    if text and not (first.isdecimal() and int(first) > 0):
        raise ConfigError(f"{NUM_THREADS}={text} (environment): a whole number above 0, or leave it unset")
    return int(first) if text else None


def _policy() -> str | None:
    """Return what ``OMP_WAIT_POLICY`` says."""
    text = os.environ.get(WAIT_POLICY, "").strip()
    if text.upper() not in ("", "ACTIVE", "PASSIVE"):
        raise ConfigError(f"{WAIT_POLICY}={text} (environment): ACTIVE or PASSIVE, or leave it unset")
    return {"": None, "ACTIVE": "spin", "PASSIVE": "sleep"}[text.upper()]
