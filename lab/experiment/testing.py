"""The test of a fit: loads best.ckpt, measures it and writes the run's result."""

from __future__ import annotations

import gc
from typing import Any

from lab.errors import RunError
from lab.experiment.assembly import give_plan, load_task
from lab.experiment.context import FitContext
from lab.experiment.evaluation import run_stage, write_files, write_tables
from lab.experiment.planning import Subject
from lab.experiment.stage_result import StageResult
from lab.experiment.wandb_logger import show_evaluation
from lab.loggers.metrics_file import read_metrics
from lab.loggers.undefined import with_nulls
from lab.strategies import collectives


def measure_best(fit: FitContext) -> dict[str, float | None]:
    """Load and test best.ckpt; return its validation and test metrics, or an empty dict on ranks other than 0.

    Raises:
        RunError: best.ckpt is missing.
        CheckpointError: best.ckpt cannot be read.
    """
    best = fit.run.checkpoints / "best.ckpt"
    if not best.exists():
        raise RunError(
            f"{best} is missing, and it is needed for the test: put it back; stage=test "
            f"ckpt='{best.with_name('last.ckpt')}' tests the last weights; resume=never starts afresh and keeps the "
            "directory"
        )
    # A new task is built, and two copies of a large model may not fit. The training's plan refers to the trained one.
    give_plan(fit.data, fit.plan.load)
    gc.collect()
    task = load_task({**fit.config, "ckpt": str(best)}, fit.data)
    fit.run.update(weights=task.weights_kind, best_step=task.trained_steps, eval=fit.config["eval"])
    subject = Subject(fit.config, task, fit.data, fit.place, training=False)
    validated = _validated(fit, subject)
    tested = run_stage("test", subject, fit.run.path, fit.num_shown)
    fit.run.update(protocol=tested.protocol)
    if not fit.is_first:
        return {}
    _write(fit, tested)
    result = with_nulls({**validated, **tested.metrics})
    fit.run.update(monitor=task.monitor, lower_is_better=[name for name in result if task.better(name) == "min"])
    return result


def _write(fit: FitContext, tested: StageResult) -> None:
    step = fit.last_step
    write_tables(tested.tables, fit.run.path)
    write_files(tested.files, fit.run.path)
    for logger in (fit.metrics, *fit.trackers):
        logger.log_metrics({"epoch": (step - 1) // fit.plan.steps_per_epoch, **tested.metrics}, step)
    fit.metrics.flush()
    if fit.wandb is not None:
        fit.wandb.log_metrics(tested.metrics, step)
        show_evaluation(fit.wandb, "test", tested, step)


def _validated(fit: FitContext, subject: Subject) -> dict[str, Any]:
    """Return the validation metrics of best.ckpt from metrics.csv; measure them again if they are missing there."""
    step = subject.task.trained_steps
    rows = read_metrics(fit.metrics.path) if fit.is_first and fit.metrics.path.exists() else []
    row = next((row for row in rows if row["step"] == step), {})
    known = {key: value for key, value in row.items() if key.startswith("val/")}
    if collectives.from_rank_zero(any(value is not None for value in known.values())):
        return known
    lost = f"{fit.metrics.path} has no validation of step {step}, the step of best.ckpt"
    fit.warn(f"{lost}: it is measured again")
    again = run_stage("validate", subject, fit.run.path).metrics
    fit.metrics.log_metrics(again, step)
    return again
