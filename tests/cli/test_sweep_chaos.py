"""Workers and the master of a sweep are killed at random moments: each job finishes once, with the same results."""

from __future__ import annotations

import random
import signal
from pathlib import Path

from scripts.chaos_sweep import (
    EXIT_0,
    Blow,
    differences,
    ledger_problems,
    left_behind,
    prepare_folder,
    run_through,
    shared_memory,
)
from tests.runs import SMALL, Command, Runs, is_alive

WORDS = (
    "-m",
    *SMALL,
    "callbacks.pictures=0",
    "callbacks.progress=false",
    "launcher.workers=2",
    "launcher.threads_per_job=1",
    "launcher.retries=1000",
    "launcher.backoff=0.01",
    "extensions=[chaos_exits]",
    "seed=0,1,2,3,4,5",
)
BLOWS = (
    Blow(signal.SIGKILL),
    Blow(signal.SIGKILL, "start"),
    Blow(signal.SIGKILL, to_master=True),
    Blow(EXIT_0, "train"),
    Blow(signal.SIGSEGV),
)


class Driven:
    """A command of the driver, as ``scripts/chaos_sweep.py`` asks after it."""

    def __init__(self, command: Command) -> None:
        self.command, self.pid = command, command.pid

    def poll(self) -> int | None:
        return None if is_alive(self.pid) else self.command.wait()


def test_kills_at_random_moments_change_nothing(runs: Runs, tmp_path: Path) -> None:
    def start(folder: Path) -> Driven:
        return Driven(runs.start(*WORDS, folder=folder, TMPDIR=str(folder / "tmp")))

    shared = shared_memory()
    quiet, loud = prepare_folder(tmp_path / "quiet"), prepare_folder(tmp_path / "loud")
    chance = random.Random(0)
    calm = run_through(start, quiet, (), 1.0, chance)
    assert calm.codes == [0]
    storm = run_through(start, loud, BLOWS, 0.3, chance)
    assert storm.problems == []
    assert storm.struck.total() == len(BLOWS)
    assert -signal.SIGKILL in storm.codes
    assert [*ledger_problems(quiet), *ledger_problems(loud)] == []
    assert list(differences(loud, quiet)) == []
    assert [*left_behind(quiet, shared), *left_behind(loud, shared)] == []


def test_the_checks_see_what_is_wrong(runs: Runs, tmp_path: Path) -> None:
    """A result, a row or a weight that differs, a job that ran twice, a temporary folder: each is named."""
