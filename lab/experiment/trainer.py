"""The Trainer of a fit, its callbacks and loggers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from lab.callbacks.checkpoint import RunCheckpoint
from lab.callbacks.divergence import Divergence
from lab.callbacks.ema import EMA
from lab.callbacks.interrupt import Interrupt
from lab.callbacks.own_directory import OwnDirectory
from lab.callbacks.progress import ProgressBar
from lab.callbacks.steps import StepLog
from lab.experiment.assembly import (
    QUIET,
    Plan,
    device_arguments,
)
from lab.loggers.metrics_csv import MetricsCSV
from lab.loggers.wandb_run import WandbRun
from lab.run_directory import RunDirectory
from lab.system.ranks import Place
from lab.system.signals import SignalWatch


def make_callbacks(
    config: Mapping[str, Any],
    run: RunDirectory,
    metrics: MetricsCSV,
    plan: Plan,
    watch: SignalWatch,
    place: Place,
    resume_from: Path | None,
    log: StepLog,
    divergence: Divergence,
) -> list[pl.Callback]:
    """Return the callbacks in the order in which they must act."""
    settings, trainer = config["callbacks"], config["trainer"]
    ema = EMA(**settings["ema"]) if settings["ema"] else None
    every = trainer["checkpoint_every_n_steps"]
    checkpoint = RunCheckpoint(
        run.checkpoints, metrics, plan.val_every, plan.max_steps, every, ema, watch, divergence, resume_from
    )
    callbacks: list[pl.Callback] = [OwnDirectory(run)] if run.writes else []
    callbacks += [ema] if ema is not None else []
    callbacks += [log, divergence, checkpoint]
    if settings["progress"] and place.rank == 0:
        callbacks.append(ProgressBar(log, plan.max_steps))
    return [*callbacks, Interrupt(checkpoint, watch)]


def make_trainer(
    config: Mapping[str, Any],
    run: RunDirectory,
    plan: Plan,
    callbacks: list[pl.Callback],
    loggers: list[Any],
    place: Place,
) -> pl.Trainer:
    """Return the Trainer of a fit: one stream of steps, our own checkpoints and bars."""
    settings = config["trainer"]
    profiler = None
    if config["debug"]["profile"]:
        from lightning.pytorch.profilers import SimpleProfiler

        profiler = SimpleProfiler(dirpath=run.path, filename="profile")
    return pl.Trainer(
        **device_arguments(config, place),
        max_epochs=1,
        max_steps=plan.max_steps,
        val_check_interval=plan.val_every * settings["accumulate_grad_batches"],
        check_val_every_n_epoch=None,
        accumulate_grad_batches=settings["accumulate_grad_batches"],
        gradient_clip_val=settings["gradient_clip_val"],
        log_every_n_steps=1,
        callbacks=callbacks,
        logger=loggers,
        profiler=profiler,
        num_sanity_val_steps=0,
        **QUIET,
    )


def make_wandb(config: Mapping[str, Any], run: RunDirectory) -> WandbRun | None:
    """Return the W&B logger of the run directory, if it is wanted."""
    settings = config["logger"]["wandb"]
    if settings is None or settings["mode"] == "disabled":
        return None
    return WandbRun(
        run.path,
        project=settings["project"],
        name=run.path.name,
        config=dict(config),
        tags=[config["model"]["name"], config["data"]["name"], *settings["tags"]],
        group=settings["group"],
        job_type=settings["job_type"] or config["stage"],
        mode=settings["mode"],
        git_commit=run.record.get("commit"),
    )
