"""``sweeper=grid`` as the master sees it: every combination, all known from the start. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lab.config.words import word_key
from lab.errors import ConfigError
from lab.sweeps.ledger import JobRow, Ledger
from lab.sweeps.proposing import Proposal


class GridProposer:
    """Every combination of the values on the command line, each with several seeds if asked.

    Args:
        combinations: the overrides of each.
        seeds: each with ``seed=0``, 1, ... below this number; None: as it is.

    Raises:
        ConfigError: the command line sets the seed as well.
    """

    def __init__(self, combinations: Sequence[Sequence[str]], seeds: int | None = None) -> None:
        if seeds and any(word_key(word) == "seed" for words in combinations for word in words):
            raise ConfigError(f"seed=... and sweeper.seeds={seeds}: give one of them")
        self.seeds = seeds
        extras = [[f"seed={seed}"] for seed in range(seeds)] if seeds else [[]]
        self.jobs = [[*words, *extra] for words in combinations for extra in extras]

    @property
    def total(self) -> int:
        """The number of jobs that there will be."""
        return len(self.jobs)

    @property
    def prunes(self) -> bool:
        """A grid runs all of its jobs to their end."""
        return False

    def begin(self, ledger: Ledger) -> None:
        """Compare the recorded grid with this one, which may have more jobs.

        Raises:
            ConfigError: it lacks a job that the recorded one has.
        """
        before = ledger.get("grid")
        if ledger.get("search") is not None:
            raise ConfigError("the sweep was begun with sweeper=random or optuna; sweep=NEWNAME starts a grid")
        gone = [words for words in before or [] if words not in self.jobs]
        if gone:
            raise ConfigError(
                f"{len(gone)} jobs of the sweep are none of this command's, the first {' '.join(gone[0])}; "
                "sweep=NEWNAME starts another sweep"
            )
        if before != self.jobs:
            ledger.set(grid=self.jobs)

    def propose(self, ledger: Ledger, room: int) -> list[Proposal]:
        """Return all jobs that the ledger lacks, whatever the room: they are checked before the first one starts."""
        known = {tuple(job.words) for job in ledger.jobs()}
        return [Proposal(words) for words in self.jobs if tuple(words) not in known]

    def judge(self, job: JobRow, step: int, values: Mapping[str, float | None]) -> bool:
        """No job is pruned."""
        return False

    def learn(self, job: JobRow) -> None:
        """Nothing follows from a result."""

    def summary(self, ledger: Ledger) -> list[str]:
        """The table says it all."""
        return []
