"""Finds the metrics that a job will log, before any job starts: an untrained network validates one batch in a fork."""

from __future__ import annotations

import copy
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

from lab.launch.forking import begin, fork, leave
from lab.launch.prepare import Prepared
from lab.system.processes import die_with_parent, poll_group, signal_group

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
    reading, writing = os.pipe()
    master = os.getpid()

    def child() -> NoReturn:
        os.setpgid(0, 0)
        die_with_parent(master)
        nothing = os.open(os.devnull, os.O_RDWR)
        begin((nothing, nothing, nothing), dict(os.environ), keep=(writing,))
        sys.stderr = sys.stdout  # whatever goes wrong here, the first job will say it
        leave(lambda: _tell(config, writing))

    pid = fork(child)
    os.close(writing)
    end = time.monotonic() + _PATIENCE
    text = b""
    while (left := end - time.monotonic()) > 0 and select.select([reading], [], [], left)[0]:
        if not (piece := os.read(reading, 65536)):
            break
        text += piece
    os.close(reading)
    signal_group(pid, signal.SIGKILL)
    while poll_group(pid) is None:
        time.sleep(0.01)
    try:
        return list(map(str, json.loads(text)))
    except ValueError:
        return []


def _tell(config: dict[str, Any], writing: int) -> int:
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
    os.write(writing, json.dumps(list(task.results)).encode())
    return 0
