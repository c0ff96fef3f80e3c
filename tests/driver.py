"""The driver of ``tests/runs.py``: it imports lab and torch once and forks a child for each command.

A command that starts ranks forks these too, where it is not asked to start them afresh: the same code in processes of
their own, without the imports of torch that cost each six seconds.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from typing import Any

_MODULES = (
    "faster_coco_eval",
    "lab.cli.main",
    "lab.config.checks",
    "lab.data.scenes.module",
    "lab.experiment.evaluation",
    "lab.experiment.fit",
    "lab.launch.worker",
    "lab.launch.workers",
    "lab.models.detr.network",
)


def _command(request: dict[str, Any]) -> None:
    """Be ``run.py WORDS`` in this fork."""
    os.setpgid(0, 0)
    for fd, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{request['log']}.{name}", os.O_CREAT | os.O_WRONLY | os.O_TRUNC), fd)
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if not request["fresh_ranks"]:
        from lab.launch import workers

        run_workers = workers.run_workers
        workers.run_workers = lambda job, fork: run_workers(job, fork=True)
    sys.argv = ["run.py", *request["words"]]
    from lab.cli.main import main
    from lab.launch.forking import leave

    leave(main)


def _serve() -> None:
    for name in _MODULES:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # else the collections of the commands would copy every page
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
        elif pid := os.fork():
            print(pid, flush=True)
        else:
            _command(request)


if __name__ == "__main__":
    sys.path[0] = ""  # as run.py and `python -m lab` are found: no folder of tests
    _serve()
