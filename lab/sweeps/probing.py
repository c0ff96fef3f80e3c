"""Finds the metrics that a job will log, before any job starts: an untrained network validates one batch in a fork."""

from __future__ import annotations

import copy
from typing import Any

from lab.compat.imports import put_off_imports
from lab.launch.prepare import Prepared
from lab.sweeps.aside import run_aside

_PATIENCE = 120.0
"""Seconds after which the answer is not waited for."""


def logged_metrics(job: Prepared) -> list[str]:
    """Return the names that a job of one rank logs after a validation, ``val/...``.

    The process must be fit to be forked (``lab.sweeps.local``).

    Returns:
        Nothing if that cannot be found out like this; the first validation of a job will tell.
    """
    config = job.config
    if config["stage"] != "fit" or config["check"] or int(config["trainer"]["devices"]) != 1:
        return []
    try:
        return list(map(str, run_aside(lambda: _names(config), _PATIENCE)))
    except RuntimeError:  # what is wrong is said by the first job, which meets it too
        return []


def _names(config: dict[str, Any]) -> list[str]:
    put_off_imports()
    from lab.experiment.assembly import build_data, build_task, give_plan, make_plan, prepare
    from lab.experiment.trainer import make_eval_trainer
    from lab.system.ranks import Place

    config = copy.deepcopy(config)
    config["callbacks"] |= {"pictures": 0, "progress": False}
    config["strategy"] = {"name": "single"}
    prepare(config)
    data = build_data(config)
    plan = make_plan(config, data, Place())
    give_plan(data, plan.load)
    task = build_task(config, data, plan.schedule_steps)
    trainer = make_eval_trainer(config, Place(), [])
    trainer.limit_val_batches = 1
    trainer.validate(task, dataloaders=data.val_dataloader(), verbose=False)
    return list(task.results)
