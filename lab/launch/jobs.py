"""A job: a resolved config and its run directory, as the parent sends it to its workers. No torch."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.compat.imports import put_off_imports
from lab.system.collector import set_aside
from lab.system.cores import NUM_THREADS
from lab.system.ranks import Place
from lab.system.storage import StorageError, explain


@dataclass
class Job:
    """The description of a job that its ranks receive.

    Attributes:
        kind: ``fit``, ``report`` (the run is finished: print its result), ``evaluate`` or ``check``.
        config: the resolved config.
        path: the run directory.
        is_new: whether the run directory was made for this job.
        before: the state of the run before this job.
        threads: those of each rank; None: as many as torch takes by itself.
    """

    kind: str
    config: dict[str, Any]
    path: str = ""
    is_new: bool = True
    before: str = "new"
    threads: int | None = None

    def to_json(self) -> str:
        """Return the job as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """Return the job that ``to_json`` wrote."""
        return cls(**json.loads(text))

    @property
    def world_size(self) -> int:
        """The number of processes of the job."""
        return processes(self.config) * int(self.config["trainer"]["num_nodes"]) if self.kind != "report" else 1


def processes(config: dict[str, Any]) -> int:
    """Return how many processes a config needs on this machine: one for each device, but one in all for ``dp``."""
    return 1 if config["strategy"]["name"] == "dp" or config["check"] else int(config["trainer"]["devices"])


def run_job(job: Job, place: Place, store: Any = None, data: Any = None) -> None:
    """Run a job, or this rank's part of it, in this process.

    Args:
        job: the job.
        place: the rank of this process and the number of ranks.
        store: the rendezvous store, if the ranks already have one.
        data: a DataModule object of the caller, which replaces the one that the config names.

    Raises:
        LabError: something in the config, the data or the run directory is wrong.
        StorageError: the disk is full, read-only or gone.
        Diverged: the loss or the gradients are no longer finite.
        Pruned: the search of a sweep has ended the training.
        Interrupted: a signal has ended the job.
    """
    put_off_imports()
    try:
        with _computing_with(job.threads, place.world_size):
            _run_job(job, place, store, data)
    except Exception as error:
        # Other stages make their directory at the end, if it does not exist yet.
        found = explain(error, Path(job.path) if job.kind == "fit" else None)
        if found is None:
            raise
        raise found from error


@contextmanager
def _computing_with(number: int | None, world_size: int) -> Iterator[None]:
    """Within this context torch computes with so many threads; None: with those that it has."""
    if number is None:
        yield
        return
    import torch

    if world_size > 1:
        os.environ[NUM_THREADS] = str(number)  # otherwise Lightning would set both
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _run_job(job: Job, place: Place, store: Any, data: Any) -> None:
    from lab.experiment.assembly import ranks  # these import torch, which takes seconds
    from lab.experiment.check import check
    from lab.experiment.evaluation import evaluate
    from lab.experiment.fit import Fit, report_finished
    from lab.report.tables import print_result
    from lab.run_directory import RunDirectory

    set_aside()
    if job.kind == "check":
        if place.rank == 0:
            check(job.config, data)
        return
    run = RunDirectory.joined(Path(job.path), job.is_new, job.before, writes=place.rank == 0)
    if job.kind == "report":
        if place.rank == 0:
            report_finished(job.config, run, data)
        return
    with ranks(job.config, place, store):
        if job.kind == "evaluate":
            evaluate(job.config, Path(job.path), place, data)
            return
        try:
            Fit(job.config, run, place, data).run()
        except Exception as error:
            if run.writes and not run.is_own:
                raise StorageError(run.path, errno.ENOENT) from error
            raise
        if place.rank == 0:
            print_result(run, job.config)
