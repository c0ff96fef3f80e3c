"""The schemas of the groups ``launcher`` and ``sweeper``, and of ``launcher.yaml`` in a sweep's directory. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from lab.config.value_types import Above0, Bool, Float, Int, Strict, Text, WholeAbove0, WholeFrom0
from lab.run_record import Direction

Workers = Annotated[WholeAbove0, Field(le=4096)]
MemorySize = Annotated[Text, Field(pattern=r"^[1-9][0-9]{0,5}[KMGT]$")]
"""A number of bytes: ``512M``, ``16G``."""
Seeds = Annotated[WholeAbove0, Field(le=1000)]


class WatchedLauncher(Strict):
    """What all launchers that start jobs elsewhere have: how they treat a job that dies."""

    workers: Workers | None = None
    retries: WholeFrom0 = 2
    backoff: Annotated[Float, Field(ge=0, le=3600)] = 1.0
    timeout: Above0 | None = 3600.0
    grace: Annotated[Float, Field(ge=0)] = 120.0
    yes: Bool = False


class LocalLauncher(WatchedLauncher):
    """``launcher=local``: processes forked from the master."""

    name: Literal["local"]
    devices_per_job: WholeFrom0 | None = None
    threads_per_job: WholeAbove0 | None = None


class HereLauncher(Strict):
    """``launcher=here``: one job after another in this process."""

    name: Literal["here"]
    yes: Bool = False


class Elsewhere(WatchedLauncher):
    """What launchers have that start jobs on other machines."""

    devices_per_job: WholeFrom0 | None = None
    threads_per_job: WholeAbove0 | None = None

    def gpus_of(self, trainer: Mapping[str, Any]) -> int:
        """Return the devices that a job asks for, by ``trainer`` of its config."""
        if self.devices_per_job is not None:
            return self.devices_per_job
        return int(trainer["devices"]) if trainer["accelerator"] == "gpu" else 0


class SlurmLauncher(Elsewhere):
    """``launcher=slurm``: each attempt is a job of Slurm."""

    name: Literal["slurm"]
    partition: Text | None = None
    time: Text | None = None
    memory: Text | None = None
    constraint: Text | None = None
    account: Text | None = None
    qos: Text | None = None
    sbatch: list[Annotated[Text, Field(pattern="^--[a-z]")]] = Field(default_factory=list)
    setup: list[Text] = Field(default_factory=list)
    python: Text | None = None
    signal_before: WholeAbove0 = 90
    requeue: Bool = True
    poll: Annotated[Float, Field(ge=0.5, le=600)] = 5.0


class RayLauncher(Elsewhere):
    """``launcher=ray``: each attempt is a process beside an actor on a node of a Ray cluster."""

    name: Literal["ray"]
    address: Text | None = None
    resources: dict[Text, Above0] = Field(default_factory=dict)
    memory: MemorySize | None = None
    shared: Bool = True
    max_file: MemorySize = "16G"
    poll: Annotated[Float, Field(ge=0.1, le=600)] = 0.5


class GridSweeper(Strict):
    """``sweeper=grid``: every combination."""

    name: Literal["grid"]
    seeds: Seeds | None = None


class SpaceEntry(Strict):
    """What one key of ``sweeper.space`` may be: ``choices``, or the numbers from ``low`` to ``high``."""

    choices: Annotated[list[Any], Field(min_length=1)] | None = None
    type: Literal["float", "int"] | None = None
    low: Int | Float | None = None
    high: Int | Float | None = None
    log: Bool = False
    step: Annotated[Int, Field(gt=0)] | Above0 | None = None
    when: dict[str, Any] = Field(default_factory=dict)


class Searcher(Strict):
    """What all sweepers that search have."""

    n_trials: WholeAbove0
    seed: WholeFrom0
    space: dict[str, SpaceEntry] | None = None
    metric: Text | None = None
    direction: Direction | None = None
    seeds: Seeds | None = None
    defaults_first: Bool = True


class RandomSweeper(Searcher):
    """``sweeper=random``: points drawn at random."""

    name: Literal["random"]


class PrunerSettings(Strict):
    """The settings of the pruners, in optimizer steps and trials; null: see docs/searching.md."""

    startup_trials: WholeFrom0 | None = None
    warmup_steps: WholeFrom0 | None = None
    interval_steps: WholeAbove0 | None = None
    min_resource: WholeAbove0 | None = None
    max_resource: WholeAbove0 | None = None
    reduction_factor: Annotated[Int, Field(ge=2, le=100)] | None = None


class OptunaSweeper(Searcher):
    """``sweeper=optuna``: points proposed from the results so far."""

    name: Literal["optuna"]
    sampler: Literal["tpe", "cmaes", "gp", "random", "grid", "qmc", "nsga2"]
    startup_trials: WholeAbove0 | None = None
    population: Annotated[Int, Field(ge=2, le=100_000)] | None = None
    pruner: Literal["none", "median", "successive_halving", "hyperband"]
    pruning: PrunerSettings = Field(default_factory=PrunerSettings)
    objectives: Annotated[list[Text], Field(min_length=2)] | None = None
    directions: list[Direction] | None = None


Launcher = Annotated[LocalLauncher | HereLauncher | SlurmLauncher | RayLauncher, Field(discriminator="name")]
Sweeper = Annotated[GridSweeper | RandomSweeper | OptunaSweeper, Field(discriminator="name")]


class LauncherFile(Strict):
    """``launcher.yaml`` in a sweep's directory, which the master reads again at SIGHUP."""

    workers: Workers
    retries: WholeFrom0
    backoff: Annotated[Float, Field(ge=0, le=3600)]
    timeout: Above0 | None
    grace: Annotated[Float, Field(ge=0)]
    order: list[WholeAbove0] = Field(default_factory=list)
    add: list[Text] = Field(default_factory=list)
    withdraw: list[WholeAbove0] = Field(default_factory=list)


class SweepConfig(Strict):
    """The composed settings of a sweep."""

    launcher: Launcher
    sweeper: Sweeper
    sweep: Text | None = None
