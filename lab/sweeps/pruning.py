"""Stops trials early: the pruners of Optuna, fed with the validations in the ledger. No torch; Optuna is imported late.

- median: worse than the median of the others at the same step (Golovin et al., "Google Vizier", 2017, section 3.2.2);
- successive_halving: asynchronous successive halving (Li et al., "A System for Massively Parallel Hyperparameter
  Tuning", 2020, algorithm 2);
- hyperband: several of these with different first steps (Li et al., "Hyperband", 2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lab.errors import ConfigError
from lab.sweeps.ledger import Ledger
from lab.sweeps.objective import Objective
from lab.sweeps.optuna_import import optuna
from lab.sweeps.settings import PrunerSettings
from lab.sweeps.trials import Trial

TAKES: Mapping[str, Mapping[str, str]] = {
    "none": {},
    "median": {
        "startup_trials": "n_startup_trials",
        "warmup_steps": "n_warmup_steps",
        "interval_steps": "interval_steps",
    },
    "successive_halving": {"min_resource": "min_resource", "reduction_factor": "reduction_factor"},
    "hyperband": {
        "min_resource": "min_resource",
        "max_resource": "max_resource",
        "reduction_factor": "reduction_factor",
    },
}
"""The settings that each pruner takes, and what Optuna calls them."""
_CLASSES = {
    "median": "MedianPruner",
    "successive_halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
}


class Pruner(Protocol):
    """Judges running trials."""

    def judge(
        self, objective: Objective, ledger: Ledger, trials: Sequence[Trial], number: int, step: int, value: float
    ) -> bool:
        """Return whether a trial is to be stopped after a value that the ledger has already."""

    def learn(self, objective: Objective, trial: Trial) -> None:
        """Take in how a trial has ended."""

    def summary(self, ledger: Ledger, trials: Sequence[Trial]) -> list[str]:
        """Return lines about what was saved."""


class OptunaPruner:
    """One of Optuna's pruners, on a study in memory that is made again from the ledger whenever it has to be.

    Args:
        name: ``median``, ``successive_halving`` or ``hyperband``.
        settings: its settings; null is Optuna's default, or for the resources the value in ``resources``.
        resources: ``min_resource`` and ``max_resource``: the step of the first validation and the last step.

    Raises:
        ConfigError: the pruner has no such setting, or Optuna is not installed.
    """

    def __init__(self, name: str, settings: PrunerSettings, resources: Mapping[str, int] | None = None) -> None:
        given = {key: value for key, value in settings.model_dump().items() if value is not None}
        wrong = next((key for key in given if key not in TAKES[name]), None)
        if wrong is not None:
            raise ConfigError(f"sweeper.pruning.{wrong}: sweeper.pruner={name} takes {', '.join(TAKES[name])}")
        known = {key: value for key, value in (resources or {}).items() if key in TAKES[name]}
        self.arguments = {TAKES[name][key]: value for key, value in {**known, **given}.items()}
        self.name = name
        self.made = self._make()
        self._study: Any = None
        self._trials: dict[int, Any] = {}
        self._ended: set[int] = set()
        self._reported: set[tuple[int, int]] = set()
        self._verdicts: dict[int, bool] = {}

    def judge(
        self, objective: Objective, ledger: Ledger, trials: Sequence[Trial], number: int, step: int, value: float
    ) -> bool:
        """Return whether a trial is to be stopped after a value that the ledger has already."""
        if self._study is None or number in self._ended:  # a failed trial that is tried again
            self._replay(objective, ledger, trials)
        else:
            self._report(number, step, value)
        return self._verdicts.get(number, False)

    def learn(self, objective: Objective, trial: Trial) -> None:
        """Take in how a trial has ended."""
        if self._study is None or trial.number in self._ended or trial.state == "open":
            return
        self._grow(trial.number)
        self._tell(objective, trial)

    def summary(self, ledger: Ledger, trials: Sequence[Trial]) -> list[str]:
        """Return how many steps were not trained, as far as it can be said: up to the last step of finished trials."""
        last = {trial.number: ledger.reports(trial.jobs[0].number)[-1:] for trial in trials}
        full = max((last[t.number][0][0] for t in trials if t.state == "finished" and last[t.number]), default=0)
        pruned = [last[t.number][0][0] for t in trials if t.state == "pruned" and last[t.number]]
        if not full or not pruned:
            return [f"pruned    {len(pruned)} trials"]
        saved = sum(full - step for step in pruned)
        return [f"pruned    {len(pruned)} trials, {saved} steps of {full * len(trials)} not trained"]

    def _make(self) -> Any:
        return getattr(optuna().pruners, _CLASSES[self.name])(**self.arguments)

    def _replay(self, objective: Objective, ledger: Ledger, trials: Sequence[Trial]) -> None:
        """Make the study again: all reports in the order in which they came, each trial's end after its last one."""
        library = optuna()
        self.made = self._make()
        self._study = library.create_study(
            study_name="search",  # hyperband's brackets depend on the name
            direction="minimize" if objective.direction == "min" else "maximize",
            sampler=library.samplers.RandomSampler(seed=0),
            pruner=self.made,
        )
        self._trials, self._ended, self._reported, self._verdicts = {}, set(), set(), {}
        of_job = {job.number: trial for trial in trials for job in trial.jobs}
        reports = [report for report in ledger.all_reports() if report[0] in of_job and report[2] is not None]
        last = {job: index for index, (job, _, _) in enumerate(reports)}
        for index, (job, step, value) in enumerate(reports):
            trial = of_job[job]
            assert value is not None
            self._report(trial.number, step, value)
            if last[job] == index and trial.state != "open":
                self._tell(objective, trial)

    def _grow(self, number: int) -> None:
        while len(self._trials) <= number:
            self._trials[len(self._trials)] = self._study.ask()

    def _report(self, number: int, step: int, value: float) -> None:
        self._grow(number)
        trial = self._trials[number]
        if (number, step) not in self._reported:  # a job that is tried again validates some steps twice
            trial.report(value, step)
            self._reported.add((number, step))
        # Once is enough: a trial may have gone on because its master was killed, or the direction was not known yet.
        self._verdicts[number] = bool(trial.should_prune()) or self._verdicts.get(number, False)

    def _tell(self, objective: Objective, trial: Trial) -> None:
        states = optuna().trial.TrialState
        values = trial.values([objective])
        if values is not None:
            self._study.tell(self._trials[trial.number], values[0])
        else:
            pruned = trial.state == "pruned"
            self._study.tell(self._trials[trial.number], state=states.PRUNED if pruned else states.FAIL)
        self._ended.add(trial.number)
