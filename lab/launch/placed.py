"""One rank of a job under torchrun, Slurm or an MPI-like launcher.

Rank 0 composes and checks the config and locks the run directory. The others get the job from rank 0 through the
rendezvous store, so they need neither a shared disk nor an equal command line.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from lab.config.words import word_values
from lab.errors import ConfigError, Diverged, LabError, Pruned
from lab.launch.jobs import Job, run_job
from lab.launch.outcomes import exit_code
from lab.launch.prepare import Prepared, carry_out, prepare_job
from lab.system.cores import WAIT_POLICY
from lab.system.ranks import Place
from lab.system.signals import Interrupted, SignalWatch

_JOB, _READ = "lab/job", "lab/read"
_REFUSED = "refused"
_SECONDS_TO_READ = 30.0


def run_placed(overrides: list[str], user_dirs: list[str], place: Place, multirun: bool) -> int:
    """Run this process's part of a job whose processes a launcher has started; return its exit code.

    Raises:
        ConfigError: the command is a sweep, or the config has other devices than the launcher started.
        LabError: rank 0 refuses the config.
    """
    if multirun:
        if place.rank:
            return 2
        raise ConfigError(
            f"-m under {place.launcher}: every rank would run the whole sweep; run it without {place.launcher} "
            "(trainer.devices=N starts the ranks), or start each job separately"
        )
    if place.world_size > 1:  # the others load torch to hear of the job
        os.environ.setdefault(WAIT_POLICY, "PASSIVE")
    with SignalWatch():
        if place.rank:
            return _follow(place)
        _lead(overrides, user_dirs, place)
        return 0


def _lead(overrides: list[str], user_dirs: list[str], place: Place) -> None:
    try:
        prepared = _prepare(overrides, user_dirs, place)
        job, run = prepared.begin(place)
    except LabError:
        if place.world_size > 1:
            _publish(_store(place), _REFUSED, place)
        raise

    def work() -> None:
        store = None
        if place.world_size > 1:
            store = _store(place)
            _publish(store, job.to_json(), place)
        run_job(job, place, store)

    carry_out(job, run, work)


def _prepare(overrides: list[str], user_dirs: list[str], place: Place) -> Prepared:
    """Compose with the number of devices that the launcher started; overrides must agree with it."""
    words = list(overrides)
    started = {"trainer.devices": place.local_world_size, "trainer.num_nodes": place.num_nodes}
    for key, count in started.items():
        typed = word_values(words, (key,)).get(key)
        if typed is None:
            words.append(f"{key}={count}")
        elif typed != str(count):
            raise ConfigError(f"{key}={typed}: {place.launcher} has started {count}; leave {key} out")
    prepared = prepare_job(words, user_dirs, place=place)
    if prepared.config["strategy"]["name"] == "dp" and place.world_size > 1:
        raise ConfigError(
            f"strategy=dp runs in one process, and {place.launcher} has started {place.world_size}: use strategy=ddp"
        )
    return prepared


def _follow(place: Place) -> int:
    store = _store(place)
    text = store.get(_JOB).decode()  # waits for rank 0
    store.add(_READ, 1)
    if text == _REFUSED:
        return 2  # rank 0 has printed the reason
    print(f"[rank {place.rank}] joins {place.world_size} ranks", file=sys.stderr)
    try:
        run_job(Job.from_json(text), place, store)
    except (Diverged, Interrupted, Pruned) as error:  # all ranks have this error, and rank 0 prints it
        return exit_code(error)
    return 0


def _store(place: Place) -> Any:
    from lab.strategies.collectives import connect

    return connect(place)


def _publish(store: Any, text: str, place: Place) -> None:
    """Send ``text`` to the other ranks. Rank 0 may host the store, so it waits until all have read the text."""
    store.set(_JOB, text)
    end = time.monotonic() + _SECONDS_TO_READ
    while text == _REFUSED and store.add(_READ, 0) < place.world_size - 1 and time.monotonic() < end:
        time.sleep(0.05)
