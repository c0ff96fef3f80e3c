"""Makes Trainers: for a fit, with its callbacks and loggers, and for the stages that train nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lab.callbacks.checkpoint import RunCheckpoint
from lab.callbacks.divergence import Divergence
from lab.callbacks.early_stopping import EarlyStopping
from lab.callbacks.ema import EMA
from lab.callbacks.first_batch import FirstBatch
from lab.callbacks.heartbeat import Heartbeat
from lab.callbacks.interrupt import Interrupt
from lab.callbacks.media import ShownSamples
from lab.callbacks.own_directory import OwnDirectory
from lab.callbacks.progress import ProgressBar
from lab.callbacks.pruning import Pruning
from lab.callbacks.steps import StepLog
from lab.callbacks.unfreeze import Unfreeze
from lab.checkpoint.format import CheckpointReader
from lab.compat.lightning import keep_exact, start_at
from lab.experiment.assembly import QUIET, device_arguments
from lab.experiment.context import FitContext
from lab.run_progress import job_folder, waits_for_verdicts
from lab.strategies import collectives
from lab.system.collector import collect_as_usual
from lab.system.ranks import Place
from lab.training.spec import task_spec


def make_early_stopping(fit: FitContext, resume_from: Path | None) -> EarlyStopping | None:
    """Return what may end a training early, with the counts of its checkpoint; None if nothing does.

    Rank 0 reads the checkpoint for all ranks.
    """
    settings = fit.config["callbacks"]["early_stopping"]
    if settings is None:
        return None
    stopping = EarlyStopping(**settings)
    saved = CheckpointReader(resume_from).state.get("early_stopping") if resume_from and fit.is_first else None
    saved = collectives.from_rank_zero(saved)
    if saved is not None:
        stopping.load_state_dict(saved)
    return stopping


def make_fit_trainer(
    fit: FitContext, start: int, resume_from: Path | None, stopping: EarlyStopping | None
) -> tuple[pl.Trainer, Divergence]:
    """Return the Trainer of a fit, and the callback that checks for non-finite numbers.

    The Trainer runs one stream of steps, with lab's own checkpoints and progress bars.

    Args:
        fit: a fit whose strategy is chosen.
        start: the optimizer step from which it continues.
        resume_from: the checkpoint of that step; None at the beginning.
        stopping: what may end it early.
    """
    settings, plan = fit.config["trainer"], fit.plan
    log = StepLog(settings["log_every_n_steps"], fit.data.batch_size, plan.steps_per_epoch)
    divergence = Divergence(settings["on_nonfinite"], settings["max_skips"], log)
    trainer = pl.Trainer(
        **device_arguments(fit.config, fit.place),
        max_epochs=1,
        max_steps=plan.max_steps,
        val_check_interval=plan.val_every * settings["accumulate_grad_batches"],
        check_val_every_n_epoch=None,
        accumulate_grad_batches=settings["accumulate_grad_batches"],
        gradient_clip_val=settings["gradient_clip_val"],
        log_every_n_steps=1,
        callbacks=_callbacks(fit, log, divergence, stopping, resume_from),
        logger=[fit.metrics, *([fit.wandb] if fit.wandb else []), *fit.trackers],
        profiler=_profiler(fit),
        num_sanity_val_steps=0,
        **QUIET,
    )
    keep_exact(trainer)
    start_at(trainer, start)
    collect_as_usual()
    return trainer, divergence


def _callbacks(
    fit: FitContext, log: StepLog, divergence: Divergence, stopping: EarlyStopping | None, resume_from: Path | None
) -> list[pl.Callback]:
    """Return the callbacks in the order in which they must act."""
    settings, plan = fit.config["callbacks"], fit.plan
    ema = EMA(**settings["ema"]) if settings["ema"] else None
    checkpoint = RunCheckpoint(
        fit.run.checkpoints,
        fit.metrics,
        plan.val_every,
        plan.max_steps,
        fit.config["trainer"]["checkpoint_every_n_steps"],
        ema,
        fit.watch,
        divergence,
        resume_from,
        stopping,
    )
    callbacks: list[pl.Callback] = []
    if fit.run.writes:
        callbacks += [OwnDirectory(fit.run), FirstBatch(fit.run, settings["pictures"])]
    callbacks += [Unfreeze(fit.freezing)] if fit.freezing is not None else []
    callbacks += [ema] if ema is not None else []
    callbacks += [log, divergence, *([stopping] if stopping is not None else [])]
    if fit.num_shown:
        callbacks.append(ShownSamples(fit.num_shown, task_spec(fit.data.spec.task).load_media(), fit.wandb))
    folder = job_folder() if fit.is_first else None
    callbacks += [Heartbeat(folder, log, plan.max_steps)] if folder is not None else []
    callbacks.append(checkpoint)
    if settings["progress"] and fit.is_first:
        callbacks.append(ProgressBar(log, plan.max_steps))
    if collectives.from_rank_zero(waits_for_verdicts()):
        callbacks.append(Pruning(folder, fit.watch, plan.max_steps))
    return [*callbacks, Interrupt(checkpoint, fit.watch)]


def _profiler(fit: FitContext) -> Any:
    if not fit.config["debug"]["profile"]:
        return None
    from lightning.pytorch.profilers import SimpleProfiler

    return SimpleProfiler(dirpath=fit.run.path, filename="profile")


def make_eval_trainer(
    config: Mapping[str, Any], place: Place, callbacks: list[pl.Callback], progress: bool = True
) -> pl.Trainer:
    """Return the Trainer of a stage that trains nothing.

    Args:
        config: the resolved config.
        place: the rank of this process.
        callbacks: added to its own.
        progress: whether it may show a progress bar; the config may forbid it too.
    """
    if progress and config["callbacks"]["progress"] and place.rank == 0:
        callbacks = [*callbacks, ProgressBar(StepLog(1, 1, 1), 0)]
    if place.rank == 0 and (folder := job_folder()) is not None:
        callbacks = [*callbacks, Heartbeat(folder)]
    collect_as_usual()
    # FSDP2 changes its parameters in place, which inference mode forbids; no_grad is hardly slower.
    trainer = pl.Trainer(
        **device_arguments(config, place), callbacks=callbacks, logger=False, inference_mode=False, **QUIET
    )
    keep_exact(trainer)
    return trainer


def describe_device(trainer: pl.Trainer) -> str:
    """Return the name of the device that a Trainer ran on."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
