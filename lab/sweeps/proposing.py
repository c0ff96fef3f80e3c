"""What a sweeper is to the master: it says which jobs there are, and learns how they end. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lab.sweeps.ledger import JobRow, Ledger


@dataclass(frozen=True)
class Proposal:
    """A job to add to the sweep.

    Attributes:
        words: its overrides.
        point: the values of the search space, by key; empty in a grid.
    """

    words: list[str]
    point: Mapping[str, Any] = field(default_factory=dict)


class Proposer(Protocol):
    """A sweeper. Only the master calls it; the ledger is the truth, from which it can always be made again."""

    @property
    def total(self) -> int | None:
        """The number of jobs that there will be; None if that is open."""

    @property
    def prunes(self) -> bool:
        """Whether jobs wait for a verdict after each validation."""

    def begin(self, ledger: Ledger) -> None:
        """Compare the recorded sweep with this one, and take over the jobs that the ledger has.

        Raises:
            ConfigError: the sweep was begun with another space; the message says what differs.
        """

    def propose(self, ledger: Ledger, room: int) -> list[Proposal]:
        """Return further jobs; the master calls this when fewer jobs wait than there is room for.

        Args:
            ledger: the ledger.
            room: the number of free places.
        """

    def judge(self, job: JobRow, step: int, values: Mapping[str, float | None]) -> bool:
        """Take in the metrics of a validation; return whether the job is to be pruned.

        Raises:
            ConfigError: the task does not log the objective; the sweep cannot go on.
        """

    def learn(self, job: JobRow) -> None:
        """Take in how a job has ended; the ledger and ``run.json`` have it already.

        Raises:
            ConfigError: the task does not log the objective; the sweep cannot go on.
        """

    def summary(self, ledger: Ledger) -> list[str]:
        """Return lines to print at the end."""
