"""Points proposed by Optuna: TPE, CMA-ES, a Gaussian process, NSGA-II. No torch here; Optuna is imported late.

- tpe: Bergstra et al., "Algorithms for Hyper-Parameter Optimization" (2011), section 4; multivariate, with constant
  liar for running trials;
- cmaes: Hansen, "The CMA Evolution Strategy: A Tutorial" (2016);
- gp: a Gaussian process with expected improvement (Optuna's GPSampler);
- nsga2: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (2002).

For each point the study is made again, in memory, from the trials: what is proposed follows from the seed, the trial's
number and the results so far, and nothing else.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lab.config.spelling import value_of
from lab.errors import ConfigError
from lab.sweeps.aside import run_aside
from lab.sweeps.drawing import RandomDraws, first_new, without
from lab.sweeps.objective import Objective
from lab.sweeps.optuna_import import collecting, optuna
from lab.sweeps.pruning import OptunaPruner
from lab.sweeps.space import Dimension, Point, Scalar, SearchSpace
from lab.sweeps.trials import Trial

_TRIES = 20
_ASKED_AGAIN = ("cmaes", "nsga2")
"""Samplers that note their generations in trials when they are asked: the trials are replayed by asking."""


class OptunaSampler:
    """A sampler of Optuna.

    Args:
        space: the search space.
        name: ``tpe``, ``cmaes``, ``gp`` or ``nsga2``.
        seed: of the draws.
        startup: the number of random points before it begins; None: Optuna's.
        population: the size of a generation; None: Optuna's.
        pruner: the pruner, by whose brackets (hyperband) trials are compared.

    Raises:
        ConfigError: Optuna or the package of a sampler is not installed.
    """

    def __init__(
        self,
        space: SearchSpace,
        name: str,
        seed: int,
        startup: int | None = None,
        population: int | None = None,
        pruner: OptunaPruner | None = None,
    ) -> None:
        self.space, self.name, self.seed = space, name, seed
        self.startup, self.population, self.pruner = startup, population, pruner
        self.notes: dict[str, str] = {}
        optuna()
        if name == "gp":
            importlib.import_module("torch")  # once here, not in each process that computes a point
        if name == "cmaes":
            _check_cmaes()
            for dimension in space.dimensions:
                if dimension.choices or dimension.when:
                    why = "choices" if dimension.choices else "a condition"
                    self.notes[dimension.key] = f"sampler=cmaes draws {dimension.key} at random, because it has {why}"

    def point(
        self, number: int, trials: Sequence[Trial], objectives: Sequence[Objective] = ()
    ) -> dict[str, Scalar] | None:
        """Return the next point; one that an earlier trial has is asked for again, and then drawn at random."""
        asked: Callable[[], Any] = lambda: self._ask(number, trials, objectives)  # noqa: E731
        # A Gaussian process computes with torch, which the master must not do before it forks.
        point, notes = run_aside(asked) if self.name == "gp" else asked()
        for key, note in notes.items():
            self.notes.setdefault(key, note)
        if point is not None:
            return dict(point)
        return first_new(self.space, RandomDraws(self.space, self.seed).draws(number), trials)

    def _ask(
        self, number: int, trials: Sequence[Trial], objectives: Sequence[Objective]
    ) -> tuple[dict[str, Scalar] | None, dict[str, str]]:
        notes: dict[str, str] = {}
        with collecting(notes):
            study = self._study(number, objectives)
            for trial in trials:
                self._replay(study, trial, objectives)
            study.sampler = self._sampler(number)
            return next(without(self._asked(study), trials), None), notes

    def _study(self, number: int, objectives: Sequence[Objective]) -> Any:
        ways = ["minimize" if objective.direction == "min" else "maximize" for objective in objectives]
        pruner = self.pruner.made if self.pruner is not None else optuna().pruners.NopPruner()
        return optuna().create_study(
            study_name="search", directions=ways or ["maximize"], sampler=self._sampler(number), pruner=pruner
        )

    def _sampler(self, number: int) -> Any:
        import numpy as np

        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        startup = {} if self.startup is None else {"n_startup_trials": self.startup}
        samplers = optuna().samplers
        if self.name == "tpe":
            return samplers.TPESampler(seed=seed, group=self.space.has_conditions, **startup)
        if self.name == "gp":
            return samplers.GPSampler(seed=seed, **startup)
        if self.name == "cmaes":
            return samplers.CmaEsSampler(seed=seed, popsize=self.population, **startup)
        size = {} if self.population is None else {"population_size": self.population}
        return samplers.NSGAIISampler(seed=seed, **size)

    def _replay(self, study: Any, trial: Trial, objectives: Sequence[Objective]) -> None:
        states = optuna().trial.TrialState
        values = trial.values(objectives)
        state = {"open": states.RUNNING, "pruned": states.PRUNED}.get(trial.state, states.FAIL)
        state = states.COMPLETE if values is not None else state
        dimensions = [dimension for dimension in self.space.dimensions if dimension.key in trial.point]
        params = {dimension.key: _told(dimension, trial.point) for dimension in dimensions}
        if self.name in _ASKED_AGAIN:
            study.enqueue_trial(params)
            asked = study.ask()
            for dimension in dimensions:
                _suggest(asked, dimension)
            if state == states.COMPLETE:
                study.tell(asked, values)
            elif state != states.RUNNING:
                study.tell(asked, state=states.FAIL)
            return
        reports = {step: value for step, value in trial.reports if value is not None}
        made = optuna().trial.create_trial(
            state=state,
            values=values,
            params=params,
            distributions={dimension.key: _distribution(dimension) for dimension in dimensions},
            intermediate_values=reports,
        )
        study.add_trial(made)

    def _asked(self, study: Any) -> Iterator[dict[str, Scalar]]:
        """Yield some points; those before the last one were taken already."""
        states = optuna().trial.TrialState
        for _ in range(_TRIES):
            asked = study.ask()
            point: dict[str, Scalar] = {}
            for dimension in self.space.dimensions:
                if self.space.is_active(dimension, point):
                    point[dimension.key] = _suggest(asked, dimension)
            yield point
            study.tell(asked, state=states.FAIL)


def _suggest(asked: Any, dimension: Dimension) -> Scalar:
    if dimension.choices:
        return dimension.choices[dimension.texts.index(asked.suggest_categorical(dimension.key, dimension.texts))]
    if dimension.whole:
        step = int(dimension.step or 1)
        return int(asked.suggest_int(dimension.key, dimension.low, dimension.high, step=step, log=dimension.log))
    value = asked.suggest_float(dimension.key, dimension.low, dimension.high, step=dimension.step, log=dimension.log)
    return dimension.nearest(float(value))


def _distribution(dimension: Dimension) -> Any:
    kinds = optuna().distributions
    if dimension.choices:
        return kinds.CategoricalDistribution(dimension.texts)
    if dimension.whole:
        step = int(dimension.step or 1)
        return kinds.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log, step=step)
    return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _told(dimension: Dimension, point: Point) -> Any:
    """Return a value as the study has it: a choice by its text, because 1, 1.0 and true are equal in Python."""
    value = point[dimension.key]
    return value_of(dimension.word(value)) if dimension.choices else value


def _check_cmaes() -> None:
    if importlib.util.find_spec("cmaes") is None:
        raise ConfigError("sweeper.sampler=cmaes needs the package cmaes: pip install 'lab[sweep]'")
