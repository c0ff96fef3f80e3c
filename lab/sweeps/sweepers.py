"""Makes the sweeper that the settings ask for. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.errors import ConfigError
from lab.run_record import Direction
from lab.sweeps.config_values import config_point
from lab.sweeps.drawing import GridDraws, RandomDraws, Sampler, SobolDraws
from lab.sweeps.grid import expand
from lab.sweeps.grid_proposer import GridProposer
from lab.sweeps.objective import Wanted
from lab.sweeps.optuna_sampler import OptunaSampler
from lab.sweeps.proposing import Proposer
from lab.sweeps.pruning import OptunaPruner
from lab.sweeps.searching import SearchPlan, SearchProposer
from lab.sweeps.settings import GridSweeper, OptunaSweeper, RandomSweeper
from lab.sweeps.space import SearchSpace
from lab.sweeps.space_words import read_space


def make_proposer(
    sweeper: GridSweeper | RandomSweeper | OptunaSweeper, overrides: Sequence[str], user_dirs: Sequence[str] = ()
) -> tuple[Proposer, list[str]]:
    """Return the sweeper of some settings, and lines to print before the first job.

    Args:
        sweeper: the settings, ``SweepConfig.sweeper``.
        overrides: those of the jobs, without ``launcher``, ``sweeper`` and ``sweep``.
        user_dirs: further folders with groups.

    Raises:
        ConfigError: a setting or an override is wrong.
    """
    if isinstance(sweeper, GridSweeper):
        return GridProposer(expand(list(overrides), user_dirs), sweeper.seeds), []
    space, shared, notes = read_space(overrides, sweeper.space, user_dirs)
    _check_prefixes(sweeper)
    if isinstance(sweeper, OptunaSweeper):
        _check_optuna(sweeper, space)
    point, why, composed = config_point(space, shared, user_dirs)
    if point is None and sweeper.defaults_first:
        notes.append(why)
    plan = SearchPlan(
        space=space,
        shared=shared,
        n_trials=sweeper.n_trials,
        wanted=_wanted(sweeper),
        seeds=sweeper.seeds,
        first=point if sweeper.defaults_first else None,
        identity=_identity(sweeper, shared),
    )
    if isinstance(sweeper, RandomSweeper):
        return SearchProposer(plan, RandomDraws(space, sweeper.seed)), notes
    pruner = None
    if sweeper.pruner != "none":
        pruner = OptunaPruner(sweeper.pruner, sweeper.pruning, _resources(composed.config))
    elif sweeper.pruning.model_dump(exclude_none=True):
        raise ConfigError(
            "sweeper.pruning: there is no pruner; give sweeper.pruner=median, successive_halving, hyperband"
        )
    sampler = _sampler(sweeper, space, pruner)
    return SearchProposer(plan, sampler, pruner), [*notes, *sampler.notes.values()]


def _sampler(sweeper: OptunaSweeper, space: SearchSpace, pruner: OptunaPruner | None) -> Sampler:
    if sweeper.sampler == "random":
        return RandomDraws(space, sweeper.seed)
    if sweeper.sampler == "qmc":
        return SobolDraws(space, sweeper.seed)
    if sweeper.sampler == "grid":
        return GridDraws(space)
    return OptunaSampler(
        space, sweeper.sampler, sweeper.seed, sweeper.startup_trials, sweeper.population, pruner=pruner
    )


def _wanted(sweeper: RandomSweeper | OptunaSweeper) -> tuple[Wanted, ...]:
    if isinstance(sweeper, OptunaSweeper) and sweeper.objectives:
        directions: Sequence[Direction | None] = sweeper.directions or [None] * len(sweeper.objectives)
        return tuple(
            Wanted(metric, way, "sweeper.objectives")
            for metric, way in zip(sweeper.objectives, directions, strict=True)
        )
    return (Wanted(sweeper.metric, sweeper.direction),)


def _check_prefixes(sweeper: RandomSweeper | OptunaSweeper) -> None:
    asked = [("sweeper.metric", sweeper.metric)]
    if isinstance(sweeper, OptunaSweeper):
        asked += [("sweeper.objectives", metric) for metric in sweeper.objectives or []]
    for key, metric in asked:
        if metric is not None and metric.partition("/")[0] not in ("val", "test"):
            name = metric.rpartition("/")[2]
            raise ConfigError(f"{key}={metric}: should be a metric of val or test, such as val/{name}")


def _check_optuna(sweeper: OptunaSweeper, space: SearchSpace) -> None:
    """Refuse settings that contradict each other."""
    several = sweeper.objectives or []
    if sweeper.directions is not None and len(sweeper.directions) != len(several):
        raise ConfigError(
            f"sweeper.directions: {len(sweeper.directions)} for {len(several)} of sweeper.objectives; give one for each"
        )
    if several and (sweeper.metric or sweeper.direction):
        raise ConfigError("sweeper.objectives replaces sweeper.metric and sweeper.direction: leave these two out")
    if several and sweeper.sampler == "cmaes":
        raise ConfigError("sweeper.sampler=cmaes knows one objective; several need tpe, gp or nsga2")
    if several and sweeper.pruner != "none":
        raise ConfigError(f"sweeper.pruner={sweeper.pruner} knows one objective; give sweeper.pruner=none")
    if sweeper.sampler == "grid":
        for dimension in space.dimensions:
            if dimension.count is None:
                raise ConfigError(f"{dimension.key}: sweeper.sampler=grid needs a list of values; write a,b,c")
    if sweeper.population is not None and sweeper.sampler not in ("cmaes", "nsga2"):
        raise ConfigError(f"sweeper.population: sweeper.sampler={sweeper.sampler} has no generations; leave it out")
    if sweeper.startup_trials is not None and sweeper.sampler not in ("tpe", "gp", "cmaes"):
        raise ConfigError(f"sweeper.startup_trials: sweeper.sampler={sweeper.sampler} has none; leave it out")


def _identity(sweeper: RandomSweeper | OptunaSweeper, shared: Sequence[str]) -> dict[str, str]:
    """Return what has to stay the same when a search is continued; the number of trials may grow."""
    settings = sweeper.model_dump(exclude={"n_trials", "space", "defaults_first"}, exclude_none=True)
    settings["sweeper"] = settings.pop("name")
    own = {
        key if key == "sweeper" else f"sweeper.{key}": _shown(value) for key, value in settings.items() if value != {}
    }
    return {**own, "shared overrides": " ".join(sorted(shared)) or "none"}


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _resources(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the step of the first validation and the last step, where the config sets them."""
    trainer = config.get("trainer", {})
    found = {"min_resource": trainer.get("val_every_n_steps"), "max_resource": trainer.get("max_steps")}
    return {key: value for key, value in found.items() if isinstance(value, int)}
