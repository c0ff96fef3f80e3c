"""The trials of a search as the ledger has them: a point, its jobs (several with ``sweeper.seeds``) and its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lab.sweeps.ledger import JobRow
from lab.sweeps.objective import Objective
from lab.sweeps.space import Point, Scalar, SearchSpace, same_point
from lab.sweeps.states import BAD

TrialState = Literal["open", "finished", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """A point of a search.

    Attributes:
        number: from 0 on, in the order of the proposals.
        point: its values by key.
        jobs: its jobs, one for each seed.
        wanted: how many jobs it has when it is complete.
        reports: the values of its validations by step, where there is a pruner.
    """

    number: int
    point: Point
    jobs: tuple[JobRow, ...] = ()
    wanted: int = 1
    reports: tuple[tuple[int, float | None], ...] = ()

    @property
    def state(self) -> TrialState:
        """Finished if all its jobs are, failed as soon as one has failed or was withdrawn."""
        states = {job.state for job in self.jobs}
        if states & BAD or "withdrawn" in states:
            return "failed"
        if "pruned" in states:
            return "pruned"
        return "finished" if states == {"finished"} and len(self.jobs) == self.wanted else "open"

    def values(self, objectives: Sequence[Objective] | None) -> list[float] | None:
        """Return the mean of each objective over the jobs; None unless all finished with a number for each."""
        if self.state != "finished" or not objectives:
            return None
        found = [[objective.value(job.result) for job in self.jobs] for objective in objectives]
        numbers = [[value for value in values if value is not None] for values in found]
        if any(len(values) < self.wanted for values in numbers):
            return None
        return [sum(values) / len(values) for values in numbers]


def find_trials(jobs: Sequence[JobRow], space: SearchSpace, seeds: int | None) -> list[Trial]:
    """Return the trials that jobs belong to.

    A job without a recorded point (its ledger was made again from the run directories) has it read from its words. A
    job that is no point of the space belongs to no trial.

    Args:
        jobs: the jobs of the ledger, in any order.
        space: the search space.
        seeds: the number of jobs of each trial; None: one, whose words have no seed.
    """
    wanted = seeds or 1
    found: list[Trial] = []
    for job in sorted(jobs, key=lambda job: job.number):
        point = _point(job, space)
        if point is None:
            continue
        last = found[-1] if found else None
        if last is not None and len(last.jobs) < wanted and same_point(last.point, point):
            found[-1] = Trial(last.number, point, (*last.jobs, job), wanted)
        else:
            found.append(Trial(len(found), point, (job,), wanted))
    return found


def _point(job: JobRow, space: SearchSpace) -> Mapping[str, Scalar] | None:
    point = {key: value for key, value in job.point.items() if key != "seed" or _searches_seed(space)}
    if point and space.holds(point):
        return point
    return space.point_of(job.words)


def _searches_seed(space: SearchSpace) -> bool:
    return any(dimension.key == "seed" for dimension in space.dimensions)
