"""``sweeper=random`` and ``sweeper=optuna`` as the master sees them: trials of a search space. No torch.

The ledger is the truth. Nothing that matters is kept here: which trials there are, with which points and results, is
read from the ledger each time, so a master that was killed goes on as if it had not been.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.config.words import parse_word
from lab.errors import ConfigError
from lab.run_record import read_record
from lab.sweeps.drawing import Sampler
from lab.sweeps.front import best_trials
from lab.sweeps.ledger import JobRow, Ledger
from lab.sweeps.objective import Objective, Wanted, check_logged, known_at_once, read_objectives
from lab.sweeps.proposing import Proposal
from lab.sweeps.pruning import Pruner
from lab.sweeps.space import Point, SearchSpace
from lab.sweeps.trials import Trial, find_trials


@dataclass(frozen=True)
class SearchPlan:
    """What a search is, apart from how it draws points.

    Attributes:
        space: the search space.
        shared: the overrides of all jobs.
        n_trials: the number of points.
        wanted: the objectives.
        seeds: the number of jobs of each point; None: one.
        first: the point of the first trial; None: it is drawn as the others.
        identity: what has to stay the same when the search is continued: its settings in words, by key.
    """

    space: SearchSpace
    shared: list[str]
    n_trials: int
    wanted: tuple[Wanted, ...] = (Wanted(),)
    seeds: int | None = None
    first: Point | None = None
    identity: Mapping[str, str] = field(default_factory=dict)


class SearchProposer:
    """A sweeper that searches.

    Args:
        plan: what is searched.
        sampler: draws the points.
        pruner: judges running trials; None: none is stopped early.

    Raises:
        ConfigError: the settings contradict each other.
    """

    def __init__(self, plan: SearchPlan, sampler: Sampler, pruner: Pruner | None = None) -> None:
        if plan.seeds and "seed" in [*plan.space.described(), *(parse_word(word).key for word in plan.shared)]:
            raise ConfigError(f"seed=... and sweeper.seeds={plan.seeds}: give one of them")
        if plan.seeds and pruner is not None:
            raise ConfigError(
                f"sweeper.seeds={plan.seeds} and a pruner: a point's value is the mean over its seeds, which no "
                "running job knows; give sweeper.pruner=none or sweeper.seeds=null"
            )
        self.plan, self.sampler, self.pruner = plan, sampler, pruner
        self.objectives = known_at_once(plan.wanted)
        self._ledger: Ledger | None = None
        self._unsorted: list[tuple[int, int, Mapping[str, float | None]]] = []

    @property
    def total(self) -> int:
        """The number of jobs that there will be."""
        return self._most * (self.plan.seeds or 1)

    @property
    def _most(self) -> int:
        """The number of trials that there will be: no point is tried twice."""
        count = self.plan.space.count
        return self.plan.n_trials if count is None else min(self.plan.n_trials, count)

    @property
    def prunes(self) -> bool:
        """Whether jobs wait for a verdict after each validation."""
        return self.pruner is not None

    def check_words(self) -> list[str]:
        """Return the overrides of the first job, by which a master checks the settings that all jobs share."""
        point = self._point(0, [])
        return self._proposals(point)[0].words if point is not None else self.plan.shared

    @property
    def names_metrics(self) -> bool:
        """Whether the settings name an objective, which the jobs must log."""
        return any(wanted.metric is not None for wanted in self.plan.wanted)

    def check_metrics(self, logged: Sequence[str]) -> None:
        """Compare the objectives with the metrics that jobs log after a validation; none are known if it is empty.

        Raises:
            ConfigError: an objective is not among them.
        """
        for wanted in self.plan.wanted:
            check_logged(wanted, dict.fromkeys(logged), split="val")

    def begin(self, ledger: Ledger) -> None:
        """Compare the recorded search with this one, and take over the jobs that the ledger has.

        Raises:
            ConfigError: the sweep was begun with another space, sampler or objective.
        """
        check_same(ledger, {**self.plan.identity, **self.plan.space.described()})
        self._ledger = ledger
        recorded = ledger.get("objectives")
        if recorded and self.objectives is None:
            self.objectives = [Objective(**each) for each in recorded]
        for job in ledger.jobs():
            self.learn(job)

    def propose(self, ledger: Ledger, room: int) -> list[Proposal]:
        """Return the jobs of further points, as many as there is room for, and those that a point still lacks."""
        trials = self._trials(ledger)
        proposals = [
            proposal for trial in trials[-1:] for proposal in self._proposals(trial.point, after=len(trial.jobs))
        ]
        ledger.close()  # a Gaussian process is computed in a forked process, which must not have its connection
        while len(proposals) < room and len(trials) < self._most:
            point = self._point(len(trials), trials)
            if point is None:
                break
            trials.append(Trial(len(trials), point, wanted=self.plan.seeds or 1))
            proposals += self._proposals(point)
        return proposals

    def judge(self, job: JobRow, step: int, values: Mapping[str, float | None]) -> bool:
        """Take in the metrics of a validation; return whether the job is to be pruned.

        Raises:
            ConfigError: the task does not log the objective.
        """
        for wanted in self.plan.wanted:
            check_logged(wanted, values, split="val")
        if self.pruner is None or self._ledger is None:
            return False
        self._unsorted.append((job.number, step, values))
        if not self._sort_reports(self._ledger):
            return False
        trials = self._trials(self._ledger)
        trial = next((trial for trial in trials if job.number in _numbers(trial)), None)
        value = values.get(self._validated())
        if trial is None or value is None or not self.objectives:
            return False
        return self.pruner.judge(self.objectives[0], self._ledger, trials, trial.number, step, value)

    def learn(self, job: JobRow) -> None:
        """Take in how a job has ended: the first finished one says which metric is monitored, and its direction.

        Raises:
            ConfigError: the task does not log the objective, or jobs monitor different metrics.
        """
        if job.state == "finished":
            self._settle(job)
        if self.pruner is None or self.objectives is None or self._ledger is None:
            return
        self._sort_reports(self._ledger)
        trial = next((trial for trial in self._trials(self._ledger) if job.number in _numbers(trial)), None)
        if trial is not None:
            self.pruner.learn(self.objectives[0], trial)

    def summary(self, ledger: Ledger) -> list[str]:
        """Return lines with the number of trials in each state and the best point."""
        trials = self._trials(ledger)
        states = Counter(self._state(trial) for trial in trials)
        counted = ", ".join(f"{count} {state}" for state, count in states.items())
        lines = [f"search    {len(trials)} trials of {self.plan.n_trials}: {counted}"]
        if len(trials) < self.plan.n_trials and self.plan.space.count == len(trials):
            lines[0] += "; the space has no further point"
        lines += best_trials(trials, self.objectives or (), first_is_default=self.plan.first is not None)
        if self.pruner is not None:
            lines += self.pruner.summary(ledger, trials)
        return [*lines, *(f"note      {note}" for note in self.sampler.notes.values())]

    def _trials(self, ledger: Ledger) -> list[Trial]:
        trials = find_trials(ledger.jobs(), self.plan.space, self.plan.seeds)
        if self.pruner is None:
            return trials
        reports: dict[int, list[tuple[int, float | None]]] = defaultdict(list)
        for job, step, value in ledger.all_reports():
            reports[job].append((step, value))
        return [replace(trial, reports=tuple(reports[trial.jobs[0].number])) for trial in trials]

    def _state(self, trial: Trial) -> str:
        if trial.state == "finished" and self.objectives and trial.values(self.objectives) is None:
            return "without a value"
        return trial.state

    def _point(self, number: int, trials: Sequence[Trial]) -> Point | None:
        if number == 0 and self.plan.first is not None:
            return self.plan.first
        return self.sampler.point(number, trials, self.objectives or ())

    def _proposals(self, point: Point, after: int = 0) -> list[Proposal]:
        words = [*self.plan.shared, *self.plan.space.words(point)]
        if self.plan.seeds is None:
            return [Proposal(words, point)][after:]
        return [Proposal([*words, f"seed={seed}"], {**point, "seed": seed}) for seed in range(after, self.plan.seeds)]

    def _settle(self, job: JobRow) -> None:
        record = {**read_record(Path(job.run) / "run.json")[0], "result": job.result}
        found = read_objectives(self.plan.wanted, record)
        if self.objectives is None and found is not None:
            self.objectives = found
            if self._ledger is not None:
                self._ledger.set(objectives=[{"metric": each.metric, "direction": each.direction} for each in found])
        if found is not None and self.objectives != found and known_at_once(self.plan.wanted) is None:
            both = f"{self.objectives[0].metric} and {found[0].metric}" if self.objectives else ""
            raise ConfigError(f"the jobs monitor different metrics, {both}: set sweeper.metric and sweeper.direction")

    def _sort_reports(self, ledger: Ledger) -> bool:
        """Record the reports that came in, once the objective is known; return whether it is."""
        if not self.objectives:
            return False
        for number, step, values in self._unsorted:
            ledger.report(number, step, values.get(self._validated()))
        self._unsorted.clear()
        return True

    def _validated(self) -> str:
        """Return the metric of the validations by which trials are compared while they run."""
        return f"val/{self.objectives[0].metric.partition('/')[2]}" if self.objectives else ""


def check_same(ledger: Ledger, now: Mapping[str, str]) -> None:
    """Record what a sweep is, or compare it with what was recorded.

    Raises:
        ConfigError: it differs; the message says in what.
    """
    before = ledger.get("search")
    if ledger.get("grid") is not None:
        raise ConfigError("the sweep was begun with sweeper=grid; sweep=NEWNAME starts another study")
    if before is None:
        ledger.set(search=dict(now))
        return
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    if keys:
        changes = [f"{key}: {_shown(key, before)} before, {_shown(key, now)} now" for key in keys]
        raise ConfigError(f"{'; '.join(changes)}; sweep=NEWNAME starts another study")


def _shown(key: str, entries: Mapping[str, str]) -> str:
    return entries.get(key, "not set" if key.startswith("sweeper.") else "not searched")


def _numbers(trial: Trial) -> list[int]:
    return [job.number for job in trial.jobs]
