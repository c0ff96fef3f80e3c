"""From a resolved config to a result: build data, task and trainer, run the stages, record what came out.

No config object travels below this file: what it builds takes plain arguments.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch

from lab.callbacks.divergence import Divergence
from lab.callbacks.run_state import RunState
from lab.callbacks.steps import StepLog
from lab.checkpoint.finite import require_finite
from lab.checkpoint.format import CheckpointReader
from lab.compat.lightning import start_at
from lab.data.datamodule import DataModule
from lab.data.presence import describe_presence
from lab.errors import Diverged, LabError, RunError
from lab.experiment import evaluation
from lab.experiment.assembly import (
    Plan,
    build_data,
    build_task,
    check_weights,
    load_task,
    make_plan,
    on_gpu,
    prepare,
    ranks,
)
from lab.experiment.planning import of_many, print_plan, settle_strategy
from lab.experiment.start import where_to_start
from lab.experiment.trainer import make_callbacks, make_trainer, make_wandb
from lab.loggers.metrics_csv import MetricsCSV, read_metrics
from lab.loggers.undefined import with_nulls
from lab.loggers.wandb_run import WandbRun
from lab.registry.models import load_weights
from lab.report.tables import print_config, print_notes, print_result, print_tables
from lab.run_directory import RunDirectory
from lab.strategies import collectives
from lab.strategies.batch_norm import synchronize_batch_norm
from lab.system.ranks import Place
from lab.system.signals import Interrupted, SignalWatch
from lab.text import printable
from lab.training.schedules import warmup_note
from lab.training.task import Task

__all__ = ["check", "fit", "ranks", "report_finished"]


def fit(config: dict[str, Any], run: RunDirectory, place: Place) -> int:
    """Train from where the run stands, test the best checkpoint, record the result.

    Args:
        config: the resolved config.
        run: its directory; rank 0 writes to it.
        place: this process among those of the job.

    Returns:
        The exit code: 0 finished, 1 diverged, 130 or 143 interrupted.

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
            presence = describe_presence(data, ("train", "val", "test"))
            if place.rank == 0:
                print_tables(data.tables())
                print_notes(presence)
            wandb_run = make_wandb(config, run) if place.rank == 0 else None
            run.update(result=_fit(config, run, data, wandb_run, watch, place))
            code, state = 0, "finished"
        except Interrupted as interrupted:
            code, state = interrupted.exit_code, "interrupted"
            if place.rank == 0:
                print(f"{interrupted}; repeat the command to continue", file=sys.stderr)
        except Diverged as error:
            state = "diverged"
            _record_divergence(error, run, place)
        except LabError:
            code, state = 2, "failed" if run.is_new else run.before
            raise
        except RuntimeError as error:
            # A rank that a second Ctrl-C has stopped leaves the others alone in a collective.
            if not watch.received or not collectives.is_lost(error):
                raise
            code, state = 128 + watch.received, "interrupted"
        finally:
            _end(run, state, code)
            if wandb_run is not None:
                wandb_run.finish(code)
    if state == "diverged":
        collectives.largest(0)  # the parent ends what runs on seconds after the first rank that has ended
    if code == 0 and place.rank == 0:
        print_result(run, config)
    return code


def _end(run: RunDirectory, state: str, code: int) -> None:
    try:
        run.end(state, code)
    except OSError:
        if code == 0:
            raise
        # The error that ends the run says what is wrong with the disk; run.json says "running" still, which is read
        # as interrupted.


def _record_divergence(error: Diverged, run: RunDirectory, place: Place) -> None:
    """Say in one line where it happened, what to try and from where the run goes on; keep it in ``run.json``."""
    run.update(diverged=[*run.record.get("diverged", []), {"step": error.step, "term": error.term}])
    if place.rank == 0:
        last = run.checkpoints / "last.ckpt"
        also = "the same command begins anew, as there is no checkpoint yet"
        if last.exists():
            start = f"step {CheckpointReader(last).step}"
            also = f"the same command goes on from {start}, and so does resume={run.path} with changed settings"
        print(f"error: {error}; {also}", file=sys.stderr)


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
    rows = data.rows_read()
    run.update(dataset=fingerprint, **({"rows_read": rows} if rows else {}))


def _fit(
    config: dict[str, Any],
    run: RunDirectory,
    data: DataModule,
    wandb_run: WandbRun | None,
    watch: SignalWatch,
    place: Place,
) -> dict[str, float | None]:
    plan, metrics = make_plan(config, data, place), MetricsCSV(run.path)
    if place.rank == 0:
        _say_warmup(config, plan)
    config = _train(config, run, data, plan, metrics, wandb_run, watch, place)
    # The test builds a task of its own. Two copies of a large model may not fit, and these two hold the trained one.
    data.plan.totals, data.trainer = None, None
    gc.collect()
    return _test_best(config, run, data, plan, metrics, wandb_run, place)


def _say_warmup(config: Mapping[str, Any], plan: Plan) -> None:
    note = warmup_note(config["scheduler"], plan.max_steps, config["optimizer"]["lr"])
    if note:
        print(f"note: {note}")


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
        require_finite(task, weights)
    data.plan.totals = task.net.totals
    task.net, differs = synchronize_batch_norm(task.net, data.plan.world_size, on_gpu(config))
    if differs and place.rank == 0:
        print(f"note: {differs}")
    if config["trainer"]["compile"]:
        task.net.compile(backend=config["trainer"]["compile"])
    start, ckpt = collectives.from_rank_zero(where_to_start(run, metrics) if place.rank == 0 else (0, None))
    if start > plan.max_steps:
        raise RunError(f"{run.path} stands at step {start}, beyond the {plan.max_steps} steps now asked for")
    if start and place.rank == 0 and not metrics.path.exists():
        print(f"warning: {metrics.path} is missing: its rows to step {start} are lost", file=sys.stderr)
    metrics.cut_back(start)
    data.plan.start_step = start
    if start:
        run.update(resumed_at=[*run.record["resumed_at"], start])
        if place.rank == 0:
            print(f"continuing {run.path} at step {start} of {plan.max_steps}")
    log = StepLog(config["trainer"]["log_every_n_steps"], config["data"]["batch_size"], plan.steps_per_epoch)
    divergence = Divergence(config["trainer"]["on_nonfinite"], config["trainer"]["max_skips"], log)
    callbacks = make_callbacks(config, run, metrics, plan, watch, place, ckpt, log, divergence)
    loggers = [metrics, *([wandb_run] if wandb_run else [])]
    trainer = make_trainer(config, run, plan, callbacks, loggers, place)
    start_at(trainer, start)
    if not task.is_trained:
        _memorize(task, data, trainer, run, metrics)
    elif start < plan.max_steps:
        try:
            trainer.fit(task, datamodule=data)
        except LabError:
            run.update(steps=trainer.global_step)  # a run that has taken a step is never discarded
            raise
        finally:
            if divergence.skipped or divergence.policy == "skip":
                run.update(skipped_steps=divergence.skipped)
        if divergence.skipped and place.rank == 0:
            print(f"note: {divergence.skipped} optimizer steps were skipped, their loss or gradient was not finite")
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
) -> dict[str, float | None]:
    """Test best.ckpt, loaded anew, and return its validation and test metrics."""
    best = run.checkpoints / "best.ckpt"
    if not best.exists():
        raise RunError(
            f"{best} is missing, which is what is tested: put it back; stage=test ckpt='{best.with_name('last.ckpt')}' "
            "tests the last weights; resume=never starts afresh and keeps the directory"
        )
    task = load_task({**config, "ckpt": str(best)}, data)
    run.update(weights=task.weights_kind, best_step=task.trained_steps, eval=config["eval"])
    validated = _validated(config, run, task, data, metrics, place)
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
    return with_nulls({**validated, **tested.metrics})


def _validated(
    config: Mapping[str, Any], run: RunDirectory, task: Task, data: DataModule, metrics: MetricsCSV, place: Place
) -> dict[str, Any]:
    """Return the validation metrics of best.ckpt as metrics.csv has them; measured again where it has lost them."""
    rows = read_metrics(metrics.path) if place.rank == 0 and metrics.path.exists() else []
    row = next((row for row in rows if row["step"] == task.trained_steps), {})
    known = {key: value for key, value in row.items() if key.startswith("val/")}
    if collectives.from_rank_zero(any(value is not None for value in known.values())):
        return known
    if place.rank == 0:
        said = f"{metrics.path} has no validation of step {task.trained_steps}, which best.ckpt is of"
        print(f"warning: {said}: it is measured again", file=sys.stderr)
    again = evaluation.run_stage("validate", config, task, data, run.path, place).metrics
    metrics.log_metrics(again, task.trained_steps)
    return again


def _memorize(task: Task, data: DataModule, trainer: pl.Trainer, run: RunDirectory, metrics: MetricsCSV) -> None:
    """Show the training data to a network that has nothing to train, validate it, and write it down."""
    task.net.memorize(*data.training_sequences())
    trainer.validate(task, dataloaders=data.val_dataloader(), verbose=False)
    metrics.log_metrics({"epoch": 0, **task.results}, 0)
    metrics.flush()
    RunState(None).write_weights(run.checkpoints / "best.ckpt", trainer, task)


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
    print_notes(describe_presence(data, ("train", "val", "test")))
    print(f"dataset   {data.fingerprint()}")
    print(f"model     {config['model']['name']}: {count / 1e6:.2f} M parameters, {printable(task.describe_data())}")
    print(f"training  {plan.max_steps} steps, {plan.steps_per_epoch} an epoch, validation every {plan.val_every}")
    print(f"batch     {line}")
    _say_warmup(config, plan)
    if weights:
        print(f"weights   {weights}")
    print_plan(config, task, data, place)
    print("check passed: nothing was trained")
    return 0
