"""From a resolved config to a result: build data, task and trainer, run the stages, record what came out.

No config object travels below this file: what it builds takes plain arguments.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from lab import evaluation
from lab.assembly import (
    QUIET,
    Plan,
    build_data,
    build_task,
    check_weights,
    device_arguments,
    load_task,
    make_plan,
    on_gpu,
    prepare,
    ranks,
)
from lab.callbacks.checkpoint import RunCheckpoint, start_at
from lab.callbacks.ema import EMA
from lab.callbacks.interrupt import Interrupt
from lab.callbacks.progress import ProgressBar
from lab.callbacks.resumable import read_training
from lab.callbacks.run_state import RunState
from lab.callbacks.steps import StepLog
from lab.checkpoint.format import CheckpointReader
from lab.data.datamodule import DataModule
from lab.errors import CheckpointError, LabError, RunError
from lab.files import replace_folder
from lab.planning import of_many, print_plan, settle_strategy
from lab.ranks import Place
from lab.registry import load_weights
from lab.report.metrics_csv import MetricsCSV, read_metrics
from lab.report.tables import print_config, print_result, print_tables
from lab.report.wandb_run import WandbRun
from lab.run_directory import RunDirectory
from lab.signals import Interrupted, SignalWatch
from lab.strategies import collectives
from lab.strategies.batch_norm import synchronize_batch_norm
from lab.tasks.base import Task

__all__ = ["check", "fit", "ranks", "report_finished"]


def fit(config: dict[str, Any], run: RunDirectory, place: Place) -> int:
    """Train from where the run stands, test the best checkpoint, record the result.

    Args:
        config: the resolved config.
        run: its directory; rank 0 writes to it.
        place: this process among those of the job.

    Returns:
        The exit code: 0 finished, 130 or 143 interrupted.

    Raises:
        LabError: something in the config, the data or the run directory is wrong.
    """
    wandb_run: WandbRun | None = None
    code, state = 1, "failed"
    with SignalWatch() as watch:
        try:
            if place.rank == 0:
                print_config(config)
            prepare(config)
            data = build_data(config)
            _check_dataset(data, config, run)
            if place.rank == 0:
                print_tables(data.tables())
            wandb_run = make_wandb(config, run) if place.rank == 0 else None
            run.update(result=_fit(config, run, data, wandb_run, watch, place))
            code, state = 0, "finished"
        except Interrupted as interrupted:
            code, state = interrupted.exit_code, "interrupted"
            if place.rank == 0:
                print(f"{interrupted}; repeat the command to continue", file=sys.stderr)
        except LabError:
            code, state = 2, "failed" if run.is_new else run.before
            raise
        finally:
            run.end(state, code)
            if wandb_run is not None:
                wandb_run.finish(code)
            if code == 2 and run.is_new and not run.has_trained:
                run.discard()
    if code == 0 and place.rank == 0:
        print_result(run, config)
    return code


def _check_dataset(data: DataModule, config: Mapping[str, Any], run: RunDirectory) -> None:
    fingerprint = data.fingerprint()
    known = run.record.get("dataset")
    if known == fingerprint:
        return
    if known is not None:
        if config["resume"] in ("auto", "never"):
            raise RunError(
                f"{run.path}: the dataset data={config['data']['name']} has changed since this run was made; "
                f"resume=never starts afresh, resume={run.path} goes on all the same"
            )
        run.update(changes=[*run.record.get("changes", []), {"dataset": [known, fingerprint]}])
    run.update(dataset=fingerprint)


def _fit(
    config: dict[str, Any],
    run: RunDirectory,
    data: DataModule,
    wandb_run: WandbRun | None,
    watch: SignalWatch,
    place: Place,
) -> dict[str, float]:
    plan, metrics = make_plan(config, data, place), MetricsCSV(run.path)
    config = _train(config, run, data, plan, metrics, wandb_run, watch, place)
    # The test builds a task of its own. Two copies of a large model may not fit, and these two hold the trained one.
    data.plan.totals, data.trainer = None, None
    gc.collect()
    return _test_best(config, run, data, plan, metrics, wandb_run, place)


def _train(
    config: dict[str, Any],
    run: RunDirectory,
    data: DataModule,
    plan: Plan,
    metrics: MetricsCSV,
    wandb_run: WandbRun | None,
    watch: SignalWatch,
    place: Place,
) -> dict[str, Any]:
    """Train to the last step and return the config, the strategy settled; nothing of the training is kept."""
    task = build_task(config, data, plan.schedule_steps)
    before = run.record.get("strategy") if (run.checkpoints / "last.ckpt").exists() else None
    config, strategy = settle_strategy(config, task, data, place, before=before)
    run.update(strategy=strategy)
    weights = config["ckpt"] or config["model"]["pretrained"]
    if weights:
        load_weights(task.net, config["model"]["net"]["_target_"], weights, config["paths"]["weights_dir"])
    data.plan.totals = task.net.totals
    task.net, differs = synchronize_batch_norm(task.net, data.plan.world_size, on_gpu(config))
    if differs and place.rank == 0:
        print(f"note: {differs}")
    if config["trainer"]["compile"]:
        task.net.compile(backend=config["trainer"]["compile"])
    start, ckpt = collectives.from_rank_zero(_where_to_start(run) if place.rank == 0 else (0, None))
    if start > plan.max_steps:
        raise RunError(f"{run.path} stands at step {start}, beyond the {plan.max_steps} steps now asked for")
    metrics.cut_back(start)
    data.plan.start_step = start
    if start:
        run.update(resumed_at=[*run.record["resumed_at"], start])
        if place.rank == 0:
            print(f"continuing {run.path} at step {start} of {plan.max_steps}")
    callbacks = make_callbacks(config, run, metrics, plan, watch, place, ckpt)
    loggers = [metrics, *([wandb_run] if wandb_run else [])]
    trainer = make_trainer(config, run, plan, callbacks, loggers, place)
    start_at(trainer, start)
    if not task.is_trained:
        _memorize(task, data, trainer, run, metrics)
    elif start < plan.max_steps:
        trainer.fit(task, datamodule=data)
    run.update(world_size=collectives.world_size(), hardware=evaluation.describe_device(trainer))
    return config


def _test_best(
    config: dict[str, Any],
    run: RunDirectory,
    data: DataModule,
    plan: Plan,
    metrics: MetricsCSV,
    wandb_run: WandbRun | None,
    place: Place,
) -> dict[str, float]:
    """Test best.ckpt, loaded anew, and return its validation and test metrics."""
    task = load_task({**config, "ckpt": str(run.checkpoints / "best.ckpt")}, data)
    run.update(weights=task.weights_kind, best_step=task.trained_steps, eval=config["eval"])
    tested = evaluation.run_stage("test", config, task, data, run.path, place)
    run.update(protocol=tested.protocol)
    if place.rank:
        return {}
    evaluation.write_tables(tested.tables, run.path)
    metrics.log_metrics({"epoch": (plan.max_steps - 1) // plan.steps_per_epoch, **tested.metrics}, plan.max_steps)
    metrics.flush()
    if wandb_run is not None:
        wandb_run.log_metrics(tested.metrics, plan.max_steps)
        if tested.sheet is not None:
            wandb_run.log_images("test/predictions", [tested.sheet], plan.max_steps)
    row = next(row for row in read_metrics(metrics.path) if row["step"] == task.trained_steps)
    validated = {key: value for key, value in row.items() if key.startswith("val/") and value is not None}
    return {**validated, **tested.metrics}


def _memorize(task: Task, data: DataModule, trainer: pl.Trainer, run: RunDirectory, metrics: MetricsCSV) -> None:
    """Show the training data to a network that has nothing to train, validate it, and write it down."""
    task.net.memorize(*data.training_sequences())
    trainer.validate(task, dataloaders=data.val_dataloader(), verbose=False)
    metrics.log_metrics({"epoch": 0, **task.results}, 0)
    metrics.flush()
    RunState(None).write_weights(run.checkpoints / "best.ckpt", trainer, task)


def _where_to_start(run: RunDirectory) -> tuple[int, Path | None]:
    """Return the step and checkpoint to continue from: last.ckpt, or the one before it if that is damaged.

    Raises:
        RunError: there are checkpoints, but none that can be read.
    """
    damaged = []
    for path in (run.checkpoints / "last.ckpt", run.checkpoints / "previous.ckpt"):
        if not os.path.lexists(path):  # a link that leads nowhere is there, and damaged
            continue
        try:
            reader = CheckpointReader(path)
            reader.verify()
            read_training(reader)
        except CheckpointError as error:
            damaged.append(path)
            print(f"warning: {error}", file=sys.stderr)
            continue
        for other in damaged:
            aside = other.with_name("damaged.ckpt")
            replace_folder(other, aside)  # it must not become the one before the next
            said = f"taking {path} in its place, which is of step {reader.step}; kept as {aside}"
            print(f"warning: {said}", file=sys.stderr)
        return reader.step, path
    if damaged:
        raise RunError(
            f"{run.path}: {' and '.join(path.name for path in damaged)} cannot be read, there is nothing to continue "
            "from; resume=never starts afresh and keeps the directory"
        )
    return 0, None


def make_callbacks(
    config: Mapping[str, Any],
    run: RunDirectory,
    metrics: MetricsCSV,
    plan: Plan,
    watch: SignalWatch,
    place: Place,
    resume_from: Path | None,
) -> list[pl.Callback]:
    """Return the callbacks in the order in which they must act."""
    settings, trainer = config["callbacks"], config["trainer"]
    ema = EMA(**settings["ema"]) if settings["ema"] else None
    log = StepLog(trainer["log_every_n_steps"], config["data"]["batch_size"], plan.steps_per_epoch)
    every = trainer["checkpoint_every_n_steps"]
    checkpoint = RunCheckpoint(run.checkpoints, metrics, plan.val_every, plan.max_steps, every, ema, watch, resume_from)
    callbacks: list[pl.Callback] = [ema] if ema is not None else []
    callbacks += [log, checkpoint]
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


def report_finished(config: dict[str, Any], run: RunDirectory) -> int:
    """Print the result of a finished run, if its data is still what it was made with."""
    prepare(config)
    _check_dataset(build_data(config), config, run)
    print(f"{run.path} is finished already: this is its result (resume=never trains afresh)")
    print_result(run, config)
    return 0


def check(config: dict[str, Any]) -> int:
    """Build and check everything, train nothing: data, task, optimizer, network, one batch on the meta device.

    Raises:
        LabError: the first thing that is wrong.
    """
    prepare(config)
    data = build_data(config)
    place = of_many(config)
    plan = make_plan(config, data, place)
    with torch.device("meta"):
        task = build_task(config, data, plan.schedule_steps)
    weights = check_weights(config, task)
    if task.is_trained:
        task.configure_optimizers()
    line = task.dry_run(data.first_batch().to("meta"))
    count = sum(parameter.numel() for parameter in task.parameters())
    print_config(config)
    print_tables(data.tables())
    print(f"dataset   {data.fingerprint()}")
    print(f"model     {config['model']['name']}: {count / 1e6:.2f} M parameters, {task.describe_data()}")
    print(f"training  {plan.max_steps} steps, {plan.steps_per_epoch} an epoch, validation every {plan.val_every}")
    print(f"batch     {line}")
    if weights:
        print(f"weights   {weights}")
    print_plan(config, task, data, place)
    print("check passed: nothing was trained")
    return 0
