"""The schemas of the groups ``launcher`` and ``sweeper``, and of ``launcher.yaml`` in a sweep's directory. No torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lab.config.schemas import Above0, Bool, Float, Strict, Text, WholeAbove0, WholeFrom0

Workers = Annotated[WholeAbove0, Field(le=4096)]


class Supervised(Strict):
    """What all launchers that start jobs elsewhere have: how they treat a job that dies."""

    workers: Workers | None = None
    retries: WholeFrom0 = 2
    backoff: Annotated[Float, Field(ge=0, le=3600)] = 1.0
    timeout: Above0 | None = 3600.0
    grace: Annotated[Float, Field(ge=0)] = 120.0
    yes: Bool = False


class LocalLauncher(Supervised):
    """``launcher=local``: processes forked from the master."""

    name: Literal["local"]
    devices_per_job: WholeFrom0 | None = None
    threads_per_job: WholeAbove0 | None = None


class HereLauncher(Strict):
    """``launcher=here``: one job after another in this process."""

    name: Literal["here"]
    yes: Bool = False


class GridSweeper(Strict):
    """``sweeper=grid``: every combination."""

    name: Literal["grid"]
    seeds: Annotated[WholeAbove0, Field(le=1000)] | None = None


Launcher = Annotated[LocalLauncher | HereLauncher, Field(discriminator="name")]
Sweeper = GridSweeper


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
