"""The training of a fit: from the run's last checkpoint to the last step."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl

from lab.callbacks.divergence import Divergence
from lab.callbacks.early_stopping import EarlyStopping
from lab.callbacks.run_state import RunState
from lab.checkpoint.finite import require_finite
from lab.errors import LabError, Pruned, RunError
from lab.experiment.assembly import build_task, check_unfreezing, freeze, give_plan, on_gpu
from lab.experiment.context import FitContext
from lab.experiment.planning import Subject, settle_strategy
from lab.experiment.start import where_to_start
from lab.experiment.trainer import describe_device, make_early_stopping, make_fit_trainer
from lab.experiment.wandb_logger import shown_config
from lab.loggers.undefined import with_nulls
from lab.registry.create import load_weights
from lab.report.tables import print_notes
from lab.strategies import collectives
from lab.strategies.batch_norm import synchronize_batch_norm
from lab.training.task import Task


def train(fit: FitContext) -> None:
    """Train to the last step. The results are in the run's directory; no object of the training is kept in memory.

    Raises:
        LabError: something in the config, the data or the run directory is wrong.
        Diverged: a loss or a gradient is not finite.
        Pruned: the search of a sweep has ended the training; a checkpoint was written.
        Interrupted: a signal came; a checkpoint was written.
    """
    start, ckpt = _start(fit)
    stopping = make_early_stopping(fit, ckpt)
    fit.beat(start)
    task = _prepare_task(fit, start, goes_on=ckpt is not None)
    _say_start(fit, start, task.monitor)
    trainer, divergence = make_fit_trainer(fit, start, ckpt, stopping)
    if not task.is_trained:
        _memorize(fit, task, trainer)
    elif start < fit.plan.max_steps and not (stopping is not None and stopping.has_stopped):
        _run(fit, task, trainer, divergence, start)
    _say_stop(fit, stopping, trainer.global_step)
    fit.run.update(world_size=collectives.world_size(), hardware=describe_device(trainer))


def _start(fit: FitContext) -> tuple[int, Path | None]:
    """Return the step and the checkpoint to continue from; rank 0 finds them and sends them to all ranks."""
    found = where_to_start(fit.run, fit.metrics) if fit.is_first else (0, None)
    start, ckpt = collectives.from_rank_zero(found)
    if start > fit.plan.max_steps:
        raise RunError(
            f"{fit.run.path} is at step {start}, beyond trainer.max_steps={fit.plan.max_steps}: give a larger "
            "number, or resume=never to start afresh"
        )
    return start, ckpt


def _prepare_task(fit: FitContext, start: int, goes_on: bool) -> Task:
    """Build the task, choose its strategy, load its initial weights, and give the data its plan."""
    task = build_task(fit.config, fit.data, fit.plan.schedule_steps)
    if fit.is_first:
        print_notes(task.remarks(fit.data))
    give_plan(fit.data, fit.plan.load, task, start)
    fit.freezing = freeze(fit.config, task, fit.plan.steps_per_epoch)
    subject = Subject(fit.config, task, fit.data, fit.place)
    fit.config, strategy = settle_strategy(subject, before=fit.run.record.get("strategy") if goes_on else None)
    fit.run.update(strategy=strategy)
    if fit.wandb is not None:
        fit.wandb.configure(shown_config(fit.config, fit.run.record))
    config = fit.config
    check_unfreezing(config, fit.freezing)
    weights = config["ckpt"] or config["model"]["pretrained"]
    if weights:
        load_weights(task.net, config["model"]["net"]["_target_"], weights, config["paths"]["weights_dir"])
        require_finite(task, weights)
    task.net, differs = synchronize_batch_norm(task.net, fit.data.plan.world_size, on_gpu(config))
    if differs:
        fit.say(f"note: {differs}")
    if config["trainer"]["compile"]:
        task.net.compile(backend=config["trainer"]["compile"])
    return task


def _say_start(fit: FitContext, start: int, monitor: str) -> None:
    """Truncate metrics.csv to the step from which the training continues, begin the trackers, record and print it."""
    if start and not fit.metrics.path.exists():
        fit.warn(f"{fit.metrics.path} is missing: its rows to step {start} are lost")
    fit.metrics.cut_back(start)
    for tracker in fit.trackers:
        tracker.begin(start, monitor)
    if start:
        fit.run.update(resumed_at=[*fit.run.record["resumed_at"], start])
        if fit.run.record.get("pruned"):
            fit.run.update(pruned=None)
        fit.say(f"continuing {fit.run.path} at step {start} of {fit.plan.max_steps}")


def _run(fit: FitContext, task: Task, trainer: pl.Trainer, divergence: Divergence, start: int) -> None:
    try:
        # Pass loaders: the DataModule would keep a reference to the Trainer, and with it the network, afterwards.
        trainer.fit(task, fit.data.train_dataloader(), fit.data.val_dataloader())
    except Pruned as error:
        fit.run.update(pruned={"step": error.step, "values": with_nulls(task.results)})
        raise
    except LabError:
        fit.run.update(steps=trainer.global_step)  # a run that has taken a step is never removed
        raise
    finally:
        fit.num_steps = trainer.global_step - start
        if divergence.skipped or divergence.policy == "skip":
            fit.run.update(skipped_steps=divergence.skipped)
    if divergence.skipped:
        fit.say(f"note: {divergence.skipped} optimizer steps were skipped, their loss or gradient was not finite")


def _say_stop(fit: FitContext, stopping: EarlyStopping | None, step: int) -> None:
    """Record and print why the training has ended before its last step, if it has."""
    if stopping is not None and stopping.has_stopped and step < fit.plan.max_steps:
        fit.stopped_at = step
        fit.run.update(stopped_early={"step": step, "reason": stopping.reason})
        fit.say(f"stopped early at step {step} of {fit.plan.max_steps}: {stopping.reason}")
    elif fit.run.record.get("stopped_early"):
        fit.run.update(stopped_early=None)


def _memorize(fit: FitContext, task: Task, trainer: pl.Trainer) -> None:
    """Give the training data to a network without trainable parameters, validate it, and write a checkpoint."""
    task.memorize(fit.data)
    trainer.validate(task, dataloaders=fit.data.val_dataloader(), verbose=False)
    for logger in (fit.metrics, *fit.trackers):
        logger.log_metrics({"epoch": 0, **task.results}, 0)
    fit.metrics.flush()
    RunState(None).write_weights(fit.run.checkpoints / "best.ckpt", trainer, task)
