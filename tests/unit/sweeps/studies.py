"""A sweep without jobs: a ledger, a proposer, and a function that says what each job's result is."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from lab.config.compose import Composed, compose_config
from lab.config.words import parse_word
from lab.sweeps import config_values
from lab.sweeps.ledger import JobRow, Ledger
from lab.sweeps.proposing import Proposer
from lab.sweeps.settings import SweepConfig
from lab.sweeps.sweepers import make_proposer


@lru_cache
def _composed(words: tuple[str, ...], root: str) -> Composed:
    return compose_config(words, root=root)


@pytest.fixture
def composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose each config once for all tests: it takes half a second."""

    def remembered(words: Sequence[str], user_dirs: Sequence[str] = ()) -> Composed:
        return _composed(tuple(words), "config")

    monkeypatch.setattr(config_values, "compose_config", remembered)


def settings(group: str, *words: str) -> Any:
    """Return the sweeper's settings for ``sweeper=NAME`` and words with one value each."""
    found = copy.deepcopy(_composed((group,), "sweep").config)
    for word in map(parse_word, words):
        *parents, last = word.key.split(".")
        node = found
        for parent in parents:
            node = node[parent]
        node[last] = word.value
    return SweepConfig.model_validate(found).sweeper


def proposer(sweeper: list[str], words: list[str]) -> Proposer:
    return make_proposer(settings(*sweeper), words)[0]


Outcome = Mapping[str, float | None] | str
"""A job's result, or the state with which it ends without one."""


class Sweep:
    """Plays the master for a ledger."""

    def __init__(
        self, folder: Path, sweeper: list[str], words: list[str], outcome: Callable[[JobRow], Outcome]
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.ledger = Ledger(folder, create=True)
        self.folder, self.outcome = folder, outcome
        self.proposer = proposer(sweeper, words)
        self.proposer.begin(self.ledger)

    def propose(self, room: int = 1) -> list[JobRow]:
        proposals = self.proposer.propose(self.ledger, room)
        runs = [str(self.folder / "runs" / "-".join(each.words).replace("/", "_")) for each in proposals]
        numbers = self.ledger.add([(each.words, run, each.point) for each, run in zip(proposals, runs, strict=True)])
        return [self.ledger.job(number) for number in numbers]

    def end(self, job: JobRow) -> None:
        outcome = self.outcome(job)
        if isinstance(outcome, str):
            self.ledger.change(job.number, state=outcome)
        else:
            self.ledger.change(job.number, state="finished", result=dict(outcome))
        self.proposer.learn(self.ledger.job(job.number))

    def run(self, most: int = 1000, room: int = 1) -> int:
        """Run jobs, ``room`` at a time, until none is proposed; return how many were run."""
        count = 0
        while count < most:
            jobs = [*self.ledger.jobs("waiting"), *self.propose(room)]
            if not jobs:
                break
            for job in jobs:
                self.end(job)
                count += 1
        return count


def value_of(job: JobRow, key: str) -> Any:
    return next(word.value for word in map(parse_word, job.words) if word.key == key)
